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
	dirty  map[device.ID]bool
	gone   map[device.ID]bool
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
	delete(s.dirty, id)
	s.gone[id] = true
	s.nudge()
}

// again makes everything due: a broker need not have kept it.
func (s *states) again() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.newest {
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

func (s *states) run(ctx context.Context, link *bus.Link) error {
	for {
		select {
		case <-ctx.Done():
			return nil
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
		pack, err := senml.Append(nil, outbox.AppendRecords(nil, s.newest[id]))
		if err != nil {
			continue // a value that is no number: the reading itself was refused too
		}
		messages = append(messages, bus.Message{Topic: bus.StateTopic(s.gateway, id.String()), Payload: pack, Retained: true, QoS0: true})
	}
	for id := range s.gone {
		messages = append(messages, bus.Message{Topic: bus.StateTopic(s.gateway, id.String()), Retained: true, QoS0: true})
	}
	clear(s.dirty)
	clear(s.gone)
	return messages
}
