package ledgerquery

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/wattline/wattline/cloud/influx/influxql"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
)

const (
	switched = "audit" // the measurement in which sp_command tells what it does
	// resultsWithin is how long after its intent the result of a switch is looked
	// for: the most time that a command may have, and some for its account.
	resultsWithin = contract.MaxAllowed + 5*time.Minute
	maxResults    = 50_000
	// atOnce is how many intents of one time there may be: each sp_command gives
	// its own different ones.
	atOnce = 64
)

// act is a switch of one place: its intent, and how it ended.
type act struct {
	contract.Audited

	command string
}

// key tells the accounts of one switch from others: a command may be about many
// places.
func (a act) key() string { return a.command + " " + a.Object }

// position is a place in the list. Accounts of one sp_command have no time
// twice; those of two may, and then the place tells.
func (a act) position() position { return position{a.At, a.key()} }

// switches answers with who switched what, newest first: {"items": [audited...],
// "next": cursor or ""}.
func (c *Component) switches(ctx context.Context, r hook.Request, w Answer) error {
	p := readParameters(r.Data, "who", "what", "object", "result", "from", "to", "limit", "cursor")
	from, to := p.time("from"), p.time("to")
	limit := p.number("limit", 1, maxLimit, defaultLimit)
	after := p.cursor("cursor")
	if err := p.err(); err != nil {
		return err
	}
	shared := affix(`"who"`, p.text("who")) + affix(`"id"`, p.text("object"))
	var answer struct {
		Items []contract.Audited `json:"items"`
		Next  string             `json:"next"`
	}
	answer.Items = []contract.Audited{}
	intents, more, err := c.intents(ctx, shared, from, to, after, limit)
	if err != nil {
		return err
	}
	if err := c.results(ctx, shared, intents); err != nil {
		return err
	}
	for _, a := range intents {
		if fits(a.What, p.text("what")) && fits(a.Result, p.text("result")) {
			answer.Items = append(answer.Items, a.Audited)
		}
	}
	if more {
		answer.Next = intents[len(intents)-1].position().String()
	}
	data, err := json.Marshal(answer)
	if err != nil {
		return fmt.Errorf("encode the switches: %w", err)
	}
	w.Send(data, nil)
	return nil
}

// fits compares a text with a filter: all of it, or its beginning before a *.
func fits(text, filter string) bool {
	beginning, open := strings.CutSuffix(filter, "*")
	return filter == "" || text == filter || open && strings.HasPrefix(text, beginning)
}

// affix is fits in InfluxQL, with AND before it.
func affix(column, filter string) string {
	beginning, open := strings.CutSuffix(filter, "*")
	switch {
	case filter == "":
		return ""
	case open:
		return " AND " + column + " =~ /^" + strings.ReplaceAll(regexp.QuoteMeta(beginning), "/", `\/`) + "/"
	}
	return " AND " + column + " = " + influxql.String(filter)
}

// intents gives the newest limit intents behind a position, and whether there
// are more. InfluxDB gives those of one time in any order, so all of a time are
// read before they are cut.
func (c *Component) intents(ctx context.Context, where string, from, to device.Micros, after position, limit int) (found []act, more bool, err error) {
	if from != 0 {
		where += fmt.Sprintf(" AND time >= %du", int64(from))
	}
	if to != 0 {
		where += fmt.Sprintf(" AND time < %du", int64(to))
	}
	if after.at != 0 {
		where += fmt.Sprintf(" AND time <= %du", int64(after.at))
	}
	read := func(where string, most int) (page []act, err error) {
		q := fmt.Sprintf(`SELECT "command", "who", "reason", "on", "id" FROM %q WHERE "phase" = 'intent'%s ORDER BY time DESC LIMIT %d`, switched, where, most)
		err = c.query(ctx, q, func(r row) error {
			a := act{command: r.text("command"), Audited: contract.Audited{At: r.time(), Who: r.text("who"), What: "switch off", Object: r.text("id"), Reason: r.text("reason")}}
			if on, _ := r["on"].(bool); on {
				a.What = "switch on"
			}
			page = append(page, a)
			return nil
		})
		return page, err
	}
	if found, err = read(where, limit+1+atOnce); err != nil {
		return nil, false, err
	}
	slices.SortStableFunc(found, func(a, b act) int { return a.position().compare(b.position()) })
	if after.at != 0 {
		found = slices.DeleteFunc(found, func(a act) bool { return a.position().compare(after) <= 0 })
	}
	if len(found) > limit {
		return found[:limit], true, nil
	}
	return found, false, nil
}

// results fills in how the switches ended. One without a result has none yet, or
// its account was lost with the process that was to write it.
func (c *Component) results(ctx context.Context, where string, intents []act) error {
	if len(intents) == 0 {
		return nil
	}
	open := make(map[string]*act, len(intents))
	for i := range intents {
		open[intents[i].key()] = &intents[i]
		intents[i].Result, intents[i].Detail = "unknown", "command "+intents[i].command
	}
	newest, oldest := intents[0].At, intents[len(intents)-1].At
	q := fmt.Sprintf(`SELECT "command", "outcome", "detail", "id" FROM %q WHERE "phase" = 'result'%s AND time >= %du AND time <= %du LIMIT %d`,
		switched, where, int64(oldest), int64(newest.Add(resultsWithin)), maxResults)
	return c.query(ctx, q, func(r row) error {
		a := open[act{command: r.text("command"), Audited: contract.Audited{Object: r.text("id")}}.key()]
		if a == nil {
			return nil
		}
		outcome := contract.Outcome(r.text("outcome"))
		a.Result = resultOf(outcome)
		a.Detail = strings.Join(slices.DeleteFunc([]string{string(outcome), r.text("detail"), "command " + a.command}, func(s string) bool { return s == "" }), "; ")
		return nil
	})
}

// resultOf is an outcome in the words of the audit log.
func resultOf(o contract.Outcome) string {
	switch o {
	case contract.Confirmed:
		return "done"
	case contract.Refused:
		return "refused"
	case contract.Unknown:
		return "unknown"
	default:
		return "failed"
	}
}
