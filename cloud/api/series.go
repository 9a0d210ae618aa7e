package api

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// seriesStream writes series as {"series": [...]}, with times by RFC 3339, and
// "warnings" behind them if there are any. A series that is cut in two by the end
// of a part comes out whole.
type seriesStream struct {
	zone     *time.Location
	warnings []string
	b        []byte
	seriesState
}

type seriesState struct {
	begun bool
	open  bool // a series waits for more points
	any   bool // it has a point
	last  contract.Series
}

func (s *seriesStream) part(w io.Writer, part json.RawMessage) error {
	s.b = s.b[:0]
	if !s.begun {
		s.begun = true
		s.b = append(s.b, `{"series":[`...)
	}
	before, length := s.seriesState, len(s.b)
	err := walk(part, s.head, s.point, func() { s.seriesState, s.b = before, s.b[:length] })
	if err != nil {
		return err
	}
	_, err = w.Write(s.b)
	return err
}

func (s *seriesStream) head(one contract.Series) error {
	if s.open && one.Measurement == s.last.Measurement && maps.Equal(one.Group, s.last.Group) {
		return nil
	}
	if s.open {
		s.b = append(s.b, "]},"...)
	}
	one.Points = []contract.Point{}
	text, err := json.Marshal(one)
	if err != nil {
		return fmt.Errorf("%w: %w", errBadAnswer, err)
	}
	s.b = append(s.b, text[:len(text)-len("]}")]...) // the points come last
	s.last, s.open, s.any = one, true, false
	return nil
}

func (s *seriesStream) point(p rawPoint) {
	if s.any {
		s.b = append(s.b, ',')
	}
	s.any = true
	s.b = append(s.b, `{"time":"`...)
	s.b = appendTime(s.b, p.at, s.zone)
	s.b = append(append(s.b, `","value":`...), p.value...)
	if len(p.id) > 0 {
		s.b = append(append(s.b, `,"id":`...), p.id...)
	}
	s.b = append(s.b, '}')
}

func (s *seriesStream) end(w io.Writer) error {
	closing := "]"
	if s.open {
		closing = "]}]"
	}
	if !s.begun {
		closing = `{"series":[]`
	}
	if len(s.warnings) > 0 {
		text, err := json.Marshal(s.warnings)
		if err != nil {
			return err
		}
		closing += `,"warnings":` + string(text)
	}
	_, err := io.WriteString(w, closing+"}\n")
	return err
}

// appendTime writes RFC 3339 with as many of six decimals as are needed.
func appendTime(b []byte, m device.Micros, zone *time.Location) []byte {
	return m.Time().In(zone).AppendFormat(b, time.RFC3339Nano)
}

// csvStream writes series as lines (RFC 4180), always with the same columns.
type csvStream struct {
	zone *time.Location
	b    []byte
	csvState
}

type csvState struct {
	begun                bool
	middle, id, location []byte // the columns that the points of a series share
}

const csvHeader = "time,measurement,unit,id,type,floor,row,column,value\r\n"

func (s *csvStream) part(w io.Writer, part json.RawMessage) error {
	s.b = s.b[:0]
	if !s.begun {
		s.begun = true
		s.b = append(s.b, csvHeader...)
	}
	before, length := s.csvState, len(s.b)
	err := walk(part, s.head, s.point, func() { s.csvState, s.b = before, s.b[:length] })
	if err != nil {
		return err
	}
	_, err = w.Write(s.b)
	return err
}

func (s *csvStream) head(one contract.Series) error {
	s.middle = appendCell(appendCell(nil, one.Measurement), one.Unit)
	s.id = appendCell(nil, one.Group["id"])
	s.location = nil
	for _, name := range []string{"type", "floor", "row", "column"} {
		s.location = appendCell(s.location, one.Group[name])
	}
	return nil
}

func (s *csvStream) point(p rawPoint) {
	s.b = append(appendTime(s.b, p.at, s.zone), ',')
	s.b = append(s.b, s.middle...)
	var id string
	if len(p.id) > 0 && json.Unmarshal(p.id, &id) == nil {
		s.b = appendCell(s.b, id)
	} else {
		s.b = append(s.b, s.id...)
	}
	s.b = append(s.b, s.location...)
	if string(p.value) != "null" {
		s.b = append(s.b, p.value...)
	}
	s.b = append(s.b, "\r\n"...)
}

// appendCell writes a cell and the comma behind it.
func appendCell(b []byte, text string) []byte {
	if !strings.ContainsAny(text, ",\"\r\n") {
		return append(append(b, text...), ',')
	}
	b = append(b, '"')
	b = append(b, strings.ReplaceAll(text, `"`, `""`)...)
	return append(b, `",`...)
}

func (s *csvStream) end(w io.Writer) error {
	if s.begun {
		return nil
	}
	_, err := io.WriteString(w, csvHeader)
	return err
}
