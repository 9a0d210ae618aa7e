package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/device"
)

// listeners are those for whom the hooks work: somebody who hears what is
// republished, somebody who follows the live events, and a foreign hook, which
// only counts: what a hook does with what it hears is its own affair.
type listeners struct {
	foreign, plain *client
	follower       io.ReadCloser
	running        sync.WaitGroup
	heard          atomic.Int64 // data messages, by the foreign hook

	mu                 sync.Mutex // protects what follows
	republished, lived map[string]device.Micros
	failed             error
	closing            bool
}

func (h *hooked) listen(ctx context.Context) (l *listeners, err error) {
	if err := until(ctx, h.full.process, time.Minute, "the cloud", func() bool {
		answer, err := http.Get("http://" + h.full.http + "/readyz")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	}); err != nil {
		return nil, err
	}
	l = &listeners{republished: map[string]device.Micros{}, lived: map[string]device.Micros{}}
	if l.foreign, err = dialRole(h.full.mqtt, "foreign", ""); err != nil {
		return nil, err
	}
	if l.plain, err = dialRole(h.full.mqtt, "plain", ""); err != nil {
		return nil, err
	}
	if err := errors.Join(l.foreign.subscribe("$share/foreign/"+bus.DataFilter), l.plain.subscribe("wattline/+/power")); err != nil {
		return nil, err
	}
	if err := l.follow(ctx, h.full.http); err != nil {
		return nil, err
	}
	l.run(func() error {
		_, err := l.foreign.next()
		l.heard.Add(1)
		return err
	})
	l.run(func() error {
		p, err := l.plain.next()
		if err == nil && p.kind == typePublish {
			_, rest, _ := bytes.Cut(p.topic, []byte("/"))
			name, _, _ := bytes.Cut(rest, []byte("/"))
			l.note(l.republished, name, p.payload)
		}
		return err
	})
	return l, nil
}

// run repeats something until it fails.
func (l *listeners) run(do func() error) {
	l.running.Go(func() {
		for {
			if err := do(); errors.Is(err, os.ErrDeadlineExceeded) {
				continue // nothing came for a while
			} else if err != nil {
				l.mu.Lock()
				defer l.mu.Unlock()
				if !l.closing {
					l.failed = errors.Join(l.failed, err)
				}
				return
			}
		}
	})
}

// follow hears the server-sent events; who is too slow is sent away, and comes
// again.
func (l *listeners) follow(ctx context.Context, address string) error {
	open := func() (*bufio.Reader, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/api/v1/events?kind=state", http.NoBody)
		if err != nil {
			return nil, err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return nil, err
		}
		if answer.StatusCode != http.StatusOK {
			_ = answer.Body.Close()
			return nil, fmt.Errorf("events: %s", answer.Status)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.follower = answer.Body
		return bufio.NewReaderSize(answer.Body, 256<<10), nil
	}
	var lines *bufio.Reader
	if err := until(ctx, nil, time.Minute, "the events", func() (ok bool) {
		var err error
		lines, err = open()
		return err == nil
	}); err != nil {
		return err
	}
	l.run(func() error {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			l.mu.Lock()
			closing := l.closing
			l.mu.Unlock()
			if closing {
				return err
			}
			lines, err = open()
			return err
		}
		if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			l.note(l.lived, between(data, `"device":"`), data)
		}
		return nil
	})
	return nil
}

// between is what stands from after to the next quotation mark.
func between(text []byte, after string) []byte {
	_, rest, _ := bytes.Cut(text, []byte(after))
	value, _, _ := bytes.Cut(rest, []byte(`"`))
	return value
}

func (l *listeners) note(into map[string]device.Micros, name, text []byte) {
	at, err := time.Parse(time.RFC3339Nano, string(between(text, `"time":"`)))
	if err != nil {
		return // it has gone
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	into[string(name)] = device.MicrosOf(at)
}

// newest tells how many plugs of those told have been told on in their newest
// reading, in percent.
func (l *listeners) newest(told map[string]device.Micros) (republished, lived float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, at := range told {
		if l.republished[name] == at {
			republished++
		}
		if l.lived[name] == at {
			lived++
		}
	}
	return 100 * republished / float64(len(told)), 100 * lived / float64(len(told))
}

func (l *listeners) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

func (l *listeners) close() {
	l.mu.Lock()
	l.closing = true
	follower := l.follower
	l.mu.Unlock()
	l.foreign.close()
	l.plain.close()
	_ = follower.Close()
	l.running.Wait()
}

// flood publishes states as fast as readings come from a backlog, which no
// building does, and looks what becomes of them.
func (h *hooked) flood(ctx context.Context, l *listeners) error {
	seconds := 10
	if h.long {
		seconds = 30
	}
	s, err := newStates(h.full)
	if err != nil {
		return err
	}
	defer s.client.close()
	before, err := h.quietly(ctx)
	if err != nil {
		return err
	}
	perTick := int(h.ingest/pointsOf*steadyTick.Seconds()) + 1
	begin, n := time.Now(), 0
	for end := begin.Add(time.Duration(seconds) * time.Second); time.Now().Before(end) && ctx.Err() == nil; {
		for due := int(time.Since(begin)/steadyTick) * perTick; n < due; n += perTick {
			if err := s.tell(perTick); err != nil {
				return err
			}
		}
		time.Sleep(time.Millisecond)
	}
	took := time.Since(begin)
	after, err := h.quietly(ctx)
	if err != nil {
		return err
	}
	d := after.less(before)
	republished, lived := l.newest(s.told)
	h.note("states of %d plugs, as many as the storing hook stores readings while a backlog drains", configGateways*configPlaces)
	h.fact("hooks_flood_in", rate(n, took), "states/s")
	h.fact("hooks_flood_in_values", rate(n*pointsOf, took), "values/s")
	h.fact("hooks_flood_republished", d["republish_published"]/took.Seconds(), "messages/s")
	h.fact("hooks_flood_superseded", 100*d["republish_superseded"]/float64(n*pointsOf), "%")
	h.fact("hooks_flood_live", d["live_events"]/took.Seconds(), "events/s")
	h.shed("hooks_flood", d, float64(n))
	h.fact("hooks_flood_newest_republished", republished, "% of plugs")
	h.fact("hooks_flood_newest_live", lived, "% of plugs")
	return nil
}
