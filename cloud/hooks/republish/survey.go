package republish

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
)

const (
	surveyQuiet = time.Second      // after the last retained message
	surveyMost  = 30 * time.Second // for all of them
	maxState    = 8 << 10          // bytes of one state
)

// surveyEach looks, after each connection, at what the broker has kept of what
// was published before: what was newest then, and what has gone meanwhile.
func (h *Hook) surveyEach(ctx context.Context, options bus.Options, wanted <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-wanted:
			h.survey(ctx, options)
		}
	}
}

// survey hears the hook's own retained messages, on a connection of its own that
// ends when no more come: live ones would be an echo of all that is published.
func (h *Hook) survey(ctx context.Context, options bus.Options) {
	ctx, cancel := context.WithTimeout(ctx, surveyMost)
	defer cancel()
	heard := make(chan struct{}, 1)
	var stale []string
	var states []bus.Message
	hear := func(m bus.Message) {
		if !m.Retained || len(m.Payload) == 0 {
			return
		}
		if strings.HasPrefix(m.Topic, "state/") { // a shared subscription brings none that are retained
			if len(states) < maxPlaces && len(m.Payload) < maxState {
				states = append(states, m)
			}
		} else if len(stale) < maxValues {
			stale = h.recall(m, stale)
		}
		select {
		case heard <- struct{}{}:
		default:
		}
	}
	options.ClientID = hook.ClientID(Name + "-survey")
	options.Up = func(ctx context.Context, s *bus.Session) error {
		// Discovery too where it is switched off: what was announced is withdrawn.
		filters := []string{h.config.value("+", "+"), bus.StateFilter, h.config.HomeAssistant.Prefix + "/device/+/config"}
		for _, filter := range filters {
			if err := s.Subscribe(ctx, filter, hear); err != nil {
				return err
			}
		}
		return nil
	}
	link := bus.NewLink(options, slog.New(slog.DiscardHandler)) // the others say that the broker is away
	done := make(chan struct{})
	go func() { defer close(done); _ = link.Run(ctx) }()
	if link.AwaitUp(ctx) == nil {
		for quiet := false; !quiet; {
			select {
			case <-heard:
			case <-time.After(surveyQuiet):
				quiet = h.settled()
			case <-ctx.Done():
				quiet = true
			}
		}
	}
	cancel()
	<-done
	for _, m := range states { // now that the places are known
		if d, err := hook.Decode(m, time.Now()); err == nil {
			_ = h.take(ctx, d) // never fails
		}
	}
	h.clear(stale)
}

// settled tells whether the registry was heard, and so its places, which it says
// at once.
func (h *Hook) settled() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.house.site != nil
}

// recall learns what was the newest of a topic. It adds the topics whose place
// may have gone: whether it has is asked when all is known.
func (h *Hook) recall(m bus.Message, stale []string) []string {
	rest, ours := strings.CutPrefix(m.Topic, h.config.Prefix+"/")
	if !ours {
		if strings.HasPrefix(m.Topic, h.config.HomeAssistant.Prefix+"/device/"+objectPrefix) {
			return append(stale, m.Topic)
		}
		return stale
	}
	name, _, _ := strings.Cut(rest, "/")
	id, err := device.Parse(name)
	var p plain
	if err != nil || json.Unmarshal(m.Payload, &p) != nil {
		return stale
	}
	switch p.Value.(type) {
	case float64, string:
	default: // not of ours
		return stale
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	at := device.MicrosOf(p.Time)
	if before, known := h.house.values[m.Topic]; known && before.at >= at || len(h.house.values) >= maxValues {
		return stale
	}
	h.house.values[m.Topic] = value{at, id, p}
	return append(stale, m.Topic)
}

// clear takes back what is of no place any more, provided that the registry was
// heard at all.
func (h *Hook) clear(topics []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.house.site == nil {
		return
	}
	announced := make(map[string]bool, len(h.house.places))
	for id := range h.house.places {
		if !h.config.HomeAssistant.Enabled {
			break
		}
		announced[h.config.discovery(id.String())] = true
	}
	for _, topic := range topics {
		v, isValue := h.house.values[topic]
		switch {
		case isValue && h.stays(v.device, v.plain):
		case !isValue && announced[topic]:
		default:
			delete(h.house.values, topic)
			h.out.put(topic, message{})
		}
	}
}
