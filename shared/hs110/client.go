package hs110

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/wattline/wattline/shared/device"
)

// Defaults of [Options].
const (
	DialTimeout = 3 * time.Second // to connect
	Timeout     = 5 * time.Second // for one attempt: connect, ask, read the answer
)

// Options are what a program may set about a [Client]; the zero value is right
// for real plugs.
type Options struct {
	DialTimeout time.Duration // default [DialTimeout]
	Timeout     time.Duration // default [Timeout]
	// MaxPower is the highest plausible power in W, default [MaxPower]. It also
	// bounds the plug's statistics.
	MaxPower device.Watts
	// HTTPPort and KLAPPort are where a plug that refuses the protocol's port is
	// probed for being locked: 80 (TCP) and 20002 (UDP) by default, no probe
	// where negative.
	HTTPPort, KLAPPort int
}

// Client asks one plug. It opens a connection for each question and closes it
// after the answer, as hardware version 1 does by itself. An attempt that ended
// in a way that passes by (no byte, half an answer, a reset, nothing in time) is
// made once more; see [ErrOffline] for the rest.
//
// It holds no state and is safe for concurrent use, but a plug is not: ask one
// question at a time.
type Client struct {
	address string
	dialer  net.Dialer
	timeout time.Duration
	limits  limits

	httpPort, klapPort int
}

// New returns a Client for the plug at address: an IP address or a name, with
// or without a port (default [Port]). It touches no network.
func New(address string, o Options) (*Client, error) {
	full, err := withPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q of a plug: %w", address, err)
	}
	c := &Client{
		address: full,
		// Keep-alive probes are for connections that last.
		dialer:   net.Dialer{Timeout: cmp.Or(o.DialTimeout, DialTimeout), KeepAlive: -1},
		timeout:  cmp.Or(o.Timeout, Timeout),
		limits:   limits{power: float64(cmp.Or(o.MaxPower, MaxPower))},
		httpPort: cmp.Or(o.HTTPPort, httpPort), klapPort: cmp.Or(o.KLAPPort, klapPort),
	}
	return c, nil
}

func withPort(address string) (string, error) {
	if ip, err := netip.ParseAddr(address); err == nil {
		return netip.AddrPortFrom(ip, Port).String(), nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		if ae, ok := errors.AsType[*net.AddrError](err); !ok || ae.Err != "missing port in address" {
			return "", err
		}
		host, port = address, strconv.Itoa(Port)
	}
	if host == "" {
		return "", errors.New("no host")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("port %q is not 1 to 65535", port)
	}
	return net.JoinHostPort(host, port), nil
}

// Address is where the plug is asked, with its port.
func (c *Client) Address() string { return c.address }

// Info asks the plug about itself and its relay. It is the one question that
// every device of the family stands.
func (c *Client) Info(ctx context.Context) (i Info, err error) {
	err = c.ask(ctx, askInfo, func(r *reply) (err error) {
		i, err = r.info()
		return err
	})
	return i, err
}

// Realtime asks the meter. A plug without one gives [ErrNoMeter], and may take
// harm from the question: ask [Client.Info] first, once.
func (c *Client) Realtime(ctx context.Context) (rt Realtime, err error) {
	err = c.ask(ctx, askRealtime, func(r *reply) (err error) {
		rt, err = r.realtime(c.limits)
		return err
	})
	return rt, err
}

// Status is what one [Client.Poll] yields.
type Status struct {
	Info
	Realtime
	// MeterErr is why Realtime is empty, where the plug answered for itself but
	// not for its meter: the error that [Client.Realtime] would have given.
	MeterErr error
}

// Poll asks for Info and Realtime in one request, to be used where [Info.HasMeter]
// is known to be true. A relay state that is neither on nor off is a suspect.
func (c *Client) Poll(ctx context.Context) (s Status, err error) {
	err = c.ask(ctx, askPoll, func(r *reply) (err error) {
		if s.Info, err = r.info(); err != nil {
			return err
		}
		if s.Realtime, err = r.realtime(c.limits); err != nil {
			s.MeterErr = c.answerError(askRealtime.name, err)
		}
		if sus, ok := s.RelaySuspect(); ok {
			s.Suspects = append(s.Suspects, sus)
		}
		return nil
	})
	return s, err
}

// RelaySuspect is the relay state that the plug sent, where it is neither 0 nor 1.
func (i *Info) RelaySuspect() (device.Suspect, bool) {
	return device.Suspect{Field: device.Status, Raw: "relay_state=" + i.relay.raw()}, i.relay.present
}

