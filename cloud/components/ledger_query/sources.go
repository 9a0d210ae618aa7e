package ledgerquery

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
)

// heardOf is the measurement in which the storing hook tells who sent what.
const heardOf = "source"

// Source is what the storing hook has heard from one source, summed over all
// runs of all its replicas; a message that came twice counts twice.
type Source struct {
	Source string `json:"source"`
	// Messages that came; Records that were stored.
	Messages int64 `json:"messages"`
	Records  int64 `json:"records"`
	// Messages that went into the quarantine, were not taken because the source
	// was beyond a limit, or could not be read.
	Quarantined int64 `json:"quarantined"`
	Limited     int64 `json:"limited"`
	Malformed   int64 `json:"malformed"`
	// Entered are messages in the ledger, which has those that asked for a
	// receipt; Numbered those of them that are numbered, so that the ledger can
	// prove that none is missing.
	Entered  int64 `json:"entered"`
	Numbered int64 `json:"numbered"`
	// Series that one run of the hook knows of at most.
	Series int64 `json:"series"`
	// First and Heard are when the first and the last message came.
	First device.Micros `json:"first"`
	Heard device.Micros `json:"heard"`
	// Error is what went wrong last, and ErrorAt when; "" and null for nothing.
	Error   string         `json:"error"`
	ErrorAt *device.Micros `json:"error_at"`
}

// add takes what one run tells.
func (s *Source) add(r row) {
	s.Messages += r.number("messages")
	s.Records += r.number("records")
	s.Quarantined += r.number("quarantined")
	s.Limited += r.number("limited")
	s.Malformed += r.number("malformed")
	s.Entered += r.number("entered")
	s.Numbered += r.number("numbered")
	s.Series = max(s.Series, r.number("series"))
	if first := device.Micros(r.number("first")); s.First == 0 || first < s.First {
		s.First = first
	}
	s.Heard = max(s.Heard, device.Micros(r.number("heard")))
	if at := device.Micros(r.number("failed")); at != 0 && (s.ErrorAt == nil || at > *s.ErrorAt) {
		s.Error, s.ErrorAt = r.text("error"), &at
	}
}

// sources answers with who sends data, by name: {"items": [Source...], "next":
// cursor or ""}.
func (c *Component) sources(ctx context.Context, r hook.Request, w Answer) error {
	p := readParameters(r.Data, "source", "prefix", "from", "to", "limit", "cursor")
	name, prefix := p.text("source"), p.text("prefix")
	from, to := p.span()
	limit := p.number("limit", 1, maxLimit, defaultLimit)
	after, err := base64.RawURLEncoding.DecodeString(p.text("cursor"))
	if err != nil {
		p.wrong("cursor", "%s is not the next of an answer", clip(p.text("cursor")))
	}
	if err := p.err(); err != nil {
		return err
	}
	all, err := c.heard(ctx, func(source string) bool {
		return source > string(after) && strings.HasPrefix(source, prefix) && (name == "" || source == name)
	})
	if err != nil {
		return err
	}
	var answer struct {
		Items []Source `json:"items"`
		Next  string   `json:"next"`
	}
	answer.Items = []Source{}
	size := 0
	for _, s := range slices.SortedFunc(maps.Values(all), func(a, b *Source) int { return cmp.Compare(a.Source, b.Source) }) {
		if s.Heard < from || to != 0 && s.Heard > to {
			continue
		}
		text, err := json.Marshal(s)
		if size += len(text) + 1; err != nil || len(answer.Items) == limit || len(answer.Items) > 0 && size > partLimit {
			answer.Next = base64.RawURLEncoding.EncodeToString([]byte(answer.Items[len(answer.Items)-1].Source))
			break
		}
		answer.Items = append(answer.Items, *s)
	}
	data, err := json.Marshal(answer)
	if err != nil {
		return fmt.Errorf("encode the sources: %w", err)
	}
	w.Send(data, nil)
	return nil
}

// heard sums up what is told of the sources that fit. The newest point of a
// source and run has all that was counted since the run began.
func (c *Component) heard(ctx context.Context, fits func(source string) bool) (map[string]*Source, error) {
	all := make(map[string]*Source)
	q := fmt.Sprintf(`SELECT "name", "messages", "records", "quarantined", "limited", "malformed", "entered", "numbered", "series", "first", "heard", "error", "failed" FROM %q GROUP BY "source", "instance" ORDER BY time DESC LIMIT 1`, heardOf)
	err := c.query(ctx, q, func(r row) error {
		name := r.text("name")
		if !fits(name) {
			return nil
		}
		s := all[name]
		if s == nil {
			s = &Source{Source: name}
			all[name] = s
		}
		s.add(r)
		return nil
	})
	return all, err
}
