package export

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/wattline/wattline/cloud/backup/form"
	"github.com/wattline/wattline/cloud/influx/influxql"
)

// Pace slows an export down; nil does not.
type Pace interface {
	// Wait waits until so many points more may be read.
	Wait(ctx context.Context, points int) error
}

// Day writes what the measurements have from one time until before another, as
// line protocol, sorted by measurement, series and time. Measurements must be in
// the order of their names; those without points are left out of the parts.
func Day(ctx context.Context, db Querier, database string, measurements []Measurement, from, to time.Time, w io.Writer, pace Pace) ([]form.Part, error) {
	var parts []form.Part
	for _, m := range measurements {
		p, err := newWriter(m, w).export(ctx, db, database, from, to, pace)
		if err != nil {
			return nil, fmt.Errorf("export %s of %s on %s: %w", m.Name, database, form.DateOf(from), err)
		}
		if p.Points > 0 {
			parts = append(parts, p)
		}
	}
	return parts, nil
}

// column is a field as one type.
type column struct {
	prefix []byte // key and equals sign, escaped
	kind   string
}

// writer turns the rows of one measurement into lines.
type writer struct {
	m       Measurement
	w       io.Writer
	columns []column
	part    form.Part
	sum     [2]uint64
	series  []byte // measurement and tags of the present series
	lines   []byte
}

func newWriter(m Measurement, w io.Writer) *writer {
	x := &writer{m: m, w: w, part: form.Part{Measurement: m.Name}}
	for _, f := range m.Fields {
		for _, kind := range f.Types {
			if kind == "integer" && slices.Contains(f.Types, "float") {
				continue // InfluxDB gives both as floats
			}
			x.columns = append(x.columns, column{append(appendKey(nil, f.Key), '='), kind})
		}
	}
	return x
}

// query selects each field as what it is, by a name that no tag has.
func (x *writer) query(from, to time.Time) string {
	text, n := []byte("SELECT "), 0
	for _, f := range x.m.Fields {
		for _, kind := range f.Types {
			if kind == "integer" && slices.Contains(f.Types, "float") {
				continue
			}
			if n > 0 {
				text = append(text, ", "...)
			}
			text = fmt.Appendf(text, "%s::%s AS f%d", influxql.Ident(f.Key), kind, n)
			n++
		}
	}
	return string(fmt.Appendf(text, " FROM %s WHERE time >= %d AND time < %d GROUP BY *", influxql.Ident(x.m.Name), from.UnixNano(), to.UnixNano()))
}

func (x *writer) export(ctx context.Context, db Querier, database string, from, to time.Time, pace Pace) (form.Part, error) {
	if len(x.columns) == 0 {
		return x.part, nil
	}
	err := db.Query(ctx, database, x.query(from, to), func(_ string, tags map[string]string, _ []string, rows [][]any) error {
		if pace != nil {
			if err := pace.Wait(ctx, len(rows)); err != nil {
				return err
			}
		}
		x.series = appendSeries(x.series[:0], x.m.Name, tags)
		x.lines = x.lines[:0]
		for _, row := range rows {
			if err := x.line(row); err != nil {
				return err
			}
		}
		_, err := x.w.Write(x.lines)
		return err
	})
	digest := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, x.sum[0]), x.sum[1])
	x.part.Digest = hex.EncodeToString(digest)
	return x.part, err
}

// line appends a point.
func (x *writer) line(row []any) error {
	if len(row) != len(x.columns)+1 {
		return fmt.Errorf("InfluxDB gave a row of %d columns, want %d", len(row), len(x.columns)+1)
	}
	at, err := whole(row[0])
	if err != nil {
		return err
	}
	begin, values := len(x.lines), 0
	x.lines = append(x.lines, x.series...)
	for i, c := range x.columns {
		if row[i+1] == nil {
			continue
		}
		separator := byte(',')
		if values == 0 {
			separator = ' '
		}
		x.lines = append(append(x.lines, separator), c.prefix...)
		if x.lines, err = appendValue(x.lines, c.kind, row[i+1]); err != nil {
			return err
		}
		values++
	}
	if values == 0 {
		x.lines = x.lines[:begin]
		return nil
	}
	x.lines = append(fmt.Appendf(append(x.lines, ' '), "%d", at), '\n')
	sum := sha256.Sum256(x.lines[begin:])
	x.sum[0] += binary.BigEndian.Uint64(sum[:8])
	x.sum[1] += binary.BigEndian.Uint64(sum[8:16])
	p := &x.part
	if p.Points == 0 || at < p.From {
		p.From = at
	}
	if p.Points == 0 || at > p.To {
		p.To = at
	}
	p.Points++
	p.Values += int64(values)
	return nil
}

func appendValue(dst []byte, kind string, value any) ([]byte, error) {
	switch v := value.(type) {
	case json.Number:
		dst = append(dst, v...)
		switch kind {
		case "integer":
			dst = append(dst, 'i')
		case "unsigned":
			dst = append(dst, 'u')
		}
		return dst, nil
	case bool:
		return fmt.Appendf(dst, "%t", v), nil
	case string:
		dst = append(dst, '"')
		for i := range len(v) {
			if v[i] == '"' || v[i] == '\\' {
				dst = append(dst, '\\')
			}
			dst = append(dst, v[i])
		}
		return append(dst, '"'), nil
	default:
		return dst, fmt.Errorf("InfluxDB gave a value that is none: %v", value)
	}
}

// appendSeries writes measurement and tags; a tag that a series lacks comes as an
// empty text.
func appendSeries(dst []byte, measurement string, tags map[string]string) []byte {
	for i := range len(measurement) {
		if c := measurement[i]; c == ',' || c == ' ' {
			dst = append(dst, '\\')
		}
		dst = append(dst, measurement[i])
	}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		if tags[key] != "" {
			dst = appendKey(append(appendKey(append(dst, ','), key), '='), tags[key])
		}
	}
	return dst
}

// appendKey writes a tag key, a tag value or a field key.
func appendKey(dst []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c == ',' || c == ' ' || c == '=' {
			dst = append(dst, '\\')
		}
		dst = append(dst, text[i])
	}
	return dst
}

func whole(value any) (int64, error) {
	n, ok := value.(json.Number)
	if !ok {
		return 0, fmt.Errorf("InfluxDB gave %v for a whole number", value)
	}
	return n.Int64()
}
