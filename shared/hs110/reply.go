package hs110

import (
	"encoding/json"
	"errors"
	"fmt"
)

// errMissing says that a well-formed reply lacks the part that was asked for.
var errMissing = errors.New("missing in the reply")

// errCode is the outcome that a module or a member carries. A key that is absent
// means success, as 0 does.
type errCode struct {
	Code    number `json:"err_code"`
	Message string `json:"err_msg"`
}

func (e errCode) check(module, member string) error {
	if !e.Code.present || e.Code.valid && e.Code.value == 0 {
		return nil
	}
	code, ok := e.Code.integer()
	if !ok {
		return fmt.Errorf("%s.%s: err_code %q is no integer", module, member, e.Code.raw())
	}
	return &DeviceError{Module: module, Member: member, Code: code, Message: clip([]byte(e.Message))}
}

// reply is every part of an answer that is ever read; the rest is skipped.
type reply struct {
	System *systemReply `json:"system"`
	Emeter *emeterReply `json:"emeter"`
	Time   *struct {
		errCode
		Now *wireTime `json:"get_time"`
	} `json:"time"`
}

type systemReply struct {
	errCode
	Info  *wireInfo `json:"get_sysinfo"`
	Relay *errCode  `json:"set_relay_state"`
}

type emeterReply struct {
	errCode
	Realtime *wireRealtime `json:"get_realtime"`
	Days     *wireStat     `json:"get_daystat"`
	Months   *wireStat     `json:"get_monthstat"`
}

// parse decodes a deciphered body. A value of the wrong JSON type counts as
// absent: one odd field must not cost the others.
func parse(body []byte) (*reply, error) {
	var r reply
	if parseQuick(body, &r) {
		return &r, nil
	}
	r = reply{}
	err := json.Unmarshal(body, &r)
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("decode %d bytes: %w", len(body), err)
	}
	return &r, nil
}

func (r *reply) info() (Info, error) {
	if r.System == nil {
		return Info{}, fmt.Errorf("system: %w", errMissing)
	}
	if err := r.System.check("system", ""); err != nil {
		return Info{}, err
	}
	if r.System.Info == nil {
		return Info{}, fmt.Errorf("system.get_sysinfo: %w", errMissing)
	}
	if err := r.System.Info.check("system", "get_sysinfo"); err != nil {
		return Info{}, err
	}
	return r.System.Info.info(), nil
}

func (r *reply) realtime(l limits) (Realtime, error) {
	if err := r.emeter(); err != nil {
		return Realtime{}, err
	}
	w := r.Emeter.Realtime
	if w == nil {
		return Realtime{}, fmt.Errorf("emeter.get_realtime: %w", errMissing)
	}
	if err := w.check("emeter", "get_realtime"); err != nil {
		return Realtime{}, err
	}
	return w.realtime(l), nil
}

func (r *reply) emeter() error {
	if r.Emeter == nil {
		return fmt.Errorf("emeter: %w", errMissing)
	}
	return r.Emeter.check("emeter", "")
}

func (r *reply) relaySet() error {
	if r.System == nil {
		return fmt.Errorf("system: %w", errMissing)
	}
	if err := r.System.check("system", ""); err != nil {
		return err
	}
	if r.System.Relay == nil {
		return fmt.Errorf("system.set_relay_state: %w", errMissing)
	}
	return r.System.Relay.check("system", "set_relay_state")
}
