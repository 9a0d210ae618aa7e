package influxquery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/device"
)

// ErrMistakes is the class of every error of [Parse]: asked the same way again,
// the answer will be the same.
var ErrMistakes = errors.New("the query has mistakes")

// Limits of what can be asked.
const (
	maxWindows  = 100_000 // of one series
	maxListed   = 1_000   // values of one filter
	maxPicked   = 10_000  // n of top, bottom and sample
	maxLimit    = 10_000_000
	maxText     = 64 << 10 // bytes of one parameter
	maxMistakes = 20       // told at once
	shown       = 40       // bytes of a wrong value that are repeated
)

// ledgerDatabase is the system's own database, which queries never reach.
const ledgerDatabase = "wattline"

var (
	databaseForm    = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
	measurementForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9\-:._]{0,254}$`)
)

// keys are the parameters, in the order in which mistakes are told.
var keys = []string{
	"operation", "n", "unit", "id", "type", "floor", "row", "column", "from", "to",
	"every", "tz", "fill", "group_by", "limit", "order", "format",
}

// mistakes is the error of [Parse]: everything that is wrong, by parameter.
type mistakes []string

func (m mistakes) Error() string {
	if more := len(m) - maxMistakes; more > 0 {
		return strings.Join(m[:maxMistakes], "; ") + fmt.Sprintf("; and %d more", more)
	}
	return strings.Join(m, "; ")
}

func (mistakes) Is(target error) bool { return target == ErrMistakes }

// Parse reads a query: subpath is <database>/<measurement>, data a JSON object
// of the parameters, all of them texts (numbers are taken too, null counts as
// not given). now is the upper bound of windows that name none.
//
// The error wraps [ErrMistakes] and names every mistake at once, by parameter.
func Parse(subpath string, data json.RawMessage, now device.Micros) (Query, error) {
	p := parser{q: Query{Unit: time.Second, Format: SenML}, values: make(map[string]string)}
	p.topic(subpath)
	p.read(data)
	p.operation()
	p.filters()
	p.times()
	p.windows(now)
	p.groupBy()
	p.shape()
	p.unknown()
	if len(p.mistakes) > 0 {
		return Query{}, p.mistakes
	}
	return p.q, nil
}

type parser struct {
	q        Query
	values   map[string]string
	strange  []string // keys that are none of ours
	mistakes mistakes
}

func (p *parser) wrong(key, format string, args ...any) {
	p.mistakes = append(p.mistakes, key+": "+fmt.Sprintf(format, args...))
}

func (p *parser) topic(subpath string) {
	database, measurement, found := strings.Cut(subpath, "/")
	if !found || strings.Contains(measurement, "/") {
		p.wrong("topic", "%s is not DATABASE/MEASUREMENT", clip(subpath))
		return
	}
	switch {
	case !databaseForm.MatchString(database):
		p.wrong("database", "%s is not a lower-case letter followed by at most 62 lower-case letters, digits or _", clip(database))
	case database == ledgerDatabase:
		p.wrong("database", "%s is the system's own", clip(database))
	}
	if !measurementForm.MatchString(measurement) {
		p.wrong("measurement", "%s is not a letter or digit followed by at most 254 letters, digits or - : . _", clip(measurement))
	}
	p.q.Database, p.q.Measurement = database, measurement
}

// read takes the object apart into texts. Keys of one spelling only: a second
// value for a key would silently win or lose.
func (p *parser) read(data json.RawMessage) {
	data = bytes.TrimSpace(data)
	if len(data) == 0 || string(data) == "null" {
		return
	}
	if err := p.object(json.NewDecoder(bytes.NewReader(data))); err != nil {
		p.wrong("data", "want a JSON object of parameters: %s", err)
	}
}

func (p *parser) object(d *json.Decoder) error {
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return errors.New("no object")
	}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return errors.New("malformed JSON")
		}
		key, _ := token.(string) // always one in an object
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return errors.New("malformed JSON")
		}
		p.parameter(key, raw)
	}
	if _, err := d.Token(); err != nil {
		return errors.New("malformed JSON")
	}
	if d.More() {
		return errors.New("more than one value")
	}
	return nil
}

func (p *parser) parameter(key string, raw json.RawMessage) {
	if !slices.Contains(keys, key) {
		p.strange = append(p.strange, key)
		return
	}
	if _, twice := p.values[key]; twice {
		p.wrong(key, "given twice")
		return
	}
	var text string
	switch c := raw[0]; {
	case string(raw) == "null":
		return
	case c == '-' || c >= '0' && c <= '9':
		text = string(raw)
	case c != '"' || json.Unmarshal(raw, &text) != nil:
		p.wrong(key, "want a text or a number")
		return
	}
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		p.wrong(key, "is empty")
	case len(text) > maxText:
		p.wrong(key, "is longer than %d bytes", maxText)
	default:
		p.values[key] = text
	}
}

// unknown names the keys that are none of ours. Their number is bounded by the
// size of a message, what is told of them by maxMistakes.
func (p *parser) unknown() {
	slices.Sort(p.strange)
	for i, key := range slices.Compact(p.strange) {
		if i == 0 {
			p.wrong(bare(key), "unknown; known are %s", strings.Join(keys, " "))
			continue
		}
		p.wrong(bare(key), "unknown")
	}
}

// bare is a key as it was sent where that is harmless to read, else its
// beginning in quotes, which the api takes for one name.
func bare(key string) string {
	if measurementForm.MatchString(key) && len(key) <= shown {
		return key
	}
	const most = 16 // one byte can take four to tell
	more := ""
	if len(key) > most {
		key, more = key[:most], "..."
	}
	return fmt.Sprintf("%+q", strings.ReplaceAll(strings.ToValidUTF8(key, ""), `"`, "'")) + more
}

// clip is the beginning of a text of strangers, quoted.
func clip(s string) string {
	if len(s) > shown {
		return fmt.Sprintf("%q...", strings.ToValidUTF8(s[:shown], ""))
	}
	return fmt.Sprintf("%q", s)
}
