package spcommand

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/contract"
)

const (
	maxText    = 256                 // bytes of who and reason
	maxAllowed = contract.MaxAllowed // time that a request may ask for
)

// order is what a payload asks for.
type order struct {
	contract.SwitchRequest

	ioToad  bool          // the payload's form, and so the answer's
	allowed time.Duration // for each gateway, pauses between plugs not included
}

// parse understands the data of a command. standard is the time allowed when
// the data says none.
func parse(data json.RawMessage, standard time.Duration) (order, error) {
	text := bytes.TrimSpace(data)
	if len(text) > 0 && text[0] == '"' { // an object as the text of a string
		var inner string
		if err := json.Unmarshal(text, &inner); err != nil {
			return order{}, fmt.Errorf("the payload is no JSON: %w", err)
		}
		text = []byte(strings.TrimSpace(inner))
	}
	members, err := object(text)
	if err != nil {
		return order{}, err
	}
	_, hasOn := members["on"]
	_, hasStatus := members["status"]
	switch {
	case hasOn && hasStatus:
		return order{}, errors.New("the payload has both on and status")
	case hasOn:
		return parseRequest(text, standard)
	case hasStatus:
		on, err := parseStatus(members["status"])
		return order{SwitchRequest: contract.SwitchRequest{On: on, Who: who(members["who"])}, ioToad: true, allowed: standard}, err
	}
	return order{ioToad: true}, errors.New(`the payload must say {"status": 1} or {"status": 0}`)
}

// who is the sender that the api's relay adds to IoToad's payloads; "" for what
// is none.
func who(value json.RawMessage) (name string) {
	if json.Unmarshal(value, &name) != nil || len(name) > maxText {
		return ""
	}
	return name
}

// object takes a JSON object apart. A member that is there twice is an error:
// one of the two would be obeyed, and nobody knows which was meant.
func object(text []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New(`the payload is no JSON object such as {"status": 1}`)
	}
	members := make(map[string]json.RawMessage)
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		var value json.RawMessage
		if err == nil {
			err = d.Decode(&value)
		}
		if err != nil || !ok {
			return nil, errors.New("the payload is no JSON")
		}
		if _, twice := members[name]; twice {
			return nil, fmt.Errorf("the payload has %.40q twice", name)
		}
		members[name] = value
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return nil, errors.New("the payload is no JSON")
	}
	if d.More() {
		return nil, errors.New("the payload goes on after the JSON object")
	}
	return members, nil
}

// parseStatus reads 1, 0, "on" and "off", the latter in any case.
func parseStatus(value json.RawMessage) (on bool, err error) {
	switch text := strings.ToLower(string(value)); text {
	case `1`, `"on"`:
		return true, nil
	case `0`, `"off"`:
		return false, nil
	default:
		return false, fmt.Errorf(`status is %.40s, want 1, 0, "ON" or "OFF"`, value)
	}
}

// parseRequest reads a contract.SwitchRequest; a member that it does not know is
// an error, for it might be a dry run misspelt.
func parseRequest(text []byte, standard time.Duration) (order, error) {
	o := order{allowed: standard}
	var on struct {
		On *bool `json:"on"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(&o.SwitchRequest)
	if err == nil {
		err = json.Unmarshal(text, &on)
	}
	switch {
	case err != nil:
		return o, fmt.Errorf("the payload is no switch request: %s", strings.TrimPrefix(err.Error(), "json: "))
	case on.On == nil:
		return o, errors.New("on is null, want true or false")
	case len(o.Who) > maxText || len(o.Reason) > maxText:
		return o, fmt.Errorf("who and reason have at most %d bytes", maxText)
	case o.DeadlineSeconds < 0 || o.DeadlineSeconds > maxAllowed.Seconds():
		return o, fmt.Errorf("deadline_s is %v, want 0 to %v", o.DeadlineSeconds, maxAllowed.Seconds())
	case o.DeadlineSeconds > 0:
		o.allowed = time.Duration(o.DeadlineSeconds * float64(time.Second))
	}
	return o, nil
}
