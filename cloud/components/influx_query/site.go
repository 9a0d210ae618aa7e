package influxquery

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

// siteWait is how long the first queries wait for the site's default floor,
// without which an answer could miss points of the other spelling.
const siteWait = 2 * time.Second

// site is what the component knows of the site it serves.
type site struct {
	log     *slog.Logger
	settled chan struct{} // closed when the site is known or is waited for no more
	settle  func()

	mu    sync.Mutex // protects the fields below
	known bool
	value contract.Site
}

func newSite(log *slog.Logger) *site {
	s := &site{log: log, settled: make(chan struct{})}
	s.settle = sync.OnceFunc(func() { close(s.settled) })
	return s
}

// settleWithin bounds how long anybody waits; stop ends the timer.
func (s *site) settleWithin(d time.Duration) (stop func()) {
	timer := time.AfterFunc(d, s.settle)
	return func() { timer.Stop() }
}

// subscribe adds the site's topic to what a connection is set up with.
func (s *site) subscribe(up func(context.Context, *bus.Session) error) func(context.Context, *bus.Session) error {
	return func(ctx context.Context, session *bus.Session) error {
		if err := session.Subscribe(ctx, bus.SiteTopic, s.hear); err != nil {
			return err
		}
		if up != nil {
			return up(ctx, session)
		}
		return nil
	}
}

// hear takes the retained document. One that does not read changes nothing: the
// default floor is set once in the life of a site.
func (s *site) hear(m bus.Message) {
	if len(m.Payload) == 0 {
		return
	}
	var value contract.Site
	if err := json.Unmarshal(m.Payload, &value); err != nil {
		s.log.Warn("site not understood", slog.String("topic", m.Topic), slog.Any("err", err))
		return
	}
	s.mu.Lock()
	s.known, s.value = true, value
	s.mu.Unlock()
	s.settle()
}

// floor is the default floor, waiting a little for it after the start.
func (s *site) floor(ctx context.Context) (floor int, known bool) {
	select {
	case <-s.settled:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.value.DefaultFloor, s.known
}
