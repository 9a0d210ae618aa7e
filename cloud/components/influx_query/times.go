package influxquery

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/device"
)

// times reads from and to.
func (p *parser) times() {
	p.q.From = p.time("from", false)
	p.q.To = p.time("to", true)
	if p.q.From != nil && p.q.To != nil && *p.q.From > *p.q.To {
		p.wrong("from", "is after to")
	}
}

// time reads POSIX seconds or RFC 3339. What is finer than a microsecond widens
// the range to the whole microsecond, so that a bound that was a point's exact
// time includes it however storage rounded it.
func (p *parser) time(key string, up bool) *device.Micros {
	text, given := p.values[key]
	if !given {
		return nil
	}
	at, ok := posix(text, up)
	if !ok {
		at, ok = rfc3339(text, up)
	}
	if !ok || at < 0 || at > maxTime {
		p.wrong(key, "%s is neither POSIX seconds nor RFC 3339, as in 2026-03-29T00:00:00Z, from 1970 to 2255", clip(text))
		return nil
	}
	return &at
}

// maxTime keeps nanoseconds within 64 bits.
const maxTime = device.Micros(9_000_000_000 * 1e6)

var posixForm = regexp.MustCompile(`^[0-9]{1,10}(\.[0-9]{1,20})?$`)

func posix(text string, up bool) (device.Micros, bool) {
	if !posixForm.MatchString(text) {
		return 0, false
	}
	whole, fraction, _ := strings.Cut(text, ".")
	digits := fraction + "000000"
	n, err := strconv.ParseInt(whole+digits[:6], 10, 64)
	if err != nil {
		return 0, false
	}
	if up && strings.Trim(digits[6:], "0") != "" {
		n++
	}
	return device.Micros(n), true
}

func rfc3339(text string, up bool) (device.Micros, bool) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0, false
	}
	at := device.Micros(t.UnixMicro())
	if up && t.Nanosecond()%1000 != 0 {
		at++
	}
	return at, true
}
