package gateway

import (
	"context"
	"sync"
	"time"

	"github.com/wattline/wattline/edge/outbox"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
)

// states sends the newest reading of each device, retained and QoS 0, apart from
// the batches: dashboards are current while days of backlog drain. While the
// broker is away only the newest is remembered.
type states struct {
	gateway string
	wake    chan struct{}

	mu     sync.Mutex // protects what follows
	newest map[device.ID]device.Reading
	gone   map[device.ID]bool // plugs that this run had and has no more
	dirty  map[device.ID]bool // of both, what is to be sent
}

func newStates(gateway string) *states {
	return &states{
		gateway: gateway, wake: make(chan struct{}, 1),
		newest: map[device.ID]device.Reading{}, dirty: map[device.ID]bool{}, gone: map[device.ID]bool{},
	}
}

// put takes a reading; an older one than is known, or one without a true time
// yet, is left out.
func (s *states) put(r device.Reading) {
	if r.Time < device.MicrosOf(ClockFloor) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.newest[r.Device]; ok && r.Time < known.Time && known.Time-r.Time < device.Micros(time.Minute/time.Microsecond) {
		return
	}
	s.newest[r.Device] = r
	s.dirty[r.Device] = true
	delete(s.gone, r.Device)
	s.nudge()
}

// clear empties the retained state of a device that is here no more.
func (s *states) clear(id device.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.newest, id)
	s.gone[id], s.dirty[id] = true, true
	s.nudge()
}

// again makes everything due: a broker need not have kept it, nor heard what was
// cleared while it was away.
func (s *states) again() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.newest {
		s.dirty[id] = true
	}
	for id := range s.gone {
		s.dirty[id] = true
	}
	s.nudge()
}

func (s *states) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *states) run(ctx context.Context, link *bus.Link) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		for _, m := range s.due() {
			if link.Send(m) != nil {
				break // again() makes them due on the next connection
			}
		}
	}
}

func (s *states) due() (messages []bus.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.dirty {
		m := bus.Message{Topic: bus.StateTopic(s.gateway, id.String()), Retained: true, QoS0: true} // empty: cleared
		if !s.gone[id] {
			pack, err := senml.Append(nil, outbox.AppendRecords(nil, s.newest[id]))
			if err != nil {
				continue // the outbox has refused the reading, and counted it
			}
			m.Payload = pack
		}
		messages = append(messages, m)
	}
	clear(s.dirty)
	return messages
}
