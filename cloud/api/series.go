package api

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"strconv"
	"time"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// timeForm is RFC 3339 with as many of six decimals as are needed.
const timeForm = "2006-01-02T15:04:05.999999Z07:00"

// seriesStream writes series as {"series": [...]}, with times by RFC 3339. A
// series that is cut in two by the end of a part comes out whole.
type seriesStream struct {
	zone  *time.Location
	b     []byte
	begun bool
	open  bool // a series waits for more points
	last  contract.Series
	any   bool // the open series has a point
}

func (s *seriesStream) part(w io.Writer, part json.RawMessage) error {
	all, err := decodeSeries(part)
	if err != nil {
		return err
	}
	s.b = s.b[:0]
	s.header()
	for _, one := range all {
		if err := s.series(one); err != nil {
			return err
		}
	}
	_, err = w.Write(s.b)
	return err
}

func decodeSeries(part json.RawMessage) ([]contract.Series, error) {
	var all []contract.Series
	if err := json.Unmarshal(part, &all); err != nil {
		return nil, fmt.Errorf("%w: it has no series", errBadAnswer)
	}
	return all, nil
}

func (s *seriesStream) header() {
	if !s.begun {
		s.begun = true
		s.b = append(s.b, `{"series":[`...)
	}
}

func (s *seriesStream) series(one contract.Series) error {
	if !s.open || one.Measurement != s.last.Measurement || !maps.Equal(one.Group, s.last.Group) {
		if s.open {
			s.b = append(s.b, "]},"...)
		}
		points := one.Points
		one.Points = []contract.Point{}
		head, err := json.Marshal(one)
		if err != nil {
			return fmt.Errorf("%w: %w", errBadAnswer, err)
		}
		s.b = append(s.b, bytes.TrimSuffix(head, []byte("]}"))...)
		s.last, s.open, s.any = one, true, false
		one.Points = points
	}
	for _, p := range one.Points {
		s.point(p)
	}
	return nil
}

func (s *seriesStream) point(p contract.Point) {
	if s.any {
		s.b = append(s.b, ',')
	}
	s.any = true
	s.b = append(s.b, `{"time":"`...)
	s.b = appendTime(s.b, p.Time, s.zone)
	s.b = append(s.b, `","value":`...)
	s.b = appendValue(s.b, p.Value)
	if p.ID != "" {
		id, err := json.Marshal(p.ID)
		if err == nil { // a string always marshals
			s.b = append(append(s.b, `,"id":`...), id...)
		}
	}
	s.b = append(s.b, '}')
}

func (s *seriesStream) end(w io.Writer) error {
	s.b = s.b[:0]
	s.header()
	if s.open {
		s.b = append(s.b, "]}"...)
	}
	s.b = append(s.b, "]}"...)
	_, err := w.Write(s.b)
	return err
}

func appendTime(b []byte, m device.Micros, zone *time.Location) []byte {
	return m.Time().In(zone).AppendFormat(b, timeForm)
}

// appendValue writes a number as encoding/json does; null for none.
func appendValue(b []byte, v *float64) []byte {
	if v == nil || math.IsNaN(*v) || math.IsInf(*v, 0) {
		return append(b, "null"...)
	}
	if size := math.Abs(*v); size != 0 && (size < 1e-6 || size >= 1e21) {
		return strconv.AppendFloat(b, *v, 'e', -1, 64)
	}
	return strconv.AppendFloat(b, *v, 'f', -1, 64)
}

// csvStream writes series as lines (RFC 4180), always with the same columns.
type csvStream struct {
	zone  *time.Location
	begun bool
}

var csvHeader = []string{"time", "measurement", "unit", "id", "type", "floor", "row", "column", "value"}

func (s *csvStream) lines(w io.Writer, series []contract.Series) error {
	var b bytes.Buffer
	out := csv.NewWriter(&b)
	out.UseCRLF = true
	if !s.begun {
		s.begun = true
		_ = out.Write(csvHeader) // to memory
	}
	var value, at []byte
	for _, one := range series {
		line := []string{"", one.Measurement, one.Unit, one.Group["id"], one.Group["type"], one.Group["floor"], one.Group["row"], one.Group["column"], ""}
		for _, p := range one.Points {
			at = appendTime(at[:0], p.Time, s.zone)
			line[0], line[8] = string(at), ""
			if p.Value != nil {
				value = appendValue(value[:0], p.Value)
				line[8] = string(value)
			}
			if p.ID != "" {
				line[3] = p.ID
			}
			_ = out.Write(line)
		}
	}
	out.Flush()
	_, err := w.Write(b.Bytes())
	return err
}

func (s *csvStream) part(w io.Writer, part json.RawMessage) error {
	all, err := decodeSeries(part)
	if err != nil {
		return err
	}
	return s.lines(w, all)
}

func (s *csvStream) end(w io.Writer) error {
	if s.begun {
		return nil
	}
	return s.lines(w, nil)
}
