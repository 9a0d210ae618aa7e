package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/wattline/wattline/provisioning/client"
)

func useCommands() []command {
	return []command{
		{
			name: "switch", args: "on|off [ID...]", short: "switch plugs, one or many", bind: switchPlugs,
			long: "Names places by their ids, or by floor, row, column and type, which must all\nhold. Protected places are never switched. --dry-run says which it would be.",
			examples: []string{
				"wattline switch off sp_f2.w.r1.c1 --reason 'going home'", "wattline switch on --floor 2 --row 1 --dry-run", "wattline switch off --type p --reason weekend",
			},
		},
		{
			name: "readings", args: "[MEASUREMENT]", short: "what was measured: power (W), voltage, current, energy (Wh), status", bind: readings,
			examples: []string{
				"wattline readings power --id sp_f2.w.r1.c1 --from 2026-03-01T08:00:00Z", "wattline readings energy --operation spread --every 1d --group-by floor --from 2026-03-01T00:00:00Z",
			},
		},
		{
			name: "ledger", short: "what is proven to be stored, gateway by gateway", bind: ledger,
			long: "Exit code 1 when something is missing, or nothing can be claimed.",
		},
	}
}

func switchPlugs(f *flag.FlagSet) action {
	sel := members{}
	sel.whole(f, "floor", "floor", "`number` of the floor")
	sel.whole(f, "row", "row", "`number` of the row of workplaces")
	sel.whole(f, "column", "column", "`number` of the column of workplaces")
	sel.text(f, "type", "type", "`type` of place: w, g, p")
	reason := f.String("reason", "", "`why`, for the audit log")
	deadline := amountVar(f, "deadline", maxDeadline, "`seconds` after which it is too late; 10 without")
	dry := f.Bool("dry-run", false, "say which would be switched, and switch nothing")
	return func(ctx context.Context, s *session, args []string) error {
		on := slices.Index([]string{"off", "on"}, cmp.Or(append(slices.Clone(args), "")...))
		if on < 0 {
			return usage("want on or off, and which places")
		}
		if ids := args[1:]; len(ids) > 0 {
			sel["ids"] = ids
		}
		if len(sel) == 0 {
			return usage("want ids, or --floor, --row, --column or --type: which places")
		}
		body := members{"select": sel, "on": on == 1, "dry_run": *dry}
		if *reason != "" {
			body["reason"] = *reason
		}
		if deadline.value > 0 {
			body["deadline_s"] = deadline.value
		}
		patience := max(s.timeout, time.Duration(deadline.value*float64(time.Second))+10*time.Second)
		a, err := s.do(ctx, client.Request{Method: http.MethodPost, Path: "/api/v1/commands", JSON: body, Timeout: max(patience, 2*time.Minute)})
		if err != nil {
			return err
		}
		return s.switched(a, *dry)
	}
}

