package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/contract"
)

const (
	refused = "refused" // a result in the audit log
	done    = "done"
	failed  = "failed"

	// maxNotes waits for the registry; what comes beyond it is counted.
	maxNotes = 64
	// The same is told once a minute, that somebody without a token reads once an
	// hour.
	noteEvery = time.Minute
	readEvery = time.Hour
)

// note tells the audit log what is no change of the registry: who was refused
// what, and what clients without a token do. It never waits. The same is told
// once a minute, and the registry has a limit of its own, so that a flood of
// refusals neither fills its disk nor takes the place of what others did.
func (s *Server) note(c *fiber.Ctx, e contract.Audited) {
	s.noteSparingly(c, e, s.told)
}

func (s *Server) noteSparingly(c *fiber.Ctx, e contract.Audited, sparing *throttle) {
	if _, ok := sparing.take(e.Who+"\x00"+e.What+"\x00"+e.Object, time.Now()); !ok {
		s.count.untold.Inc()
		return
	}
	e.From = c.IP()
	select {
	case s.notes <- e:
	default:
		s.count.untold.Inc()
	}
}

// tellNotes hands notes to the registry until ctx ends.
func (s *Server) tellNotes(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-s.notes:
			s.log.WarnContext(ctx, "noted", slog.String("who", e.Who), slog.String("what", e.What), slog.String("object", e.Object), slog.String("result", e.Result))
			if err := s.tell(e); err != nil { //nolint:contextcheck // it lives under the server's own context
				s.count.untold.Inc()
				s.log.DebugContext(ctx, "note not taken", slog.Any("err", err))
			}
		}
	}
}

func (s *Server) tell(e contract.Audited) error {
	content, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = s.askRegistry("command", "audit", contract.RegistryRequest{Verb: "note", Who: e.Who, From: e.From, Content: content})
	return err
}
