package webhook

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wattline/wattline/cloud/influx/influxql"
	"github.com/wattline/wattline/shared/device"
)

// Sizes of what is read at once: windows of time that hold about four requests,
// half to twice that, and never much more.
const (
	perWindow   = 4
	windowBytes = 16 << 20
	firstWindow = device.Micros(10_000_000)
	mostWindow  = device.Micros(24 * 3600 * 1_000_000)
)

// window reads InfluxDB piece by piece.
type window struct {
	store    Store
	receiver Receiver
	width    device.Micros
	odd      func() // counts points that no record can name
}

var errCrowded = errors.New("more than fits")

// next reads what a plan says is next: its records, and the plan behind them.
func (w *window) next(ctx context.Context, p plan) (database string, records []record, after plan, err error) {
	span := p.Spans[0]
	from := max(span.From, p.From)
	database = w.receiver.Databases[p.Databases]
	target := perWindow * w.receiver.MaxReadings
	for {
		until := min(from+w.width, span.To+1)
		var whole bool
		records, whole, err = w.read(ctx, database, from, until, p.After, 2*target)
		if errors.Is(err, errCrowded) {
			w.width = max(1, w.width/4)
			continue
		}
		if err != nil {
			return database, nil, p, err
		}
		if !whole { // of one time, the first names
			p.From, p.After = from, records[len(records)-1].key()
			return database, records, p, nil
		}
		if until == from+w.width { // otherwise it says nothing of the width
			w.widen(len(records), target)
		}
		return database, records, p.passed(until, len(w.receiver.Databases)), nil
	}
}

func (w *window) widen(got, target int) {
	switch {
	case got < target/4:
		w.width *= 4
	case got < target:
		w.width = w.width * device.Micros(target) / device.Micros(max(got, 1))
	case got > target:
		w.width = w.width * device.Micros(target) / device.Micros(got)
	}
	w.width = min(max(w.width, 1), mostWindow)
}

// key orders records of one time, as inOrder does: no name has a space.
func (r *record) key() string { return r.name + " " + r.unit }

// read gives the records of [from, until), in order. Of more than most of them it
// gives errCrowded, unless they are all of one microsecond: then it gives the
// first most, and whole is false. Of from itself only what comes behind after.
func (w *window) read(ctx context.Context, database string, from, until device.Micros, after string, most int) (records []record, whole bool, err error) {
	one, bytes, last := until == from+1, 0, "" // last: nothing behind it is kept
	whole = true
	err = w.store.Query(ctx, database, w.question(from, until), func(measurement string, tags map[string]string, columns []string, rows [][]any) error {
		id := tags["id"]
		if !nameable(id, measurement) {
			w.odd()
			return nil
		}
		at, value, text := slices.Index(columns, "time"), slices.Index(columns, "value"), slices.Index(columns, "text")
		name, unit := id+"/"+measurement, tags["unit"]
		for _, row := range rows {
			r, ok := recordOf(row, at, value, text)
			r.name, r.unit = name, unit
			if !ok || after != "" && r.at == from && r.key() <= after || last != "" && r.key() > last {
				continue
			}
			records, bytes = append(records, r), bytes+r.size()
		}
		if len(records) <= most && bytes <= windowBytes {
			return nil
		}
		if !one {
			return errCrowded
		}
		records, whole = first(records, most), false
		last, bytes = records[len(records)-1].key(), sizeOf(records)
		return nil
	})
	if missing, ok := errors.AsType[interface {
		error
		DatabaseMissing() bool
	}](err); ok && missing.DatabaseMissing() {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, err
	}
	return inOrder(records), whole, nil
}

// first keeps half of most, at least one, by their order: the rest of a time that has
// too many is read again.
func first(records []record, most int) []record {
	slices.SortFunc(records, func(a, b record) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.unit, b.unit)) })
	n, bytes := 0, 0
	for n < len(records) && n < max(1, most/2) && (n == 0 || bytes < windowBytes/2) {
		bytes += records[n].size()
		n++
	}
	return records[:n]
}

func sizeOf(records []record) (bytes int) {
	for i := range records {
		bytes += records[i].size()
	}
	return bytes
}

func (w *window) question(from, until device.Micros) string {
	sources := "/./"
	if len(w.receiver.Measurements) > 0 {
		names := make([]string, len(w.receiver.Measurements))
		for i, m := range w.receiver.Measurements {
			names[i] = influxql.Ident(m)
		}
		sources = strings.Join(names, ",")
	}
	where := ""
	if len(w.receiver.Devices) > 0 {
		ids := make([]string, len(w.receiver.Devices))
		for i, d := range w.receiver.Devices {
			ids[i] = `"id" = ` + influxql.String(d)
		}
		where = " AND (" + strings.Join(ids, " OR ") + ")"
	}
	return fmt.Sprintf(`SELECT "value","text" FROM %s WHERE time >= %du AND time < %du%s GROUP BY "id","unit"`, sources, int64(from), int64(until), where)
}

// recordOf reads a row; ok is false for one without value.
func recordOf(row []any, at, value, text int) (r record, ok bool) {
	column := func(i int) any {
		if i < 0 || i >= len(row) {
			return nil
		}
		return row[i]
	}
	n, _ := column(at).(json.Number)
	micros, err := n.Int64()
	if err != nil {
		return r, false
	}
	r.at = device.Micros(micros)
	if v, isNumber := column(value).(json.Number); isNumber {
		r.value = v.String()
		return r, true
	}
	r.text, ok = column(text).(string)
	return r, ok
}

// nameable reports whether a record can name a point of these: others than the
// storing hook may write to a database too.
func nameable(id, measurement string) bool {
	_, err := device.Parse(id)
	return err == nil && validMeasurement.MatchString(measurement)
}

// queryTime bounds one question; InfluxDB's own limit between rows is another.
const queryTime = 5 * time.Minute
