package ledgerquery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/device"
)

// ErrMistakes is the class of errors that a request itself is to blame for.
var ErrMistakes = errors.New("the request has mistakes")

const (
	maxMistakes = 20
	maxText     = 1024 // bytes of one parameter
	shown       = 40   // bytes of a wrong value that are repeated
)

// mistakes is everything that is wrong with a request, by parameter.
type mistakes []string

func (m mistakes) Error() string {
	if more := len(m) - maxMistakes; more > 0 {
		return strings.Join(m[:maxMistakes], "; ") + fmt.Sprintf("; and %d more", more)
	}
	return strings.Join(m, "; ")
}

func (mistakes) Is(target error) bool { return target == ErrMistakes }

// parameters are the members of a request's data, as texts.
type parameters struct {
	known    []string
	values   map[string]string
	strange  []string
	mistakes mistakes
}

// readParameters takes the object apart. Keys in one spelling only, and once: a
// second value would silently win or lose.
func readParameters(data json.RawMessage, known ...string) *parameters {
	p := &parameters{known: known, values: make(map[string]string)}
	if data = bytes.TrimSpace(data); len(data) > 0 && string(data) != "null" {
		if err := p.object(json.NewDecoder(bytes.NewReader(data))); err != nil {
			p.wrong("data", "want a JSON object of parameters: %v", err)
		}
	}
	slices.Sort(p.strange)
	for _, key := range slices.Compact(p.strange) {
		p.wrong(bare(key), "unknown; known are %s", strings.Join(known, " "))
	}
	return p
}

func (p *parameters) wrong(key, format string, args ...any) {
	p.mistakes = append(p.mistakes, key+": "+fmt.Sprintf(format, args...))
}

// err is every mistake found so far, or nil.
func (p *parameters) err() error {
	if len(p.mistakes) == 0 {
		return nil
	}
	return p.mistakes
}

func (p *parameters) object(d *json.Decoder) error {
	malformed := errors.New("malformed JSON")
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return errors.New("no object")
	}
	for d.More() {
		token, err := d.Token()
		key, isText := token.(string)
		var raw json.RawMessage
		if err != nil || !isText || d.Decode(&raw) != nil {
			return malformed
		}
		p.member(key, raw)
	}
	if _, err := d.Token(); err != nil || d.More() {
		return malformed
	}
	return nil
}

func (p *parameters) member(key string, raw json.RawMessage) {
	if !slices.Contains(p.known, key) {
		p.strange = append(p.strange, key)
		return
	}
	if _, twice := p.values[key]; twice {
		p.wrong(key, "given twice")
		return
	}
	text := ""
	switch c := raw[0]; {
	case string(raw) == "null":
	case c == '-' || c >= '0' && c <= '9':
		text = string(raw)
	case c != '"' || json.Unmarshal(raw, &text) != nil:
		p.wrong(key, "want a text or a number")
	case len(text) > maxText:
		p.wrong(key, "is longer than %d bytes", maxText)
		text = ""
	}
	p.values[key] = strings.TrimSpace(text)
}

// text gives a parameter, "" when it is not given.
func (p *parameters) text(key string) string { return p.values[key] }

// maxSeconds bounds times: the year 2255.
const maxSeconds = 9_000_000_000

// time reads POSIX seconds or RFC 3339; 0 when not given.
func (p *parameters) time(key string) device.Micros {
	text := p.values[key]
	if text == "" {
		return 0
	}
	var at device.Micros
	if at.UnmarshalJSON([]byte(text)) == nil && at >= 0 && at <= maxSeconds*1e6 {
		return at
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil && t.Unix() >= 0 && t.Unix() < maxSeconds {
		return device.MicrosOf(t)
	}
	p.wrong(key, "%s is neither POSIX seconds nor a time such as 2024-01-15T12:00:00Z", clip(text))
	return 0
}

// span reads from and to.
func (p *parameters) span() (from, to device.Micros) {
	from, to = p.time("from"), p.time("to")
	if to != 0 && from > to {
		p.wrong("to", "is before from")
	}
	return from, to
}

// number reads a whole number between least and most; fallback when not given.
func (p *parameters) number(key string, least, most, fallback int) int {
	text := p.values[key]
	if text == "" {
		return fallback
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		p.wrong(key, "%s is not a whole number from %d to %d", clip(text), least, most)
		return fallback
	}
	return n
}

// bare is a key as it was sent where that is harmless to read, else quoted.
func bare(key string) string {
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
	}
	if key != "" && len(key) <= shown && !strings.ContainsFunc(key, odd) {
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
