package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ProblemError is an answer that says that nothing was done (RFC 9457).
type ProblemError struct {
	Server string `json:"-"`
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	// Errors are the single mistakes of the request.
	Errors []Mistake `json:"errors"`
	// Device, Gateway and Outcome tell of a switch.
	Device  string `json:"device"`
	Gateway string `json:"gateway"`
	Outcome string `json:"outcome"`
	// Body is the answer as it came, From what it tells of the server.
	Body []byte `json:"-"`
	From Server `json:"-"`
	// RetryAfter is when the server wants to be asked again, 0 where it says
	// nothing.
	RetryAfter time.Duration `json:"-"`
}

// Mistake is one thing wrong with a request: a parameter of the query, a place
// in the body (RFC 6901), or a line and column of a file.
type Mistake struct {
	Parameter string `json:"parameter"`
	Pointer   string `json:"pointer"`
	Line      int    `json:"line"`
	Field     string `json:"field"`
	Detail    string `json:"detail"`
}

// String is the mistake in a line.
func (m Mistake) String() string {
	where := m.Parameter
	switch {
	case m.Line > 0 && m.Field != "":
		where = fmt.Sprintf("line %d, %s", m.Line, m.Field)
	case m.Line > 0:
		where = fmt.Sprintf("line %d", m.Line)
	case m.Pointer != "" && m.Pointer != "/":
		where = strings.ReplaceAll(strings.Trim(m.Pointer, "/"), "/", ".")
	case m.Field != "":
		where = m.Field
	}
	if where == "" || strings.HasPrefix(m.Detail, where+": ") {
		return m.Detail
	}
	return where + ": " + m.Detail
}

// Error is the detail, the cure where there is one, and a line for each mistake.
func (p *ProblemError) Error() string {
	var b strings.Builder
	b.WriteString(p.Detail)
	if p.Detail == "" {
		fmt.Fprintf(&b, "%s answers %d %s", p.Server, p.Status, p.Title)
	}
	if cure := p.cure(); cure != "" {
		b.WriteString("; " + cure)
	}
	for _, m := range p.Errors {
		if p.says(m) {
			continue
		}
		b.WriteString("\n  " + m.String())
	}
	return b.String()
}

// says tells whether the detail has a mistake already: the registry begins with
// the first, and how many more there are.
func (p *ProblemError) says(m Mistake) bool {
	detail := p.Detail
	if i := strings.LastIndex(detail, " (and "); i >= 0 && strings.HasSuffix(detail, " more)") {
		detail = detail[:i]
	}
	said := m.String()
	return detail == m.Detail || detail == said || strings.HasSuffix(detail, ": "+said)
}

// cure is what a person can do.
func (p *ProblemError) cure() string {
	switch p.Status {
	case http.StatusUnauthorized:
		return "give one that is in force with --token-file or WATTLINE_TOKEN (`wattline tokens create` makes them, `wattline site init` the first)"
	case http.StatusPreconditionFailed:
		return "somebody else has changed it in the meantime: look again and repeat the change"
	case http.StatusTooManyRequests:
		return fmt.Sprintf("wait %v and try again", max(p.RetryAfter, time.Second))
	case http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusBadGateway:
		if p.Outcome == "" {
			return "if it stays so, `wattline doctor cloud` says what is wrong"
		}
	}
	return ""
}

// problem makes an error of an answer that is no 2xx.
func (c *Client) problem(r *http.Response, body []byte) error {
	p := &ProblemError{}
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // "" when there is none
	if media != "application/problem+json" && media != "application/json" || json.Unmarshal(body, p) != nil {
		*p = ProblemError{Detail: c.foreign(r, body)}
	}
	p.Server, p.Status, p.Body, p.From = c.Server(), r.StatusCode, body, serverOf(r)
	if p.Title == "" {
		p.Title = http.StatusText(r.StatusCode)
	}
	if n, err := strconv.Atoi(r.Header.Get("Retry-After")); err == nil && n > 0 && n < 86400 {
		p.RetryAfter = time.Duration(n) * time.Second
	}
	return p
}

// foreign tells of answers that are not of a Wattline server.
func (c *Client) foreign(r *http.Response, body []byte) string {
	if to := r.Header.Get("Location"); r.StatusCode >= 300 && r.StatusCode < 400 && to != "" {
		return fmt.Sprintf("%s leads on to %.200q: give that as --server if it is the right one", c.Server(), to)
	}
	if strings.Contains(string(body[:min(len(body), 200)]), "HTTPS server") {
		return fmt.Sprintf("%s speaks TLS: use https:// in --server", c.Server())
	}
	return fmt.Sprintf("%s answers %s, and not as a Wattline server does: is --server right?", c.Server(), r.Status)
}

// AwayError says that there was no answer.
type AwayError struct {
	Server string
	Text   string // what happened and what to do
	Err    error
}

func (a *AwayError) Error() string { return a.Text }

// Unwrap is the cause.
func (a *AwayError) Unwrap() error { return a.Err }

// lateError is the cause of a request that took too long.
type lateError struct{ after time.Duration }

func (e lateError) Error() string { return fmt.Sprintf("no answer within %v", e.after) }

// away says why there was no answer, as far as people can do something about it.
func (c *Client) away(ctx context.Context, err error) error {
	server := c.Server()
	if late, ok := errors.AsType[lateError](context.Cause(ctx)); ok {
		return &AwayError{server, fmt.Sprintf("%s gave no answer within %v: it may be busy, and what was asked may have been done", server, late.after), late}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, name := errors.AsType[x509.HostnameError](err)
	invalid, bad := errors.AsType[x509.CertificateInvalidError](err)
	_, plain := errors.AsType[tls.RecordHeaderError](err)
	_, lookup := errors.AsType[*net.DNSError](err)
	text := fmt.Sprintf("%s cannot be reached: %v", server, cause(err))
	switch {
	case unknown:
		text = fmt.Sprintf("nobody this machine trusts vouches for the certificate of %s: give the site's ca.pem (in <data>/registry of the cloud) with --ca", server)
	case name:
		text = fmt.Sprintf("the certificate of %s is for another name: %v; use that name, or set http.tls.hosts of the cloud", server, cause(err))
	case bad && invalid.Reason == x509.Expired:
		text = fmt.Sprintf("the certificate of %s is not valid now: %v; check the clocks of both machines", server, cause(err))
	case plain || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		text = fmt.Sprintf("%s speaks no TLS: use http:// in --server (on this machine only)", server)
	case strings.Contains(err.Error(), "malformed HTTP response") && c.base.Scheme == "http":
		text = fmt.Sprintf("%s does not speak HTTP: is it TLS (https://), or another port?", server)
	case errors.Is(err, io.EOF) && c.base.Scheme == "http":
		text = fmt.Sprintf("%s closed the connection without an answer: does it speak TLS (https://)?", server)
	case errors.Is(err, syscall.ECONNREFUSED):
		text = fmt.Sprintf("nobody listens at %s: start wattline-cloud there, or say with --server or WATTLINE_SERVER where it is", server)
	case lookup:
		text = fmt.Sprintf("%s: no such host: %v; is --server spelled right?", server, cause(err))
	}
	return &AwayError{server, text, err}
}

// cause is the innermost error, whose text says what happened without the URL.
func cause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
