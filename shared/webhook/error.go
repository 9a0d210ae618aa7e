package webhook

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
)

// Error is why a message was not taken.
type Error struct {
	Status int    // of the last answer; 0: there was none
	Answer string // the beginning of what the receiver said, at most 500 bytes

	attempts   int
	refused    bool
	retryAfter time.Duration
	cause      error
}

// Error says it without the receiver's address, which may hold a secret.
func (e *Error) Error() string {
	what := "deliver"
	if e.attempts > 1 {
		what = fmt.Sprintf("deliver, %d times", e.attempts)
	}
	switch {
	case e.Status == 0:
		return fmt.Sprintf("%s: %v", what, e.cause)
	case e.Answer == "":
		return fmt.Sprintf("%s: status %d", what, e.Status)
	default:
		return fmt.Sprintf("%s: status %d: %s", what, e.Status, e.Answer)
	}
}

// Unwrap gives the cause where there was no answer.
func (e *Error) Unwrap() error { return e.cause }

// Refused says that the receiver does not want this message as it is, or is no
// receiver: sent again soon, it will refuse it again, and a person should look.
func (e *Error) Refused() bool { return e.refused }

// RetryAfter is how long the receiver asks to be left alone, 0 to 24 h; 0: it did
// not say.
func (e *Error) RetryAfter() time.Duration { return e.retryAfter }

// withoutAddress takes the address out of what net/http says.
func withoutAddress(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// clip makes a stranger's bytes fit for a log.
func clip(answer []byte) string {
	text := strings.ToValidUTF8(string(answer), "?")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	return strings.TrimSpace(text)
}
