package influxd

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	maxLine       = 4 << 10 // bytes of a line that are kept
	tailLines     = 8       // lines kept for the message of an early end
	warnPerMinute = 10      // complaints logged as such; a full disk makes thousands
)

// output takes what influxd writes to stdout and stderr, line by line, to the
// log: errors as warnings, the rest for debugging.
type output struct {
	log *slog.Logger

	mu     sync.Mutex // guards what follows
	line   []byte     // begun and not ended
	tail   []string
	since  time.Time // of the count
	warned int
}

func newOutput(log *slog.Logger) *output { return &output{log: log} }

// Write implements io.Writer. It never fails: influxd must not be stopped by
// its log.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for rest := p; len(rest) > 0; {
		part, after, ended := bytes.Cut(rest, []byte{'\n'})
		if room := maxLine - len(o.line); room > 0 {
			o.line = append(o.line, part[:min(len(part), room)]...)
		}
		if ended {
			o.say(strings.ToValidUTF8(string(o.line), "\uFFFD"))
			o.line = o.line[:0]
		}
		rest = after
	}
	return len(p), nil
}

func (o *output) say(line string) {
	if line = strings.TrimSpace(line); line == "" {
		return
	}
	if len(o.tail) == tailLines {
		o.tail = append(o.tail[:0], o.tail[1:]...)
	}
	o.tail = append(o.tail, line)
	level := slog.LevelDebug
	if complaint(line) && o.mayWarn() {
		level = slog.LevelWarn
	}
	o.log.Log(context.Background(), level, "influxd says", slog.String("component", "influxd"), slog.String("text", line))
}

// complaint tells lines that need a look. influxd writes logfmt; what is not,
// it wrote while it fell over; but for the line that it writes at every end.
func complaint(line string) bool {
	if strings.HasPrefix(line, "[tcp]") && strings.HasSuffix(line, "use of closed network connection") {
		return false
	}
	return strings.Contains(line, " lvl=error ") || !strings.HasPrefix(line, "ts=")
}

// mayWarn bounds the warnings of a minute.
func (o *output) mayWarn() bool {
	if now := time.Now(); now.Sub(o.since) > time.Minute {
		o.since, o.warned = now, 0
	}
	o.warned++
	return o.warned <= warnPerMinute
}

// begin makes room for what the next influxd says.
func (o *output) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tail, o.line = nil, o.line[:0]
}

// end takes what influxd said last, if it ended in the middle of a line.
func (o *output) end() { _, _ = o.Write([]byte{'\n'}) }

// last gives the last lines that are complaints, or the last line of all.
func (o *output) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var complaints []string
	for _, line := range o.tail {
		if complaint(line) {
			complaints = append(complaints, line)
		}
	}
	switch {
	case len(complaints) > 0:
		return strings.Join(complaints, "; ")
	case len(o.tail) > 0:
		return o.tail[len(o.tail)-1]
	default:
		return "it said nothing"
	}
}
