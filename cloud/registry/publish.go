package registry

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/hook"
)

// up is called on each new connection.
func (r *Registry) up(ctx context.Context, s *bus.Session) error {
	r.mu.Lock()
	r.seen = newSeen()
	seen := r.seen
	r.mu.Unlock()
	end := "responses/registry/" + hook.Instance() + "/all-heard"
	heard := make(chan struct{}, 1)
	for _, filter := range []string{bus.RegistryFilter, bus.ConfigFilter, bus.StatusFilter, bus.FoundFilter} {
		if err := s.Subscribe(ctx, filter, r.hear(seen)); err != nil {
			return err
		}
	}
	if err := s.Subscribe(ctx, end, func(bus.Message) { poke(heard) }); err != nil {
		return err
	}
	// The retained messages come before what is published after subscribing, so
	// this one tells that all have come.
	if err := s.Publish(ctx, bus.Message{Topic: end, Payload: []byte("{}")}); err != nil {
		return err
	}
	select {
	case <-heard:
	case <-time.After(syncTime):
		return errors.New("the broker does not give back what it has retained")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return r.publish(ctx, s, seen)
}

// publisher is a session that is not up yet, or the link.
type publisher interface {
	Publish(ctx context.Context, m bus.Message) error
}

// sync makes the bus what the inventory says. Without a connection it does
// nothing: the next one begins with it.
func (r *Registry) sync(ctx context.Context, to publisher) {
	if !r.link.IsUp() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, syncTime)
	defer cancel()
	r.mu.Lock()
	seen := r.seen
	r.mu.Unlock()
	if err := r.publish(ctx, to, seen); err != nil && ctx.Err() == nil {
		if r.store.said.May("publish") {
			r.log.WarnContext(ctx, "registry not published", slog.Any("err", err))
		}
		time.AfterFunc(publishAgain, func() { poke(r.dirty) })
	}
}

// publish publishes what seen has not and clears what it has too much. The site
// comes last: who has heard it has heard the places.
func (r *Registry) publish(ctx context.Context, to publisher, seen *seen) error {
	r.syncing.Lock()
	defer r.syncing.Unlock()
	content, err := r.store.publish()
	if err != nil {
		return err
	}
	if err := r.store.assign(content.configs, seen.config); err != nil {
		r.log.ErrorContext(ctx, "configuration versions not saved", slog.Any("err", err))
	}
	topics, err := content.encode()
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.wanted = topics
	r.mu.Unlock()
	var all errgroup.Group
	all.SetLimit(atOnce)
	changes := seen.differs(topics)
	site, last := changes[bus.SiteTopic]
	delete(changes, bus.SiteTopic)
	for topic, payload := range changes {
		all.Go(func() error {
			return to.Publish(ctx, bus.Message{Topic: topic, Payload: payload, Retained: true})
		})
	}
	if err := all.Wait(); err != nil || !last {
		return err
	}
	return to.Publish(ctx, bus.Message{Topic: bus.SiteTopic, Payload: site, Retained: true})
}
