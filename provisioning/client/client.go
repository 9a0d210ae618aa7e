package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

const (
	// MaxAnswer bounds an answer in bytes; the largest is an exported inventory.
	MaxAnswer = 64 << 20
	// DefaultTimeout is how long a request may take, its answer included.
	DefaultTimeout = 30 * time.Second
	dialTimeout    = 5 * time.Second
)

// Options say where the server is and who asks.
type Options struct {
	Server string // as https://wattline.example:8080
	Token  string // "" for none
	// CA is the PEM of the authorities that may vouch for the server; nil means
	// those that this machine trusts.
	CA []byte
	// Timeout of a request that says nothing else; 0 means DefaultTimeout.
	Timeout time.Duration
	Agent   string // User-Agent
}

// Client is a connection to one server. It is safe for concurrent use.
type Client struct {
	base    *url.URL
	options Options
	http    *http.Client
}

// New checks the options; it opens no connection.
func New(o Options) (*Client, error) {
	base, err := url.Parse(o.Server)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("server %q: want a URL such as http://127.0.0.1:8080 or https://wattline.example", o.Server)
	}
	if base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, fmt.Errorf("server %q: want only scheme, host and port; the token goes into a file", base.Redacted())
	}
	if o.Token != "" && base.Scheme == "http" && !loopback(base.Hostname()) {
		return nil, fmt.Errorf("server %s: a token must not travel in the clear; use https:// and, where the site has an authority of its own, --ca ca.pem", o.Server)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(o.CA) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(o.CA) {
			return nil, errors.New("the file of --ca holds no certificate in PEM (BEGIN CERTIFICATE)")
		}
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	base.Path = strings.TrimSuffix(base.Path, "/")
	transport := &http.Transport{
		DialContext:     (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig: config, TLSHandshakeTimeout: dialTimeout, MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true, Proxy: http.ProxyFromEnvironment,
	}
	return &Client{base: base, options: o, http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // a token goes where it was meant to
	}}, nil
}

// loopback tells names and addresses of this machine.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && ip.Unmap().IsLoopback()
}

// Server is where the client asks.
func (c *Client) Server() string { return c.base.String() }

// Close gives idle connections back.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Request is one question. Path may have escaped parts and no query.
type Request struct {
	Method string
	Path   string
	Query  url.Values
	// JSON is sent as a JSON body; or Body as it is, with its ContentType.
	JSON        any
	Body        []byte
	ContentType string
	Accept      string
	// Revision is what was seen last; another one in force gives a *ProblemError with
	// status 412. 0 asks for none.
	Revision uint64
	Timeout  time.Duration // 0 for the client's
	// Sent is told how many bytes of the body have been sent, if not nil.
	Sent func(n int)
}

// Answer is a 2xx.
type Answer struct {
	Status   int
	Type     string // media type with its parameters
	Body     []byte
	Revision uint64 // of the ETag, 0 without one
	Server   Server
}

// Server is what an answer tells of who gave it.
type Server struct {
	// Date is the server's clock, in whole seconds; zero where it says nothing.
	Date time.Time
	// CertificateUntil is when its certificate ends; zero without TLS.
	CertificateUntil time.Time
}

func serverOf(r *http.Response) (s Server) {
	if at, err := http.ParseTime(r.Header.Get("Date")); err == nil {
		s.Date = at
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		s.CertificateUntil = r.TLS.PeerCertificates[0].NotAfter
	}
	return s
}

// Do asks. An answer that is no 2xx is a [*ProblemError], no answer an [*AwayError].
func (c *Client) Do(ctx context.Context, r Request) (*Answer, error) {
	timeout := c.options.Timeout
	if r.Timeout > 0 {
		timeout = r.Timeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, lateError{timeout})
	defer cancel()
	request, err := c.request(ctx, r)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.away(ctx, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, MaxAnswer+1))
	if err != nil {
		return nil, c.away(ctx, err)
	}
	if len(body) > MaxAnswer {
		return nil, fmt.Errorf("the answer of %s to %s %s is larger than %d MiB", c.Server(), r.Method, r.Path, MaxAnswer>>20)
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return nil, c.problem(response, body)
	}
	return &Answer{
		Status: response.StatusCode, Type: response.Header.Get("Content-Type"), Body: body, Revision: revision(response.Header.Get("ETag")),
		Server: serverOf(response),
	}, nil
}

func (c *Client) request(ctx context.Context, r Request) (*http.Request, error) {
	body, contentType := r.Body, r.ContentType
	if r.JSON != nil {
		text, err := json.Marshal(r.JSON)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		body, contentType = text, "application/json"
	}
	target := c.base.String() + r.Path
	if len(r.Query) > 0 {
		target += "?" + r.Query.Encode()
	}
	var from io.Reader
	if body != nil {
		from = &counted{Reader: bytes.NewReader(body), sent: r.Sent}
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, target, from)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", c.Server(), err)
	}
	h := request.Header
	if body != nil {
		request.ContentLength = int64(len(body))
		h.Set("Content-Type", contentType)
	}
	if c.options.Agent != "" {
		h.Set("User-Agent", c.options.Agent)
	}
	if r.Accept != "" {
		h.Set("Accept", r.Accept)
	}
	if c.options.Token != "" {
		h.Set("Authorization", "Bearer "+c.options.Token)
	}
	if r.Revision > 0 {
		h.Set("If-Match", fmt.Sprintf("%q", fmt.Sprint(r.Revision)))
	}
	return request, nil
}

// counted tells how much of a body was read.
type counted struct {
	io.Reader

	n    int
	sent func(int)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if c.n += n; c.sent != nil {
		c.sent(c.n)
	}
	return n, err
}

// revision reads an ETag of ours.
func revision(tag string) (n uint64) {
	if _, err := fmt.Sscanf(strings.Trim(tag, `"`), "%d", &n); err != nil {
		return 0
	}
	return n
}

// Get reads JSON into into, which may be nil, and gives the revision of what it
// read, 0 where it has none.
func (c *Client) Get(ctx context.Context, path string, query url.Values, into any) (revision uint64, err error) {
	a, err := c.Do(ctx, Request{Method: http.MethodGet, Path: path, Query: query, Accept: "application/json"})
	if err != nil {
		return 0, err
	}
	return a.Revision, a.Decode(into)
}

// Decode reads the answer's JSON into into; without content, or with a nil into,
// it does nothing.
func (a *Answer) Decode(into any) error {
	if into == nil || len(bytes.TrimSpace(a.Body)) == 0 {
		return nil
	}
	if err := json.Unmarshal(a.Body, into); err != nil {
		return fmt.Errorf("read the server's answer (%s): %w; is this a Wattline server?", a.Type, err)
	}
	return nil
}

// maxPages stops a server that never comes to the end of a list.
const maxPages = 100_000

// List reads all pages of a list and hands over its items.
func (c *Client) List(ctx context.Context, path string, query url.Values, each func(json.RawMessage) error) error {
	values := url.Values{}
	maps.Copy(values, query)
	for range maxPages {
		var page struct {
			Items []json.RawMessage `json:"items"`
			Next  *string           `json:"next"`
		}
		if _, err := c.Get(ctx, path, values, &page); err != nil {
			return err
		}
		for _, item := range page.Items {
			if err := each(item); err != nil {
				return err
			}
		}
		if page.Next == nil || *page.Next == "" || *page.Next == values.Get("cursor") {
			return nil
		}
		values.Set("cursor", *page.Next)
	}
	return fmt.Errorf("the list %s of %s has more than %d pages", path, c.Server(), maxPages)
}
