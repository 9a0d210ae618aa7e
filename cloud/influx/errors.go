package influx

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	influxhttp "github.com/influxdata/influxdb-client-go/v2/api/http"
)

// maxMessage bounds what is kept of InfluxDB's words, in bytes.
const maxMessage = 1 << 10

// Error is any outcome of a call that is not yes, except for a statement that
// InfluxDB refused, which is a *QueryError. The zero answers of its methods
// mean: not now, come again later.
type Error struct {
	Op      string // what was being done, to which database
	Status  int    // of the HTTP answer; 0: there was none
	Message string // InfluxDB's own words, at most 1 KiB

	refused    bool
	expired    bool
	operator   bool
	retryAfter time.Duration
	cause      error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Status == 0 {
		return fmt.Sprintf("%s: %v", e.Op, e.cause)
	}
	return fmt.Sprintf("%s: status %d: %s", e.Op, e.Status, e.Message)
}

// Unwrap gives the cause where there was no answer.
func (e *Error) Unwrap() error { return e.cause }

// Refused says that InfluxDB refused lines for their content: sent again, it
// will refuse them again. Other lines of the same write may be stored. The
// write should be repeated in smaller parts to find out which lines it was.
func (e *Error) Refused() bool { return e.refused }

// BeyondRetention says that lines were refused because they are older than
// what the database keeps; all other lines of the write are stored. It implies
// Refused.
func (e *Error) BeyondRetention() bool { return e.expired }

// TimedOut says that our own time limit ended the call: InfluxDB may be well,
// and the question too large.
func (e *Error) TimedOut() bool { return errors.Is(e.cause, errTimeout) }

// NeedsOperator says that waiting alone will hardly help: credentials, rights,
// a missing retention policy, a full disk, a wrong address.
func (e *Error) NeedsOperator() bool { return e.operator }

// RetryAfter is how long the server asks to be left alone, 0 to 1 h; 0: it did
// not say.
func (e *Error) RetryAfter() time.Duration { return e.retryAfter }

// stuck lists what InfluxDB 1.8 says once a log file of a shard could not be
// written. The writer keeps its first error for good (tsm1.WALSegmentWriter
// wraps a bufio.Writer), so that the shard takes nothing more until the server
// is started again, however much room there is by then.
var stuck = []string{
	"error writing WAL entry",
	"error opening new segment file for wal",
	"no space left on device",
	"file too large",
}

// QueryError is a statement that InfluxDB refused or could not finish.
type QueryError struct {
	Database string
	Message  string // InfluxDB's own words, at most 1 KiB
}

// Error implements error.
func (e *QueryError) Error() string { return fmt.Sprintf("query %s: %s", e.Database, e.Message) }

// DatabaseMissing says that the database does not exist: nothing was ever
// written to it.
func (e *QueryError) DatabaseMissing() bool {
	return strings.Contains(e.Message, "database not found") || strings.Contains(e.Message, noMapping)
}

// noMapping is InfluxDB 2's word for a database that no bucket stands behind.
const noMapping = "no dbrp mapping found"

// maxRetryAfter bounds what a server can ask for.
const maxRetryAfter = time.Hour

// errTimeout is the cause of a call that ran into our own time limit.
var errTimeout = fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)

// noAnswer is the Error of a request that got none. Where ctx ended, its cause
// says more than what the connection made of it.
func noAnswer(ctx context.Context, op string, err error) *Error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return &Error{Op: op, cause: err, operator: errors.Is(err, errNotInflux)}
}

// fromLibrary turns what influxdb-client-go returns into an *Error.
func fromLibrary(ctx context.Context, op string, err error) *Error {
	le, ok := errors.AsType[*influxhttp.Error](err)
	if !ok || le.StatusCode == 0 {
		return noAnswer(ctx, op, err)
	}
	return classify(op, le.StatusCode, le.Header, le.Message)
}

// notNow lists what InfluxDB says with a status of 400 or 422 that is no
// verdict on the lines: limits that an operator can lift, a body that did not
// arrive whole, a request that lost its parameters on the way.
var notNow = []string{
	"max-series-per-database limit exceeded",
	"max-values-per-tag limit exceeded",
	"pending deletion",
	"unexpected EOF",
	"timeout",
	"connection reset",
	"database is required",
	"missing db",
}

// classify sorts an answer; body is its text. InfluxDB 1.8 and 2.x differ in
// the form of their answers, not in the meaning of the status, with these
// exceptions: the list above, and a missing retention policy, which 1.8 calls
// an internal error although no retry helps.
func classify(op string, status int, header http.Header, body string) *Error {
	message, spoke := words(header, body)
	e := &Error{Op: op, Status: status, Message: message, retryAfter: retryAfter(header)}
	switch {
	case status == http.StatusBadRequest || status == http.StatusUnprocessableEntity:
		// The same status from something in between is about the request. Of what
		// is said the first word counts: behind it the lines are repeated, and
		// a measurement may be called timeout.
		blamed := firstOf(message, "unable to parse", "field type conflict")
		e.refused = spoke && firstOf(message, notNow...) >= blamed
		e.expired = e.refused && firstOf(message, "beyond retention policy", "outside retention policy") < blamed
		e.operator = !e.refused
	case status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status == http.StatusRequestEntityTooLarge:
	case status < http.StatusInternalServerError:
		e.operator = true
	default:
		e.operator = containsAny(message, "retention policy not found", "no space left on device")
	}
	return e
}

// words finds what was said in an answer, and whether it was InfluxDB who said
// it: 1.8 answers {"error": ...} and a header, 2.x {"code": ..., "message": ...}
// and another header. Either half may be missing or cut off.
func words(header http.Header, body string) (message string, influx bool) {
	var parts struct{ Error, Code, Message string }
	_ = json.Unmarshal([]byte(body), &parts) // what was understood before a mistake counts
	said := header.Get("X-Influxdb-Error")
	influx = said != "" || parts.Error != "" || parts.Code != "" ||
		header.Get("X-Influxdb-Version") != "" || header.Get("X-Platform-Error-Code") != ""
	for _, text := range []string{parts.Error, parts.Message, said, body} {
		if text = clean(text); text != "" {
			return text, influx
		}
	}
	return "no reason given", influx
}

// clean makes foreign text fit for a log line.
func clean(text string) string {
	if len(text) > maxMessage {
		text = text[:maxMessage]
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	return strings.TrimSpace(text)
}

// retryAfter reads the header of that name, in seconds or as a date (RFC 9110
// section 10.2.3).
func retryAfter(header http.Header) time.Duration {
	text := header.Get("Retry-After")
	if text == "" {
		return 0
	}
	var wait time.Duration
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = time.Until(at)
	} else {
		return 0
	}
	return min(max(wait, 0), maxRetryAfter)
}

func containsAny(text string, parts ...string) bool { return firstOf(text, parts...) < len(text) }

// firstOf is where the first of the parts begins; len(text) where there is none.
func firstOf(text string, parts ...string) int {
	first := len(text)
	for _, part := range parts {
		if i := strings.Index(text, part); i >= 0 {
			first = min(first, i)
		}
	}
	return first
}
