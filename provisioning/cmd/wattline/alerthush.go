package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/wattline/wattline/provisioning/client"
)

func hushCommands() []command {
	return []command{
		{
			name: "alerts ack", args: "ID... | --rule R | --floor N | --gateway G", short: "say that somebody sees to it: no more messages until it is over", bind: hushing("acknowledge", "acknowledged"),
			long: alertNames + "\nWith flags all that fire and fit are meant.",
			examples: []string{
				"wattline alerts ack gateway-offline/edge-f2 --reason 'electrician at work'", "wattline alerts ack --rule left-on --floor 2",
			},
		},
		{
			name: "alerts snooze", args: "ID... --for D | --until TIME", short: "no messages for a while; then it tells again if it still fires", bind: hushing("snooze", "snoozed"),
			long: alertNames + "\nWith flags all that fire and fit are meant.",
			examples: []string{
				"wattline alerts snooze plug-unreachable/sp_f2.g3 --for 2d --reason 'desk moves'", "wattline alerts snooze --gateway edge-f2 --until 2026-12-01T08:00:00+01:00",
			},
		},
		{
			name: "alerts wake", args: "ID... | --rule R | --floor N | --gateway G", short: "take an acknowledgement or a snooze back", bind: hushing("wake", "awake again"),
			long: alertNames, examples: []string{"wattline alerts wake gateway-offline/edge-f2"},
		},
	}
}

// hushing is the bind of a command that acknowledges, snoozes or wakes.
func hushing(verb, done string) func(*flag.FlagSet) action {
	return func(f *flag.FlagSet) action {
		l := alertFilters(f)
		reason := f.String("reason", "", "`why`, for those who ask later")
		dry := f.Bool("dry-run", false, "say which it would be, and change nothing")
		var length, until *string
		if verb == "snooze" {
			length = f.String("for", "", "how `long`: 30m, 2h, 7d")
			until = f.String("until", "", "until this `time`, RFC 3339 or POSIX seconds")
		}
		return func(ctx context.Context, s *session, args []string) error {
			body := map[string]any{}
			if *reason != "" {
				body["reason"] = *reason
			}
			if verb == "snooze" {
				at, err := endOf(*length, *until, time.Now())
				if err != nil {
					return err
				}
				body["until"] = at
			}
			filter := l.query()
			if len(args) > 0 == (len(filter) > 0) {
				return usage("want either alerts, as `wattline alerts` shows them, or --rule, --severity, --device, --gateway or --floor")
			}
			h := hush{s: s, verb: verb, done: done, dry: *dry, body: body}
			if len(args) == 0 {
				return h.many(ctx, filter)
			}
			return s.each(&changing{}, args, func(_ *changing, name string) error {
				id, err := s.alertID(ctx, name)
				if err != nil {
					return err
				}
				return h.send(ctx, "id", id)
			})
		}
	}
}

// endOf is when a snooze is over.
func endOf(length, until string, now time.Time) (string, error) {
	switch {
	case (length == "") == (until == ""):
		return "", usage("want either --for, as 2h or 7d, or --until: a snooze has an end")
	case length != "":
		d, err := span(length)
		if err != nil {
			return "", usage("--for: %v", err)
		}
		return now.Add(d).UTC().Format(time.RFC3339), nil
	}
	at, err := moment(until, now, false)
	if err != nil {
		return "", usage("--until: %v", err)
	}
	return at, nil
}

// hush is one command that makes alerts quiet, or loud again.
type hush struct {
	s          *session
	verb, done string
	dry        bool
	body       map[string]any
}

func (h hush) many(ctx context.Context, filter url.Values) error {
	named := map[string]string{}
	for name, values := range filter {
		named[name] = values[0]
	}
	return h.send(ctx, "filter", named)
}

func (h hush) send(ctx context.Context, member string, which any) error {
	body := maps.Clone(h.body)
	body[member] = which
	q := url.Values{}
	if h.dry {
		q.Set("dry_run", "true")
	}
	a, err := h.s.do(ctx, client.Request{Method: http.MethodPost, Path: alertsPath + "/" + h.verb, Query: q, JSON: body})
	if err != nil {
		return err
	}
	if h.s.json {
		return h.s.raw(a.Body)
	}
	var told struct {
		Changed int        `json:"changed"`
		Items   []document `json:"items"`
	}
	if err := json.Unmarshal(a.Body, &told); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	c := changing{dry: h.dry}
	if told.Changed == 0 {
		c.done(h.s, "Nothing of that fires.")
	}
	for _, d := range told.Items {
		c.done(h.s, "%s is %s.", shortID(d.text("id")), h.done)
	}
	if len(told.Items) == 0 && told.Changed > 0 {
		c.done(h.s, "%d alerts are %s.", told.Changed, h.done)
	}
	return nil
}
