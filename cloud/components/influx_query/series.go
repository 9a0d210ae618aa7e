package influxquery

import (
	"encoding/json"
	"maps"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// series writes an answer as a JSON array of contract.Series. One that does not
// fit into a part goes on in the next with the same measurement and group.
type series struct {
	query Query
	unit  string
	parts *parts
	// until is the end of what is asked for: the time of a value that is of no
	// point and has no beginning.
	until device.Micros

	group map[string]string
	open  bool   // a series of this part is open
	begun bool   // any series was
	room  []byte // of one point
}

// tail is what closes an open series and the array.
const tail = "]}]"

func (s *series) row(group map[string]string, r row) error {
	if r.at == 0 && s.query.From == nil && !s.query.windowed() && !s.query.points() {
		r.at = s.until // InfluxQL says 1970
	}
	b := r.at.AppendSeconds(append(s.room[:0], `{"t":`...))
	b, ok := appendNumber(append(b, `,"v":`...), r.value)
	switch {
	case ok:
	case r.value == nil && s.query.windowed():
		b = append(b, "null"...)
	default:
		return nil // a text: a point of a series is a number
	}
	if r.id != "" {
		b = appendString(append(b, `,"id":`...), r.id)
	}
	b = append(b, '}')
	s.room = b
	if s.open && !maps.Equal(s.group, group) {
		s.parts.buf = append(s.parts.buf, "]}"...)
		s.open = false
	}
	if len(s.parts.buf)+len(b)+len(",")+len(tail) > partLimit {
		if err := s.close(); err != nil {
			return err
		}
	}
	if !s.open {
		return s.start(group, r, b)
	}
	s.parts.buf = append(append(s.parts.buf, ','), b...)
	return nil
}

// start opens a series with its first point.
func (s *series) start(group map[string]string, r row, point []byte) error {
	head := contract.Series{Measurement: s.query.Measurement, Unit: s.unit, Group: group, Points: []contract.Point{}}
	if head.Unit == "" {
		head.Unit = r.unit
	}
	b, err := json.Marshal(head)
	if err != nil {
		return err
	}
	b = append(b[:len(b)-len("]}")], point...) // the points come last
	if len(s.parts.buf)+len(b)+len(",")+len(tail) > partLimit {
		if err := s.close(); err != nil {
			return err
		}
	}
	separator := byte(',')
	if len(s.parts.buf) == 0 {
		separator = '['
	}
	s.parts.buf = append(append(s.parts.buf, separator), b...)
	s.group, s.open, s.begun = group, true, true
	return nil
}

// close hands over the part at hand, if it holds anything.
func (s *series) close() error {
	if len(s.parts.buf) == 0 {
		return nil
	}
	if s.open {
		s.parts.buf = append(s.parts.buf, tail...)
	} else {
		s.parts.buf = append(s.parts.buf, ']')
	}
	s.open = false
	return s.parts.hand()
}

func (s *series) end() error {
	if !s.begun {
		s.parts.buf = append(s.parts.buf, "[]"...)
		return s.parts.hand()
	}
	return s.close()
}
