package onboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/wattline/wattline/shared/hs110"
)

// Time limits of a question: most are answered in milliseconds, but a plug that
// looks for networks takes its time.
const (
	askTimeout  = 5 * time.Second
	scanTimeout = 20 * time.Second
)

// errLost says that the question went out and no whole answer came: it may have
// been obeyed.
var errLost = errors.New("no answer came")

// ask sends one member of a module, once, and decodes its answer. A plug that
// refuses gives a *hs110.DeviceError. The arguments are in no error: they may be
// secret.
func ask(ctx context.Context, address, module, member string, args, answer any, limit time.Duration) error {
	what := module + "." + member
	body, err := json.Marshal(map[string]map[string]any{module: {member: args}})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	reply, err := exchange(ctx, address, body)
	if err != nil {
		return fmt.Errorf("%s to %s: %w", what, address, err)
	}
	var modules map[string]map[string]json.RawMessage
	if err := json.Unmarshal(reply, &modules); err != nil {
		return fmt.Errorf("%s: %w", what, hs110.ErrNotPlug)
	}
	if err := failed(module, "", modules[module]); err != nil {
		return err
	}
	text, ok := modules[module][member]
	if !ok {
		return fmt.Errorf("%s: %w", what, hs110.ErrNotPlug)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return fmt.Errorf("%s: %w", what, hs110.ErrNotPlug)
	}
	if err := failed(module, member, members); err != nil {
		return err
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("%s: %w", what, hs110.ErrNotPlug)
	}
	return nil
}

// failed is the err_code among the members, if it is one.
func failed(module, member string, members map[string]json.RawMessage) error {
	var code int
	text, ok := members["err_code"]
	if !ok || json.Unmarshal(text, &code) == nil && code == 0 {
		return nil
	}
	e := &hs110.DeviceError{Module: module, Member: member, Code: code}
	var message string
	if json.Unmarshal(members["err_msg"], &message) == nil {
		e.Message = message[:min(len(message), 64)]
	}
	return e
}

func exchange(ctx context.Context, address string, body []byte) ([]byte, error) {
	d := net.Dialer{Timeout: hs110.DialTimeout, KeepAlive: -1}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", hs110.ErrOffline, err)
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline() // set by ask
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(hs110.AppendFrame(nil, body)); err != nil {
		return nil, fmt.Errorf("%w: %w", errLost, err)
	}
	reply, err := hs110.ReadFrame(conn, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errLost, err)
	}
	return reply, nil
}
