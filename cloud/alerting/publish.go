package alerting

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// alertsPrefix begins the topics of what fires; alertsFilter hears them.
const (
	alertsPrefix = "alerts/"
	alertsFilter = "alerts/#"
	// recentFor is how long senders that tell a state tell that something is over,
	// and maxRecent of how much.
	recentFor = 5 * 60 * 1_000_000
	maxRecent = 10_000
	// publishTogether is how many messages may wait for the broker at once: after a
	// restart there may be ten thousand, each a way there and back.
	publishTogether = 256
)

// ended is an alert that is over, and when the cloud learned that: it may have
// been over for long.
type ended struct {
	alert contract.Alert
	at    device.Micros
}

// stateful is a sender that tells what fires now, again and again, rather than
// what changed.
type stateful interface {
	Run(ctx context.Context, state func() []contract.Alert) error
	Poke()
	Status() notify.Status
	// Try tells an alert beside the state, and whether it was taken.
	Try(ctx context.Context, a contract.Alert) error
}

// publishing is what the bus must be told: the newest of each topic.
type publishing struct {
	waits *sync.Mutex // protects unsent
	// unsent is what is to be published; nil payloads clear.
	unsent map[string][]byte
	poked  chan struct{}
	// begun is a connection on which nobody has looked yet what the broker has kept.
	begun *bus.Session
}

func newPublishing() publishing {
	return publishing{waits: new(sync.Mutex), unsent: make(map[string][]byte), poked: make(chan struct{}, 1)}
}

func topicOf(a contract.Alert) string { return bus.AlertTopic(a.Rule, a.Subject) }

// publish has what fires told on the bus, or that it does not any more.
func (p *publishing) publish(a contract.Alert) {
	var payload []byte
	if a.State != contract.Resolved {
		payload = text(a)
	}
	p.put(topicOf(a), payload)
}

// looksAt has a connection looked at once what waits is published.
func (p *publishing) looksAt(s *bus.Session) {
	p.waits.Lock()
	p.begun = s
	p.waits.Unlock()
	p.poke()
}

func (p *publishing) put(topic string, payload []byte) {
	p.waits.Lock()
	p.unsent[topic] = payload
	p.waits.Unlock()
	p.poke()
}

func (p *publishing) poke() {
	select {
	case p.poked <- struct{}{}:
	default:
	}
}

// take gives what is to be published.
func (p *publishing) takeAll() map[string][]byte {
	p.waits.Lock()
	defer p.waits.Unlock()
	all := p.unsent
	p.unsent = make(map[string][]byte)
	return all
}

// giveBack keeps what could not be published, unless there is newer.
func (p *publishing) giveBack(topic string, payload []byte) {
	p.waits.Lock()
	defer p.waits.Unlock()
	if _, newer := p.unsent[topic]; !newer {
		p.unsent[topic] = payload
	}
}

// publishAll publishes what waits, whenever there is a connection. Only then it
// looks what the broker has kept beside that: everything would come twice else.
func (a *Alerting) publishAll(ctx context.Context, says *bus.Link) {
	for ctx.Err() == nil {
		var together errgroup.Group // no topic is there twice
		together.SetLimit(publishTogether)
		for topic, payload := range a.takeAll() {
			together.Go(func() error {
				limit, cancel := context.WithTimeout(ctx, 10*time.Second)
				defer cancel()
				if err := says.Publish(limit, bus.Message{Topic: topic, Payload: payload, Retained: true}); err != nil {
					a.giveBack(topic, payload)
				}
				return nil
			})
		}
		_ = together.Wait() // what was not published was given back
		a.look(ctx)
		select {
		case <-ctx.Done():
		case <-a.poked:
		case <-time.After(10 * time.Second): // what was given back
		}
	}
}

// look asks the broker once, on each connection, for what it has kept.
func (a *Alerting) look(ctx context.Context) {
	a.waits.Lock()
	session := a.begun
	a.begun = nil
	a.waits.Unlock()
	if session == nil || session.Subscribe(ctx, alertsFilter, a.take) == nil || !a.link.IsUp() {
		return // on the next connection it is asked anew
	}
	a.waits.Lock()
	defer a.waits.Unlock()
	if a.begun == nil {
		a.begun = session
	}
}

// again publishes what fires, whatever the broker has kept. It has a connection of
// its own, so that it need not wait for all that is heard first.
func (a *Alerting) again(context.Context, *bus.Session) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, alert := range a.written() {
		a.publish(alert)
	}
	return nil
}

// up hears the bus.
func (a *Alerting) up(ctx context.Context, s *bus.Session) error {
	a.mu.Lock()
	a.signals.Connected(a.micros())
	a.mu.Unlock()
	for _, filter := range a.signals.Filters() {
		if err := s.Subscribe(ctx, filter, a.take); err != nil {
			return err
		}
	}
	a.looksAt(s)
	a.heard()
	return nil
}

func (a *Alerting) down(error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.signals.Disconnected()
}

// stale clears what the broker has kept of alerts that fire no more, and reports
// whether the message was about alerts at all.
func (a *Alerting) stale(m bus.Message) bool {
	if !strings.HasPrefix(m.Topic, alertsPrefix) {
		return false
	}
	rule, subject, _ := strings.Cut(m.Topic[len(alertsPrefix):], "/")
	if len(m.Payload) > 0 && !a.engine.Fires(rule, subject) && !a.endUnwritten(m.Topic) {
		a.put(m.Topic, nil)
	}
	return true // what fires is published anew on each connection, whatever was kept
}

// current is what fires, and what has ended a short while ago.
func (a *Alerting) current() []contract.Alert {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := a.written()
	for _, e := range a.recent {
		all = append(all, e.alert)
	}
	return all
}

// forgetRecent forgets what ended longer ago.
func (a *Alerting) forgetRecent(now device.Micros) {
	a.recent = slices.DeleteFunc(a.recent, func(e ended) bool { return now-e.at >= recentFor || e.at > now })
	a.recent = a.recent[max(0, len(a.recent)-maxRecent):]
}
