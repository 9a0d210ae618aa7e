package webhook

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// Limits of what is not an option.
const (
	dialTimeout   = 10 * time.Second
	maxHeader     = 64 << 10 // bytes of an answer's headers
	maxAnswer     = 500      // bytes of an answer that are kept
	maxDrain      = 16 << 10 // bytes of an answer that are read so that the connection can be used again
	maxRetryAfter = 24 * time.Hour
)

// Options say where messages go and how patient a Sender is.
type Options struct {
	// URL of the receiver, http or https, without user and fragment.
	URL string
	// Secret signs, see [ParseSecret]; empty means that nothing is signed.
	Secret string
	// CA is a PEM file with the authorities that receivers may have their
	// certificates from; empty means those of the system.
	CA string
	// Timeout bounds one attempt from the dialling to the end of the answer; 0
	// means 30 s.
	Timeout time.Duration
	// Attempts is how often Send tries; 0 means 4. WaitLeast and WaitMost bound the
	// pauses between: doubled each time, with jitter, and never longer than
	// WaitMost; who asks for more is not tried again. 0 means 500 ms and 10 s.
	Attempts            int
	WaitLeast, WaitMost time.Duration
}

// Message is what is delivered.
type Message struct {
	// ID names the message for ever, so that a receiver can drop it the second
	// time. It has 1 to 256 characters of a-z A-Z 0-9 - _.
	ID          string
	ContentType string
	Body        []byte
	// Header has further headers; it may be nil.
	Header map[string]string
}

// Sender delivers messages to one receiver. Safe for concurrent use.
type Sender struct {
	options Options
	key     Key // nil: unsigned
	client  *http.Client
	base    *http.Transport
}

// CheckURL says what is wrong with a receiver's address; it does not repeat it.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return errors.New("want http://host/path or https://host/path")
	case u.User != nil:
		return errors.New("it holds a user: messages are signed, so leave it out")
	case u.Fragment != "":
		return errors.New("want no #")
	}
	return nil
}

// New allocates a sender; it reads the CA file and touches no network.
func New(options Options) (*Sender, error) {
	if err := CheckURL(options.URL); err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	var key Key
	if options.Secret != "" {
		var err error
		if key, err = ParseSecret(options.Secret); err != nil {
			return nil, fmt.Errorf("secret: %w", err)
		}
	}
	roots, err := authorities(options.CA)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	s := &Sender{options: options, key: key}
	s.base = &http.Transport{
		// Proxy stays nil: what an environment variable says is nobody's wish here.
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    dialTimeout,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true, // an answer that inflates is no answer
		WriteBufferSize:        64 << 10,
	}
	s.client = &http.Client{
		Transport: s.base, Timeout: cmp.Or(options.Timeout, 30*time.Second),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s, nil
}

func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // crypto/tls takes nil for the system's
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate", file)
	}
	return pool, nil
}

// Close ends idle connections. Safe twice.
func (s *Sender) Close() { s.base.CloseIdleConnections() }

// Send delivers one message: nil means that the receiver answered 2xx. Anything
// else is an *Error, or ctx's when it ended. It blocks for all attempts and
// pauses together at most.
func (s *Sender) Send(ctx context.Context, m Message) error {
	if !validID(m.ID) {
		return fmt.Errorf("deliver: %.80q is no id of a message", m.ID)
	}
	request, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, s.options.URL, m.Body)
	if err != nil {
		return fmt.Errorf("deliver: %w", withoutAddress(err))
	}
	attempts := 0
	sign := func(r *http.Request) error {
		attempts++
		// The attempt before may still be writing the map it was given.
		r.Header = s.header(m)
		return nil
	}
	most := cmp.Or(s.options.WaitMost, 10*time.Second)
	// Without a Logger the library says nothing: it would say the address.
	client := &retryablehttp.Client{
		HTTPClient: s.client, RetryMax: cmp.Or(s.options.Attempts, 4) - 1, CheckRetry: again(most), Backoff: pause, PrepareRetry: sign,
		RetryWaitMin: cmp.Or(s.options.WaitLeast, 500*time.Millisecond), RetryWaitMax: most,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	if err := sign(request.Request); err != nil {
		return err
	}
	answer, err := client.Do(request)
	if ctx.Err() != nil {
		if answer != nil {
			_ = answer.Body.Close()
		}
		return fmt.Errorf("deliver: %w", context.Cause(ctx))
	}
	if answer == nil {
		return &Error{attempts: attempts, cause: withoutAddress(err)}
	}
	return judge(answer, attempts)
}

func (s *Sender) header(m Message) http.Header {
	h := make(http.Header, len(m.Header)+6)
	for key, value := range m.Header {
		h.Set(key, value)
	}
	at := time.Now()
	h.Set("Content-Type", m.ContentType)
	h.Set("User-Agent", "wattline")
	h.Set(HeaderID, m.ID)
	h.Set(HeaderTimestamp, strconv.FormatInt(at.Unix(), 10))
	if s.key != nil {
		h.Set(HeaderSignature, s.key.Sign(m.ID, at, m.Body))
	}
	return h
}

// judge closes the answer. That its end comes late, or never, does not matter:
// the status has said it.
func judge(answer *http.Response, attempts int) error {
	defer answer.Body.Close()
	if answer.StatusCode/100 == 2 {
		_, _ = io.CopyN(io.Discard, answer.Body, maxDrain)
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	return &Error{
		Status: answer.StatusCode, Answer: clip(text), attempts: attempts,
		refused: !passes(answer.StatusCode), retryAfter: min(asked(answer.Header), maxRetryAfter),
	}
}

// passes tells the answers that may pass by themselves. 501 says that it will not.
func passes(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented:
		return false
	}
	return status >= http.StatusInternalServerError
}

// again is the policy of what is tried again. A certificate that is wrong is
// wrong in a second too, and who asks to be left alone for longer than the pauses
// are is left alone: whoever has the message knows how long.
func again(most time.Duration) retryablehttp.CheckRetry {
	return func(ctx context.Context, answer *http.Response, err error) (bool, error) {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if err != nil {
			_, distrusted := errors.AsType[*tls.CertificateVerificationError](err)
			return !distrusted, nil
		}
		return passes(answer.StatusCode) && asked(answer.Header) <= most, nil
	}
}

// pause doubles, with jitter, and obeys Retry-After within the bound.
func pause(least, most time.Duration, attempt int, answer *http.Response) time.Duration {
	wait := most
	if attempt < 16 {
		wait = min(least<<attempt, most)
	}
	wait = wait/2 + rand.N(wait/2+1)
	if answer != nil {
		wait = min(max(wait, asked(answer.Header)), most)
	}
	return wait
}

// asked reads Retry-After (RFC 9110 section 10.2.3).
func asked(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil {
		return time.Duration(min(max(seconds, 0), int(maxRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

func validID(id string) bool {
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return id != "" && len(id) <= 256
}