// switched prints what became of each plug; what was not done makes the exit
// code.
func (s *session) switched(a *client.Answer, dry bool) error {
	var answer struct {
		Results []document `json:"results"`
	}
	if err := a.Decode(&answer); err != nil {
		return err
	}
	if s.json {
		if err := s.raw(a.Body); err != nil {
			return err
		}
	} else if err := s.table(answer.Results, []column{
		col("PLACE", "device"), col("OUTCOME", "outcome"), col("RELAY ON", "on"), col("GATEWAY", "gateway"), col("DETAIL", "detail"),
	}, "No place is meant by that."); err != nil {
		return err
	}
	failed := 0
	for _, r := range answer.Results {
		if o := r.text("outcome"); o != "confirmed" && (!dry || o != "dry run") {
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d were not switched as asked", failed, len(answer.Results))
	}
	return nil
}

func readings(f *flag.FlagSet) action {
	l := filters{}
	for _, p := range [][2]string{
		{"id", "only these, as a `list` of ids"},
		{"predecessors", "`true`: and what was there before under other ids"},
		{"type", "only these `types`"},
		{"floor", "only these `floors`"},
		{"row", "only these `rows`"},
		{"column", "only these `columns`"},
		{"from", "from this `time` on, RFC 3339 or POSIX seconds"},
		{"to", "until this `time`"},
		{"operation", "`name`: mean, max, min, sum, count, spread, integral, percentile..."},
		{"every", "one value for each `span`: 5m, 1h, 1d"},
		{"fill", "what empty spans hold: none, null, previous, linear or a number; none `without`"},
		{"group-by", "device, row, column, type or floor, as a `list`"},
		{"tz", "IANA `zone` of days"},
		{"n", "the `n` of percentile, sample, top and bottom"},
		{"order", "asc or desc"},
	} {
		l.add(f, p[0], p[1])
	}
	limit := f.Int("limit", 20, "at most `n` values of a series")
	csv := f.Bool("csv", false, "as CSV")
	return func(ctx context.Context, s *session, args []string) error {
		if len(args) > 1 {
			return usage("want one measurement, got %d arguments", len(args))
		}
		q := l.query()
		q.Set("measurement", cmp.Or(append(slices.Clone(args), "power")...))
		sparse := q.Get("fill") == ""
		if sparse && q.Get("every") != "" && !slices.Contains(unfilled, q.Get("operation")) {
			q.Set("fill", "none")
		}
		ask := *limit
		if table := !*csv && !s.json; table && ask > 0 && ask < maxValues {
			ask++ // one more than is shown: it tells that there are more
		}
		q.Set("limit", fmt.Sprint(ask))
		if q.Get("order") == "" && q.Get("operation") == "" && q.Get("from") == "" {
			q.Set("order", "desc")
		}
		accept := "application/json"
		if *csv {
			accept = "text/csv"
		}
		a, err := s.do(ctx, client.Request{Method: http.MethodGet, Path: "/api/v1/readings", Query: q, Accept: accept, Timeout: max(s.timeout, 2*time.Minute)})
		switch {
		case err != nil:
			return err
		case *csv:
			_, err := s.stdout.Write(a.Body)
			return err
		case s.json:
			return s.raw(a.Body)
		}
		return s.series(a, *limit, sparse)
	}
}

// maxValues is the most that the server gives of a series.
const maxValues = 10_000_000

// unfilled are the operations that give nothing for an empty span, and that take
// no fill.
var unfilled = []string{"bottom", "sample", "top", "distinct"}

// series prints a line for each value, at most limit of a series; sparse leaves
// out the spans that have none.
func (s *session) series(a *client.Answer, limit int, sparse bool) error {
	var answer struct {
		Series []struct {
			Unit   string         `json:"unit"`
			Group  map[string]any `json:"group"`
			Points []document     `json:"points"`
		} `json:"series"`
	}
	if err := a.Decode(&answer); err != nil {
		return err
	}
	var docs []document
	cut := false
	for _, one := range answer.Series {
		if limit > 0 && len(one.Points) > limit {
			one.Points, cut = one.Points[:limit], true
		}
		for _, p := range one.Points {
			if sparse && p["value"] == nil {
				continue
			}
			p["group"], p["unit"] = one.Group, one.Unit
			docs = append(docs, p)
		}
	}
	err := s.table(docs, []column{
		col("TIME", "time"), col("PLACE", "id", "group.id"), {title: "GROUP", of: groupOf}, col("VALUE", "value"), col("UNIT", "unit"),
	}, "Nothing was measured there and then.")
	if err == nil && cut {
		s.say("There are more; --limit %d shows as many again of each series.", 2*limit)
	}
	return err
}

// groupOf is what a series has in common, beside a single place.
func groupOf(d document) string {
	g, _ := d.at("group").(map[string]any)
	if g["id"] != nil {
		return ""
	}
	return textOf(any(g))
}

func ledger(f *flag.FlagSet) action {
	l := filters{}
	l.add(f, "gateway", "only this `gateway`")
	l.add(f, "from", "from this `time` of measurement on")
	l.add(f, "to", "until this `time`")
	return func(ctx context.Context, s *session, args []string) error {
		if err := none(args); err != nil {
			return err
		}
		a, err := s.do(ctx, client.Request{Method: http.MethodGet, Path: "/api/v1/ledger", Query: l.query(), Timeout: max(s.timeout, 2*time.Minute)})
		if err != nil {
			return err
		}
		proofs, err := proofsOf(a.Body)
		if err != nil {
			return err
		}
		if s.json {
			err = s.raw(a.Body)
		} else {
			err = s.table(proofs, []column{
				col("GATEWAY", "gateway"), col("COMPLETE", "complete"), col("STORED", "stored"), col("WAITING", "waiting"), col("DROPPED", "dropped"), col("MISSING", "missing"), col("CLAIM", "claim"),
			}, "The ledger has no entries yet.")
		}
		if err == nil && slices.ContainsFunc(proofs, func(d document) bool { return d.text("missing") != "0" && d.text("missing") != "" }) {
			return &exit{exitNotDone, "batches are missing; `wattline doctor site` says more"}
		}
		return err
	}
}

// proofsOf reads the ledger's answer, a list or an envelope around one.
func proofsOf(body []byte) ([]document, error) {
	var list []document
	if json.Unmarshal(body, &list) == nil {
		return list, nil
	}
	var wrapped struct {
		Data   []document `json:"data"`
		Items  []document `json:"items"`
		Proofs []document `json:"proofs"`
	}
	if err := json.Unmarshal(body, &wrapped); err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	return slices.Concat(wrapped.Data, wrapped.Items, wrapped.Proofs), nil
}

// versionCommand is in no group: it stands at the end of the help.
func versionCommand() command {
	return command{name: "version", short: "the version of wattline, and of the server where it answers", bind: noFlags(func(ctx context.Context, s *session, args []string) error {
		if err := none(args); err != nil {
			return err
		}
		fmt.Fprintln(s.stdout, "wattline", version)
		d, _, err := s.get(ctx, "/")
		if err == nil {
			fmt.Fprintln(s.stdout, "server", cleanLine(d.text("version")), "at", s.server)
		}
		return nil // a server is not needed
	})}
}
