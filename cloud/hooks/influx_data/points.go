package influxdata

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/wattline/wattline/cloud/influx/line"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/hook/scan"
	"github.com/wattline/wattline/shared/senml"
)

// DefaultDatabase takes data whose topic names none.
const DefaultDatabase = "sp"

// SystemDatabase holds ledger, quarantine and audit; no data may go there.
const SystemDatabase = "wattline"

// maxText is what InfluxDB promises to keep of a string field.
const maxText = 64 << 10

var database = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

// Database checks the database level of a data topic.
func Database(name string) (string, error) {
	switch {
	case name == "":
		return DefaultDatabase, nil
	case name == SystemDatabase:
		return "", fmt.Errorf("database %q belongs to the system", name)
	case !database.MatchString(name):
		return "", fmt.Errorf("database %.80q: a lower-case letter, then up to 62 lower-case letters, digits or _", name)
	}
	return name, nil
}

// Points appends the lines of records to dst: measurement is the last part of
// the name, field value (a number or boolean, always a float) or text, tags id,
// unit, type and, where the id has them, floor, row and column.
//
// It is a pure function: neither clock, configuration nor version may change
// what a record becomes, because a batch may be stored again years later.
func Points(dst []byte, records []senml.Record) ([]byte, error) {
	for i, r := range records {
		var err error
		if dst, err = point(dst, r); err != nil {
			return nil, fmt.Errorf("record %d: %w", i, err)
		}
	}
	return dst, nil
}

func point(dst []byte, r senml.Record) ([]byte, error) {
	if !r.Absolute {
		return nil, fmt.Errorf("%q has no absolute time", r.Name)
	}
	id, measurement, err := hook.SplitName(r.Name)
	if err != nil {
		return nil, err
	}
	field, err := fieldOf(r)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", r.Name, err)
	}
	if len(r.Unit) > 64 || strings.ContainsFunc(r.Unit, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return nil, fmt.Errorf("%q: unit %.80q", r.Name, r.Unit)
	}
	var tags [6]line.Tag // sorted by key, as InfluxDB likes them
	row, column, grid := id.Grid()
	if grid {
		tags[0] = line.Tag{Key: "column", Value: strconv.Itoa(column)}
		tags[3] = line.Tag{Key: "row", Value: strconv.Itoa(row)}
	}
	if floor, ok := id.Floor(); ok {
		tags[1] = line.Tag{Key: "floor", Value: strconv.Itoa(floor)}
	}
	tags[2] = line.Tag{Key: "id", Value: id.String()}
	tags[4] = line.Tag{Key: "type", Value: id.PlaceType()}
	tags[5] = line.Tag{Key: "unit", Value: r.Unit}
	fields := [1]line.Field{field}
	return line.Append(dst, measurement, tags[:], fields[:], int64(r.Time)), nil
}

// seriesOf is the series of a record that is a point.
func seriesOf(r senml.Record) (uint64, error) {
	id, measurement, err := hook.SplitName(r.Name)
	return seriesHash(id, measurement, r.Unit), err
}

func fieldOf(r senml.Record) (line.Field, error) {
	switch r.Kind {
	case senml.Number, senml.Bool:
		return line.Float("value", r.Value), nil
	case senml.Text, senml.Data:
		if len(r.Text) > maxText {
			return line.Field{}, fmt.Errorf("text of %d bytes, at most %d fit", len(r.Text), maxText)
		}
		return line.String("text", r.Text), nil
	default:
		return line.Field{}, errors.New("no value, only a sum")
	}
}

// checkTimes holds the times that are accepted. Whether a record is accepted may
// depend on the clock; what it becomes may not.
func checkTimes(records []senml.Record, now device.Micros) error {
	for i, r := range records {
		if r.Absolute && (r.Time < scan.Earliest || r.Time > now+scan.Ahead) {
			return fmt.Errorf("record %d: %q: time %v is not between 2000-01-01 and an hour from now", i, r.Name, r.Time.Time())
		}
	}
	return nil
}
