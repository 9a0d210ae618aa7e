package hs110

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"syscall"
)

// The classes of what can go wrong, for errors.Is. Every error that a [Client]
// gives is of at least one of them, except when the caller cancelled its context.
var (
	// ErrOffline says that no plug answers at the address: it is out of reach,
	// refuses the connection, or says nothing in time. Ask again later.
	ErrOffline = errors.New("plug offline")
	// ErrLocked says that firmware has closed the local protocol. Only the owner
	// can open it again: Kasa app, account settings, "Third-Party Compatibility".
	ErrLocked = errors.New("plug locked by its firmware")
	// ErrNotPlug says that something answered which is no plug, or nothing that
	// can be understood.
	ErrNotPlug = errors.New("not a plug's answer")
	// ErrNoMeter says that the plug has no energy meter.
	ErrNoMeter = errors.New("plug without energy meter")
	// ErrIdentity says that another plug than the expected one answered.
	ErrIdentity = errors.New("another plug answered")
	// ErrRejected says that the plug understood and turned the question down;
	// the error is a [*DeviceError].
	ErrRejected = errors.New("rejected by the plug")
)

// Reasons, in one word each, of an error: see [Error.Reason].
const (
	ReasonOffline     = "offline"     // out of reach
	ReasonRefused     = "refused"     // there, but refuses connections: hung, or busy with another client
	ReasonSilent      = "silent"      // takes the connection, gives no whole answer
	ReasonLocked      = "locked"      // see [ErrLocked]
	ReasonGarbage     = "garbage"     // see [ErrNotPlug]
	ReasonUnsupported = "unsupported" // a plug, but it cannot do what was asked
	ReasonWrongPlug   = "wrong plug"  // see [ErrIdentity]
)

// Error is a question to a plug that was not answered as it should be.
type Error struct {
	Op      string // what was asked
	Address string // of the plug
	Class   error  // one of the classes above
	Err     error  // the cause, may be nil

	reason string // [ReasonUnsupported] where ""
}

// Error says what was asked of whom, and why that came to nothing.
func (e *Error) Error() string {
	if e.Err == nil {
		return "ask " + e.Address + " for " + e.Op + ": " + e.Class.Error()
	}
	return "ask " + e.Address + " for " + e.Op + ": " + e.Class.Error() + ": " + e.Err.Error()
}

// Unwrap makes the class and the cause visible to errors.Is and errors.AsType.
func (e *Error) Unwrap() []error { return []error{e.Class, e.Err} }

// Reason is the class in one word that people and metrics can use: "offline",
// "refused", "silent", "locked", "garbage", "unsupported" or "wrong plug".
func (e *Error) Reason() string {
	if e.reason == "" && errors.Is(e.Class, ErrIdentity) {
		return ReasonWrongPlug
	}
	return cmp.Or(e.reason, ReasonUnsupported)
}

// DeviceError is an err_code other than 0 that a plug answered, for a whole
// module or for one member of it.
type DeviceError struct {
	Module, Member string // Member is "" when the module as a whole refused
	Code           int    // -1 and -2: no such module or member; -3: bad argument
	Message        string // the plug's own words, may be empty; at most 64 bytes
}

// Error gives the plug's code and words.
func (e *DeviceError) Error() string {
	at := e.Module
	if e.Member != "" {
		at += "." + e.Member
	}
	if e.Message == "" {
		return at + " err_code " + strconv.Itoa(e.Code)
	}
	return at + " err_code " + strconv.Itoa(e.Code) + " (" + strconv.Quote(e.Message) + ")"
}

// Unsupported reports whether the plug has no such module or member at all, so
// that asking again is useless; -2000 and -2001 are how bulbs say it.
func (e *DeviceError) Unsupported() bool {
	switch e.Code {
	case -1, -2, -2000, -2001:
		return true
	}
	return false
}

// answerError classifies what is wrong with the content of an answer.
func (c *Client) answerError(op string, err error) *Error {
	e := &Error{Op: op, Address: c.address, Class: ErrNotPlug, Err: err, reason: ReasonGarbage}
	if de, ok := errors.AsType[*DeviceError](err); ok {
		e.Class, e.reason = ErrRejected, ReasonUnsupported
		if de.Module == "emeter" && de.Unsupported() {
			e.Class = ErrNoMeter
		}
	} else if errors.Is(err, errMissing) {
		e.reason = ReasonUnsupported
	}
	return e
}

// Identify is [Info.Identify] of an answer to this client, as an error that tells
// the address and has the reason "wrong plug".
func (c *Client) Identify(op string, i *Info, deviceID, mac string) error {
	if err := i.differs(deviceID, mac); err != nil {
		return &Error{Op: op, Address: c.address, Class: ErrIdentity, Err: err, reason: ReasonWrongPlug}
	}
	return nil
}

// transportError classifies a connection that did not bring an answer. ctx is
// the caller's: when that was cancelled, the plug is not to blame.
func (c *Client) transportError(ctx context.Context, op string, connected bool, err error) error {
	if errors.Is(context.Cause(ctx), context.Canceled) || errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("ask %s for %s: %w", c.address, op, context.Cause(ctx))
	}
	e := &Error{Op: op, Address: c.address, Class: ErrOffline, Err: err, reason: ReasonOffline}
	switch {
	case errors.Is(err, ErrFrame):
		e.Class, e.reason = ErrNotPlug, ReasonGarbage
	case connected:
		e.reason = ReasonSilent
	case errors.Is(err, syscall.ECONNREFUSED):
		e.reason = ReasonRefused
	}
	return e
}

// passing reports whether an attempt failed in a way that healthy plugs show now
// and then, because they serve one connection at a time: the stream ended, was
// reset, or nothing came in time. A refusal or a missing route is left alone: a
// second attempt at once would only load a plug that hangs.
func passing(err error) bool {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNABORTED) {
		return true
	}
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}
