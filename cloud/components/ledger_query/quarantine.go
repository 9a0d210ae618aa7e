package ledgerquery

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/wattline/wattline/cloud/influx/influxql"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
)

const (
	defaultLimit = 100
	maxLimit     = 1000
)

// Refusal is a batch, or any other message, that the storing hook refused, as it
// is listed. A message that was refused twice is listed twice.
type Refusal struct {
	Source string `json:"source"`
	Batch  string `json:"batch"` // the id in its envelope; "" for a source that gives none
	Topic  string `json:"topic"`
	Reason string `json:"reason"`
	// Time is when it was refused.
	Time device.Micros `json:"time"`
	// Digest is its id for replay.
	Digest string `json:"digest"`
	Bytes  int    `json:"bytes"`
	// Replayed is when it was last handed in again after this refusal; null
	// while it was not.
	Replayed *device.Micros `json:"replayed"`
}

// refusal is a Refusal and where its pieces are.
type refusal struct {
	Refusal
	instance string
	tag      string // the source as a tag, which says some characters otherwise
	pieces   int
}

// page is one answer of the list.
type page struct {
	Items []Refusal `json:"items"`
	Next  *string   `json:"next"`
}

// list answers with what is in quarantine.
func (c *Component) list(ctx context.Context, r hook.Request, w Answer) error {
	p := readParameters(r.Data, "source", "gateway", "from", "to", "limit", "cursor")
	source := p.text("source")
	if gateway := p.text("gateway"); gateway != "" {
		if source != "" && source != gateway {
			p.wrong("gateway", "means the same as source, and differs from it")
		}
		source = gateway
	}
	from, to := p.span()
	limit := p.number("limit", 1, maxLimit, defaultLimit)
	after := p.cursor("cursor")
	if err := p.err(); err != nil {
		return err
	}
	found, err := c.newest(ctx, source, from, to, after, limit+1)
	if err != nil {
		return err
	}
	more := len(found) > limit
	items := make([]Refusal, 0, len(found))
	for _, f := range found[:min(len(found), limit)] {
		items = append(items, f.Refusal)
	}
	items, cut := fit(items)
	if err := c.markReplayed(ctx, items); err != nil {
		return err
	}
	answer := page{Items: items}
	if more || cut {
		next := found[len(items)-1].position().String()
		answer.Next = &next
	}
	data, err := json.Marshal(answer)
	if err != nil {
		return fmt.Errorf("encode the list: %w", err)
	}
	w.Send(data, nil)
	return nil
}

// conditions is the WHERE of one point for each refusal.
func conditions(source, digest string, from, to device.Micros) string {
	var b strings.Builder
	b.WriteString(`"piece" = '0'`)
	if source != "" {
		name := influxql.String(source) // the tag, or beyond a number of sources a field
		b.WriteString(` AND ("source" = ` + name + ` OR "sender" = ` + name + `)`)
	}
	if digest != "" {
		b.WriteString(` AND "digest" = ` + influxql.String(digest))
	}
	if from != 0 {
		fmt.Fprintf(&b, " AND time >= %du", int64(from))
	}
	if to != 0 {
		fmt.Fprintf(&b, " AND time <= %du", int64(to))
	}
	return b.String()
}

// find gives the newest refusals.
func (c *Component) find(ctx context.Context, where string, limit int) (found []refusal, err error) {
	q := fmt.Sprintf(`SELECT "topic", "batch", "reason", "digest", "pieces", "bytes", "instance", "source" FROM %q WHERE %s ORDER BY time DESC LIMIT %d`,
		quarantined, where, limit)
	err = c.query(ctx, q, func(r row) error {
		one := refusal{
			Refusal:  Refusal{Batch: r.text("batch"), Topic: r.text("topic"), Reason: r.text("reason"), Time: r.time(), Digest: r.text("digest"), Bytes: int(r.number("bytes"))},
			instance: r.text("instance"), tag: r.text("source"), pieces: int(r.number("pieces")),
		}
		one.Source = one.tag
		if topic, err := bus.ParseData(one.Topic); err == nil {
			one.Source = topic.Source
		}
		found = append(found, one)
		return nil
	})
	return found, err
}

