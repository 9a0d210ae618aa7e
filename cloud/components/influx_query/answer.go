package influxquery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/wattline/wattline/cloud/influx/influxql"
	"github.com/wattline/wattline/shared/device"
)

// unitOfMeasurement has the units of the measurements that are Wattline's own.
var unitOfMeasurement = map[string]string{
	device.Power: "W", device.Voltage: "V", device.Current: "A", device.Energy: "Wh", device.Status: "/",
}

// row is one row of InfluxDB's answer.
type row struct {
	at             device.Micros
	value          any // json.Number, string, bool or nil
	text, id, unit string
}

// writer gives an answer its form. Rows of one group come one after the other.
type writer interface {
	row(group map[string]string, r row) error
	end() error
}

// answer asks InfluxDB and passes on what it says.
func (c *Component) answer(ctx context.Context, q Query, floor int, known bool, w Answer) error {
	unit, err := c.unit(ctx, q)
	if err != nil {
		return err
	}
	out := &parts{ctx: ctx, to: w}
	form := newForm(q, unit, device.MicrosOf(c.options.Now()), out)
	for _, s := range q.Statements(floor, known) {
		err := c.query(ctx, q, s.Text, func(_ string, tags map[string]string, columns []string, rows [][]any) error {
			return pass(form, q, s, tags, columns, rows)
		})
		if err != nil {
			return err
		}
	}
	return form.end()
}

func newForm(q Query, unit string, now device.Micros, out *parts) writer {
	var form writer
	if q.Format == Series {
		form = &series{query: q, unit: unit, parts: out, until: now}
		if q.To != nil {
			form = &series{query: q, unit: unit, parts: out, until: *q.To}
		}
	} else {
		form = newPack(q, unit, out)
	}
	if q.Operation == "integral" {
		return newSums(q, form)
	}
	return form
}

// pass hands the rows of one chunk on.
func pass(form writer, q Query, s Statement, tags map[string]string, columns []string, rows [][]any) error {
	group := make(map[string]string, len(q.GroupBy))
	for _, tag := range q.GroupBy {
		if v := tags[tag]; v != "" {
			group[tag] = v
		}
	}
	if s.Floor != "" {
		group["floor"] = s.Floor
	}
	if want := 2 + len(s.Extras); len(columns) != want {
		return fmt.Errorf("%d columns, want %d", len(columns), want)
	}
	for _, values := range rows {
		if len(values) != len(columns) {
			return fmt.Errorf("%d values for %d columns", len(values), len(columns))
		}
		r := row{value: values[1]}
		var err error
		if r.at, err = micros(values[0]); err != nil {
			return err
		}
		for i, extra := range s.Extras {
			text, _ := values[2+i].(string) // null where a point has no such tag
			switch extra {
			case "text":
				r.text = text
			case "id":
				r.id = text
			case "unit":
				r.unit = text
			}
		}
		if err := form.row(group, r); err != nil {
			return err
		}
	}
	return nil
}

func micros(v any) (device.Micros, error) {
	switch n := v.(type) {
	case json.Number:
		at, err := n.Int64()
		return device.Micros(at), err
	case int64:
		return device.Micros(n), nil
	default:
		return 0, fmt.Errorf("a time of type %T", v)
	}
}

// verdict is what InfluxDB says of a statement that it will not run.
type verdict interface {
	error
	DatabaseMissing() bool
}

// slow is an error that may say that it is about the time limit of the Store.
type slow interface {
	error
	TimedOut() bool
}

// query asks InfluxDB once. A database that is not there has no points.
func (c *Component) query(ctx context.Context, q Query, text string, each func(string, map[string]string, []string, [][]any) error) error {
	var broken error // on this side
	err := c.options.Store.Query(ctx, q.Database, text, func(name string, tags map[string]string, columns []string, rows [][]any) error {
		broken = each(name, tags, columns, rows)
		return broken
	})
	if broken != nil {
		return broken
	}
	if v, ok := errors.AsType[verdict](err); ok {
		c.heard(ctx)
		if v.DatabaseMissing() {
			return nil
		}
		c.log.ErrorContext(ctx, "query refused by InfluxDB", slog.String("component", Name), slog.String("topic", q.Database+"/"+q.Measurement), slog.Any("err", err))
		return ErrRefused // the cause is for the log
	}
	switch {
	case err == nil:
		c.heard(ctx)
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("the query took too long: %w", context.Cause(ctx))
	}
	if s, ok := errors.AsType[slow](err); ok && s.TimedOut() {
		c.log.WarnContext(ctx, "query given up", slog.String("component", Name), slog.String("topic", q.Database+"/"+q.Measurement), slog.Any("err", err))
		return ErrSlow
	}
	if !c.away.Swap(true) {
		c.log.WarnContext(ctx, "InfluxDB away", slog.String("component", Name), slog.Any("err", err))
	}
	return ErrStore // the cause is for the log
}

func (c *Component) heard(ctx context.Context) {
	if c.away.Swap(false) {
		c.log.InfoContext(ctx, "InfluxDB back", slog.String("component", Name))
	}
}

// unit is the unit of the answer's values where all have one: the measurement's,
// unless the operation changes it. That of a measurement that is not ours is
// looked up when no row will tell it; points of more than one unit have none.
func (c *Component) unit(ctx context.Context, q Query) (string, error) {
	unit, ours := unitOfMeasurement[q.Measurement]
	switch {
	case q.Operation == "count":
		return "", nil
	case q.Operation == "integral" && q.Measurement == device.Power && q.Unit.Seconds() == 1:
		return "J", nil
	case q.Operation == "integral" && q.Measurement == device.Power && q.Unit.Hours() == 1:
		return "Wh", nil
	case q.Operation == "integral":
		return "", nil
	case ours || q.points():
		return unit, nil
	}
	var units []string
	err := c.query(ctx, q, `SHOW TAG VALUES FROM `+influxql.Ident(q.Measurement)+` WITH KEY = "unit" LIMIT 2`,
		func(_ string, _ map[string]string, _ []string, rows [][]any) error {
			for _, values := range rows {
				if len(values) == 2 && len(units) < 2 {
					text, _ := values[1].(string)
					units = append(units, text)
				}
			}
			return nil
		})
	if len(units) != 1 {
		return "", err
	}
	return units[0], err
}
