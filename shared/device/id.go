package device

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrID is the class of every error about a malformed identifier.
var ErrID = errors.New("malformed device id")

// maxIDLength bounds what Parse looks at; no real identifier comes near it.
const maxIDLength = 64

// ID is the well-defined identifier of what is measured at a place:
//
//	<kind>_[f<floor>.]<place type><number>                e.g. sp_f2.g3, sp_f-1.p0
//	<kind>_[f<floor>.]<place type>.r<row>.c<column>       e.g. sp_w.r1.c1
//
// Kind is the type of device (sp is a smart plug) in lower-case letters, digits
// and inner hyphens; the place type is lower-case letters (w workplace, g group
// or meeting room, p printer; others need no change here). Numbers have no
// leading zeros, rows and columns count from 0. An id without floor is on the
// site's default floor.
//
// ID is comparable and can be a map key. The zero ID is no identifier; every
// other value came from [Parse] and formats to the text it was parsed from.
type ID struct {
	kind     string
	place    string
	floor    int
	hasFloor bool
	grid     bool // row and column instead of a number
	a, b     int  // number, or row and column
}

// Parse reads an identifier. The error wraps [ErrID] and says what is wrong.
func Parse(s string) (ID, error) {
	id, reason := parse(s)
	if reason != "" {
		if len(s) > maxIDLength {
			s = s[:maxIDLength] + "..."
		}
		return ID{}, fmt.Errorf("%w: %q: %s", ErrID, s, reason)
	}
	return id, nil
}

func parse(s string) (id ID, reason string) {
	if len(s) > maxIDLength {
		return ID{}, "longer than 64 characters"
	}
	kind, rest, found := strings.Cut(s, "_")
	if !found {
		return ID{}, "no \"_\" between device type and place"
	}
	if !validKind(kind) {
		return ID{}, "device type must be lower-case letters, digits or inner hyphens, starting with a letter"
	}
	id.kind = kind
	if text, tail, ok := floorOf(rest); ok {
		if id.floor, ok = number(text, true); !ok {
			return ID{}, "floor must be a whole number without leading zeros"
		}
		id.hasFloor, rest = true, tail
	}
	letters := len(rest) - len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyz"))
	if letters == 0 {
		return ID{}, "place type must be lower-case letters"
	}
	id.place, rest = rest[:letters], rest[letters:]
	return id.parsePosition(rest)
}

// floorOf splits "f2.g3" into "2" and "g3". "f2" alone is place type f, number 2.
func floorOf(s string) (floor, rest string, ok bool) {
	head, rest, found := strings.Cut(s, ".")
	if !found || len(head) < 2 || head[0] != 'f' || (head[1] != '-' && !isDigit(head[1])) {
		return "", "", false
	}
	return head[1:], rest, true
}

func (id ID) parsePosition(s string) (_ ID, reason string) {
	var ok bool
	if !strings.HasPrefix(s, ".") {
		if id.a, ok = number(s, false); !ok {
			return ID{}, "after the place type comes a number without leading zeros, or .r<row>.c<column>"
		}
		return id, ""
	}
	row, column, found := strings.Cut(s[1:], ".")
	if !found || !strings.HasPrefix(row, "r") || !strings.HasPrefix(column, "c") {
		return ID{}, "row and column are written .r<row>.c<column>"
	}
	if id.a, ok = number(row[1:], false); !ok {
		return ID{}, "row must be a number without leading zeros"
	}
	if id.b, ok = number(column[1:], false); !ok {
		return ID{}, "column must be a number without leading zeros"
	}
	id.grid = true
	return id, ""
}

// number reads a decimal below a million, the only spelling of its value.
func number(s string, negative bool) (int, bool) {
	digits := s
	if negative {
		digits = strings.TrimPrefix(s, "-")
	}
	if len(digits) == 0 || len(digits) > 6 || (digits[0] == '0' && (len(digits) > 1 || s[0] == '-')) {
		return 0, false
	}
	for i := range len(digits) {
		if !isDigit(digits[i]) {
			return 0, false
		}
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

func validKind(s string) bool {
	if s == "" || s[0] < 'a' || s[0] > 'z' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && !isDigit(c) && c != '-' {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// String gives the text that the ID was parsed from; "" for the zero ID.
func (id ID) String() string {
	if id.IsZero() {
		return ""
	}
	return string(id.AppendTo(make([]byte, 0, 24)))
}

// AppendTo appends the text of the id to b.
func (id ID) AppendTo(b []byte) []byte {
	b = append(append(b, id.kind...), '_')
	if id.hasFloor {
		b = append(strconv.AppendInt(append(b, 'f'), int64(id.floor), 10), '.')
	}
	b = append(b, id.place...)
	if id.grid {
		b = strconv.AppendInt(append(b, ".r"...), int64(id.a), 10)
		b = append(b, ".c"...)
		return strconv.AppendInt(b, int64(id.b), 10)
	}
	return strconv.AppendInt(b, int64(id.a), 10)
}

// IsZero reports whether the id is the zero ID, which names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// Kind is the device type, "sp" for a smart plug.
func (id ID) Kind() string { return id.kind }

// PlaceType is the type of place, such as "w", "g" or "p".
func (id ID) PlaceType() string { return id.place }

// Floor is the floor in the id; ok is false when the id names none, which means
// the site's default floor.
func (id ID) Floor() (floor int, ok bool) { return id.floor, id.hasFloor }

// Grid is the row and column; ok is false for a place with a number.
func (id ID) Grid() (row, column int, ok bool) {
	if !id.grid {
		return 0, 0, false
	}
	return id.a, id.b, true
}

// On is the id of the same place with its floor spelled out: an id without
// floor gets the given one, an id with floor stays as it is. Two spellings of a
// place are equal after On with the site's default floor.
func (id ID) On(defaultFloor int) ID {
	if !id.hasFloor && !id.IsZero() {
		id.floor, id.hasFloor = defaultFloor, true
	}
	return id
}

// Spellings gives the ids that name the same place when defaultFloor is the
// site's: the id itself first, then its other spelling if there is one.
func (id ID) Spellings(defaultFloor int) []ID {
	other := id
	switch {
	case id.IsZero() || id.hasFloor && id.floor != defaultFloor:
		return []ID{id}
	case id.hasFloor:
		other.floor, other.hasFloor = 0, false
	default:
		other = id.On(defaultFloor)
	}
	return []ID{id, other}
}

// Compare orders ids as a person would list them: by kind, floor (none first),
// place type, then number, or row and column, as numbers.
func Compare(x, y ID) int {
	floor := func(id ID) int {
		if !id.hasFloor {
			return -1 << 31
		}
		return id.floor
	}
	grid := func(id ID) int {
		if id.grid {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(x.kind, y.kind),
		cmp.Compare(floor(x), floor(y)),
		cmp.Compare(x.place, y.place),
		cmp.Compare(grid(x), grid(y)),
		cmp.Compare(x.a, y.a),
		cmp.Compare(x.b, y.b),
	)
}

// MarshalText gives the id's text; it makes ids work as JSON and YAML values
// and JSON keys.
func (id ID) MarshalText() ([]byte, error) { return id.AppendTo(nil), nil }

// UnmarshalText is [Parse].
func (id *ID) UnmarshalText(text []byte) (err error) {
	*id, err = Parse(string(text))
	return err
}
