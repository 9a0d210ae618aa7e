package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// A stream says something at least this often, so that both ends notice when the
// other has gone; then it also looks whether the token is still one.
const (
	heartbeat = 15 * time.Second
	lookAgain = time.Second
	eventType = "text/event-stream"
	// comeAgain is how long a client waits before it comes again, in ms.
	comeAgain = 2000
)

// Live gives what happens, as the api's live hook hears it.
type Live interface {
	// Follow begins behind the event with the id, or with everything as it is now
	// (an event "reset" first). wants chooses.
	Follow(after string, wants func(contract.Event) bool) (Follower, error)
}

// Follower is one client's stream. Next gives none when ctx ends, and an error at
// the end of the stream.
type Follower interface {
	Next(ctx context.Context) ([]contract.Event, error)
	Close()
}

// events is GET /api/v1/events: server-sent events (WHATWG HTML, 9.2).
func (s *Server) events(c *fiber.Ctx) error {
	site, err := s.knownSite()
	if err != nil {
		return err
	}
	q := readQuery(c)
	q.allow("floor", "type", "id", "kind", "last_event_id")
	who := callerOf(c)
	wants := s.eventFilter(q, who, site)
	if err := mistaken(q.mistakes); err != nil {
		return err
	}
	if err := s.ownFloors(c, q.numbers("floor")); err != nil {
		return err
	}
	if _, err := negotiate(c, eventType); err != nil {
		return err
	}
	if s.options.Live == nil {
		return newProblem(http.StatusServiceUnavailable, "there are no live events in this process")
	}
	c.Set(fiber.HeaderContentType, eventType)
	c.Set(fiber.HeaderCacheControl, "no-store")
	c.Set("X-Accel-Buffering", "no") // nginx would keep them
	if c.Method() == http.MethodHead {
		return nil
	}
	after := c.Get("Last-Event-ID")
	if after == "" {
		after = q.text("last_event_id") // for clients that cannot set the header
	}
	f, err := s.options.Live.Follow(after, wants)
	if err != nil {
		p := newProblem(http.StatusServiceUnavailable, err.Error()+"; try again")
		p.retry = time.Duration(comeAgain) * time.Millisecond
		c.Response().Header.Del(fiber.HeaderContentType)
		return p
	}
	from, to := io.Pipe()
	secret, shown := bearer(c)
	s.work.Go(func() { s.tellEvents(f, to, who, secret, shown) })
	c.Context().SetBodyStream(from, -1) // closes the pipe at its end, which ends tellEvents
	return nil
}

// eventFilter keeps to what was asked for and to the floors of the caller.
func (s *Server) eventFilter(q *query, who caller, site contract.Site) func(contract.Event) bool {
	floors, types, kinds := q.numbers("floor"), q.list("type"), q.list("kind")
	ids := map[device.ID]bool{}
	for _, text := range q.list("id") {
		id, err := parseID(text)
		if err != nil {
			q.mistake("id", err.Error())
			continue
		}
		ids[id.On(site.DefaultFloor)] = true
	}
	for _, kind := range kinds {
		if !slices.Contains([]string{contract.EventState, contract.EventGateway, contract.EventAlert}, kind) {
			q.mistake("kind", fmt.Sprintf("%.40q is none of state, gateway, alert", kind))
		}
	}
	places := types != nil || len(ids) > 0
	return func(e contract.Event) bool {
		switch {
		case kinds != nil && !slices.Contains(kinds, e.Kind):
			return false
		case places && e.Device.IsZero():
			return false
		case types != nil && !slices.Contains(types, e.Device.PlaceType()), len(ids) > 0 && !ids[e.Device.On(site.DefaultFloor)]:
			return false
		case floors == nil && who.floors == nil:
			return true
		}
		floor, known := s.floorOf(e, site)
		return known && who.may(floor) && (floors == nil || slices.Contains(floors, floor))
	}
}

// floorOf is where something has happened; what is of no floor is of the whole
// site, and not for those who have floors.
func (s *Server) floorOf(e contract.Event, site contract.Site) (floor int, known bool) {
	switch {
	case !e.Device.IsZero():
		return e.Device.On(site.DefaultFloor).Floor()
	case e.Floor != nil:
		return *e.Floor, true
	}
	if g, ok := s.house.Gateway(e.Gateway); ok && g.Info != nil {
		return g.Info.Floor, true
	}
	return 0, false
}

// tellEvents writes a stream until the client goes, is too slow, has no token any
// more, or the server ends.
func (s *Server) tellEvents(f Follower, to *io.PipeWriter, who caller, secret string, shown bool) {
	defer f.Close()
	defer func() {
		if p := recover(); p != nil {
			s.log.ErrorContext(s.life, "events panicked", slog.Any("err", p), slog.String("stack", string(debug.Stack())))
		}
		_ = to.Close() // a proper end: the client comes again by itself
	}()
	var b bytes.Buffer
	fmt.Fprintf(&b, "retry: %d\n\n", comeAgain)
	told := time.Now()
	for s.life.Err() == nil {
		if b.Len() > 0 {
			if _, err := to.Write(b.Bytes()); err != nil {
				return
			}
			told = time.Now()
			b.Reset()
		}
		ctx, cancel := context.WithTimeout(s.life, lookAgain)
		events, err := f.Next(ctx)
		cancel()
		if err != nil || shown && !s.stillHolds(secret) {
			return
		}
		for _, e := range events {
			writeEvent(&b, s.ownEvent(who, e))
		}
		if b.Len() == 0 && time.Since(told) >= heartbeat {
			b.WriteString(":\n\n")
		}
	}
}

// ownEvent is an event with what the caller may see of it.
func (s *Server) ownEvent(who caller, e contract.Event) contract.Event {
	var data struct {
		Topic string          `json:"topic"`
		Alert json.RawMessage `json:"alert"`
	}
	if who.floors != nil && e.Kind == contract.EventAlert && json.Unmarshal(e.Data, &data) == nil {
		data.Alert = s.ownCovers(who, data.Alert)
		if cut, err := json.Marshal(data); err == nil {
			e.Data = cut
		}
	}
	return e
}

// stillHolds tells whether a token that has opened a stream still would.
func (s *Server) stillHolds(secret string) bool {
	t, known, early := s.house.Token(secret)
	return early || known && (t.Expires == nil || *t.Expires > device.MicrosOf(time.Now()))
}

// writeEvent writes one event. A reset has an empty id, which makes a browser
// forget the one it has: what follows is no position to come back to.
func writeEvent(b *bytes.Buffer, e contract.Event) {
	if e.ID != "" || e.Kind == contract.EventReset {
		fmt.Fprintf(b, "id: %s\n", e.ID)
	}
	fmt.Fprintf(b, "event: %s\ndata: %s\n\n", e.Kind, e.Data)
}