// SetRelay switches the relay on or off. The state is absolute, so asking twice
// does no harm, and after an error of class [ErrOffline] it may have been done or
// not: ask [Client.Info], 0.35 s or more later, which a success deserves too.
func (c *Client) SetRelay(ctx context.Context, on bool) error {
	q := askOff
	if on {
		q = askOn
	}
	return c.ask(ctx, q, (*reply).relaySet)
}

// DayStat asks for the plug's energy of each day of a month of its own calendar.
func (c *Client) DayStat(ctx context.Context, year int, month time.Month) (s Stat, err error) {
	err = c.ask(ctx, askDayStat(year, month), func(r *reply) error {
		if err := r.emeter(); err != nil {
			return err
		}
		w := r.Emeter.Days
		if w == nil {
			return fmt.Errorf("emeter.get_daystat: %w", errMissing)
		}
		if err := w.check("emeter", "get_daystat"); err != nil {
			return err
		}
		s = w.stat(w.Days, c.limits, true)
		return nil
	})
	return s, err
}

// MonthStat asks for the plug's energy of each month of a year.
func (c *Client) MonthStat(ctx context.Context, year int) (s Stat, err error) {
	err = c.ask(ctx, askMonthStat(year), func(r *reply) error {
		if err := r.emeter(); err != nil {
			return err
		}
		w := r.Emeter.Months
		if w == nil {
			return fmt.Errorf("emeter.get_monthstat: %w", errMissing)
		}
		if err := w.check("emeter", "get_monthstat"); err != nil {
			return err
		}
		s = w.stat(w.Months, c.limits, false)
		return nil
	})
	return s, err
}

// Time asks for the plug's clock, in whole seconds. It tells no zone; loc is the
// one that the plug is set to. The clock is right only where the plug reaches a
// time server, so nothing may depend on it.
func (c *Client) Time(ctx context.Context, loc *time.Location) (t time.Time, err error) {
	err = c.ask(ctx, askTime, func(r *reply) (err error) {
		if r.Time == nil {
			return fmt.Errorf("time: %w", errMissing)
		}
		if err := r.Time.check("time", ""); err != nil {
			return err
		}
		if r.Time.Now == nil {
			return fmt.Errorf("time.get_time: %w", errMissing)
		}
		if err := r.Time.Now.check("time", "get_time"); err != nil {
			return err
		}
		t, err = r.Time.Now.in(loc)
		return err
	})
	return t, err
}

// buffers holds bodies; a usual reply fits, a longer one is read into a larger
// buffer that is kept in its stead.
var buffers = sync.Pool{New: func() any { return new(make([]byte, 0, 2048)) }} //nolint:gochecknoglobals // a pool is shared by nature

// ask puts q to the plug and hands the decoded reply to read.
func (c *Client) ask(ctx context.Context, q request, read func(*reply) error) error {
	buf, _ := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	body, connected, err := c.exchange(ctx, q.frame, *buf)
	if err != nil && passing(err) && ctx.Err() == nil {
		body, connected, err = c.exchange(ctx, q.frame, *buf)
	}
	if err != nil {
		if !connected && errors.Is(err, syscall.ECONNREFUSED) && c.locked(ctx) {
			return &Error{Op: q.name, Address: c.address, Class: ErrLocked, Err: err, reason: ReasonLocked}
		}
		return c.transportError(ctx, q.name, connected, err)
	}
	*buf = body[:0]
	r, err := parse(body)
	if err == nil {
		err = read(r)
	}
	if err != nil {
		return c.answerError(q.name, err)
	}
	return nil
}

// exchange makes one attempt on a connection of its own. connected tells whether
// the plug took the connection.
func (c *Client) exchange(ctx context.Context, frame, buf []byte) (body []byte, connected bool, err error) {
	deadline := time.Now().Add(c.timeout)
	// Not Dialer.DialTCP: with no local address it binds to any (Go 1.26), and a
	// bound socket takes its port from all destinations at once; a gateway of
	// 2,000 plugs runs out of them in seconds.
	conn, err := c.dialer.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return nil, false, err
	}
	defer conn.Close()
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, true, err
	}
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
		defer stop()
	}
	if _, err := conn.Write(frame); err != nil {
		return nil, true, err
	}
	body, err = ReadFrame(conn, buf)
	return body, true, err
}
