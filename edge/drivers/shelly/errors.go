package shelly

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"

	"github.com/wattline/wattline/edge/drivers"
)

// Error is a question to a plug that was not answered as it should be.
type Error struct {
	Op      string // the method
	Address string // of the plug
	Err     error  // the cause

	reason string
}

// Error says what was asked of whom, and why that came to nothing.
func (e *Error) Error() string {
	return "ask " + e.Address + " for " + e.Op + ": " + e.reason + ": " + e.Err.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Reason is one of the words of package drivers.
func (e *Error) Reason() string { return e.reason }

// DeviceError is what a plug answered that understood a question and turned it
// down.
type DeviceError struct {
	Code    string // a number: -105 is no such switch, 404 no such method
	Message string // the plug's own words, at most 64 bytes
}

// Error gives the plug's code and words.
func (e *DeviceError) Error() string {
	return "the plug answers error " + e.Code + " (" + strconv.Quote(e.Message) + ")"
}

func (s *session) fail(op, reason string, err error) error {
	return &Error{Op: op, Address: s.address, Err: err, reason: reason}
}

// unreached classifies a connection that did not come about.
func (s *session) unreached(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return s.givenUp(ctx, methodInfo)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return s.fail(methodInfo, drivers.Refused, err)
	}
	return s.fail(methodInfo, drivers.Offline, err)
}

// unanswered classifies a connection that did not bring an answer. Where the
// caller has given up, the plug is not to blame.
func (s *session) unanswered(ctx context.Context, op string, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return s.givenUp(ctx, op)
	case cutOff(err):
		return s.fail(op, drivers.Silent, err)
	}
	return s.fail(op, drivers.Garbage, fmt.Errorf("no answer in HTTP: %s", clip([]byte(err.Error()))))
}

func (s *session) givenUp(ctx context.Context, op string) error {
	return fmt.Errorf("ask %s for %s: %w", s.address, op, context.Cause(ctx))
}

// cutOff tells an answer that did not arrive from one that was none. The client
// of net/http has no error of its own for a malformed answer.
func cutOff(err error) bool {
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errBroken) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, context.DeadlineExceeded) || strings.HasSuffix(err.Error(), "server closed idle connection")
}

// passing reports whether a conversation failed in a way that healthy plugs show
// now and then. What takes the whole time of an attempt is among it, what refuses
// is not: a second attempt at once would only load it.
func passing(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.reason == drivers.Silent
}
