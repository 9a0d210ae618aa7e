// Package hook is what the author of a hook or a component needs: a connection
// of one's own, a subscription that is shared among replicas, and the manners of
// the bus.
//
// A hook built with [Readings] is given decoded readings, with a bounded queue
// before it and receipts behind it; the example shows one of twenty lines. A
// component built with [Component] answers queries or commands: each request gets
// an answer, an error included; a handler that panics, fails or is too slow
// harms only its own request; more requests than fit are refused at once.
// Delivery is at least once: a handler may see a request twice.
package hook

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"

	"github.com/wattline/wattline/shared/bus"
)

// Listen subscribes to the filters on a connection of its own and calls handle
// for each message until ctx ends. handle is called by the connection's one
// reader: it must hand over and return. name is the hook's; replicas with the
// same name share the messages.
func Listen(ctx context.Context, name string, options bus.Options, log *slog.Logger, handle func(bus.Message), filters ...string) error {
	return NewListener(name, options, log, handle, filters...).Run(ctx)
}

// NewListener is the link that [Listen] runs, for hooks that also publish.
func NewListener(name string, options bus.Options, log *slog.Logger, handle func(bus.Message), filters ...string) *bus.Link {
	return listener(name, false, nil, options, log, handle, filters...)
}

func listener(name string, alone bool, before func(context.Context, *bus.Session) error, options bus.Options, log *slog.Logger, handle func(bus.Message), filters ...string) *bus.Link {
	options.ClientID = ClientID(name)
	up := options.Up
	options.Up = func(ctx context.Context, s *bus.Session) error {
		if before != nil {
			if err := before(ctx, s); err != nil {
				return err
			}
		}
		for _, filter := range filters {
			if !alone {
				filter = Shared(name, filter)
			}
			if err := s.Subscribe(ctx, filter, handle); err != nil {
				return err
			}
		}
		if up != nil {
			return up(ctx, s)
		}
		return nil
	}
	return bus.NewLink(options, log)
}

// Shared is the filter of a subscription that the replicas of one hook share.
func Shared(name, filter string) string { return "$share/" + name + "/" + filter }

// Instance draws 64 random bits, as 16 hex digits, that name one run of a hook
// or component.
func Instance() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand, Go 1.24)
	return hex.EncodeToString(b[:])
}

// ClientID is a client identifier that no other connection has.
func ClientID(name string) string { return name + "-" + Instance() }