// newest gives at least n refusals, or all that there are, from the newest on
// and behind a position. InfluxDB gives those of one time in an order that
// changes from query to query, so that whoever stops among them needs them all.
func (c *Component) newest(ctx context.Context, source string, from, to device.Micros, after position, n int) (found []refusal, err error) {
	if after.at != 0 && (to == 0 || after.at <= to) {
		same, err := c.find(ctx, conditions(source, "", max(from, after.at), after.at), maxSame)
		if err != nil {
			return nil, err
		}
		for _, f := range same {
			if f.position().compare(after) > 0 {
				found = append(found, f)
			}
		}
		to = after.at - 1
	}
	if len(found) < n {
		older, err := c.find(ctx, conditions(source, "", from, to), n-len(found))
		if err != nil {
			return nil, err
		}
		if full := n - len(found); len(older) == full {
			last := older[full-1].Time
			older = slices.DeleteFunc(older, func(f refusal) bool { return f.Time == last })
			same, err := c.find(ctx, conditions(source, "", last, last), maxSame)
			if err != nil {
				return nil, err
			}
			older = append(older, same...)
		}
		found = append(found, older...)
	}
	slices.SortStableFunc(found, func(a, b refusal) int { return a.position().compare(b.position()) })
	return found, nil
}

// fit leaves off what would make the answer longer than a message may be.
func fit(items []Refusal) (_ []Refusal, cut bool) {
	size := 0
	for i, item := range items {
		text, err := json.Marshal(item)
		if size += len(text); i > 0 && (err != nil || size > partLimit) {
			return items[:i], true
		}
	}
	return items, false
}

// markReplayed fills in when items were handed in again.
func (c *Component) markReplayed(ctx context.Context, items []Refusal) error {
	if len(items) == 0 {
		return nil
	}
	type key struct{ source, digest string }
	newest := make(map[key]device.Micros, len(items))
	since := items[0].Time
	for _, item := range items {
		newest[key{item.Source, item.Digest}] = 0
		since = min(since, item.Time)
	}
	q := fmt.Sprintf(`SELECT "digest", "topic" FROM %q WHERE time >= %du`, replayed, int64(since))
	err := c.query(ctx, q, func(r row) error {
		topic, err := bus.ParseData(r.text("topic"))
		k := key{topic.Source, r.text("digest")}
		if last, listed := newest[k]; err == nil && listed {
			newest[k] = max(last, r.time())
		}
		return nil
	})
	for i, item := range items {
		if at := newest[key{item.Source, item.Digest}]; at >= item.Time {
			items[i].Replayed = &at
		}
	}
	return err
}

// position is a place in the list. It is what a cursor says: one run of a hook
// refuses no two payloads at one time.
type position struct {
	at       device.Micros
	instance string
}

func (r refusal) position() position { return position{r.Time, r.instance} }

// compare orders from the newest on.
func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(q.at, p.at), cmp.Compare(p.instance, q.instance))
}

func (p position) String() string {
	return strconv.FormatInt(int64(p.at), 10) + "-" + p.instance
}

// cursor reads a position; the zero one is before all.
func (p *parameters) cursor(key string) position {
	text := p.text(key)
	if text == "" {
		return position{}
	}
	left, instance, found := strings.Cut(text, "-")
	at, err := strconv.ParseInt(left, 10, 64)
	if err != nil || !found || at <= 0 || at > maxSeconds*1e6 {
		p.wrong(key, "%s is not the next of an answer", clip(text))
		return position{}
	}
	return position{device.Micros(at), instance}
}

// isDigest reports whether text is a digest as the list shows it.
func isDigest(text string) bool {
	var d contract.Digest
	return d.UnmarshalText([]byte(text)) == nil && d.String() == text
}
