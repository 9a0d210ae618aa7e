package influx

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxAnswer bounds the answers of everything but queries, in bytes.
const maxAnswer = 1 << 20

// server is what is known of the other side.
type server struct {
	version string // as it says, such as 1.8.10 or v2.7.9
	major   int
}

// Ping asks the server for its version, such as "1.8.10" or "v2.7.9". It needs
// no credentials: use Exec or Query to learn whether those are right.
func (c *Client) Ping(ctx context.Context) (version string, err error) {
	s, err := c.ask(ctx)
	if err != nil {
		c.forget()
		return "", err
	}
	c.known.Store(&s)
	return s.version, nil
}

// server gives the kind of the server, from memory unless something failed
// since it was asked.
func (c *Client) server(ctx context.Context) (server, error) {
	if s := c.known.Load(); s != nil {
		return *s, nil
	}
	if _, err := c.Ping(ctx); err != nil {
		return server{}, err
	}
	if s := c.known.Load(); s != nil {
		return *s, nil
	}
	return server{}, errors.New("the server went away while it was asked for its version")
}

func (c *Client) forget() { c.known.Store(nil) }

func (c *Client) ask(ctx context.Context) (server, error) {
	const op = "ping"
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.WriteTimeout, errTimeout)
	defer cancel()
	resp, err := c.send(ctx, op, http.MethodGet, "ping", nil, nil)
	if err != nil {
		return server{}, err
	}
	_ = resp.Body.Close()
	version := resp.Header.Get("X-Influxdb-Version")
	if version == "" { // a proxy may have taken the header away
		var health struct{ Name, Version string }
		if err := c.call(ctx, op, http.MethodGet, "health", nil, nil, &health); err != nil {
			return server{}, err
		}
		if health.Name != "influxdb" {
			return server{}, &Error{Op: op, cause: fmt.Errorf("%w: nothing in /ping or /health says so", errNotInflux), operator: true}
		}
		version = health.Version
	}
	if major, ok := majorOf(version); ok {
		return server{version: version, major: major}, nil
	}
	return c.probe(ctx, op, version)
}

// majorOf reads the major version of "1.8.10" and "v2.7.9".
func majorOf(version string) (int, bool) {
	first, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	major, err := strconv.Atoi(first)
	return major, err == nil && major >= 1
}

// probe tells 1 from 2 where the version does not, as with a server built
// without one: only 2.x has this page, open to everyone.
func (c *Client) probe(ctx context.Context, op, version string) (server, error) {
	err := c.call(ctx, op, http.MethodGet, "api/v2/setup", nil, nil, &struct{}{})
	if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusNotFound {
		return server{version: version, major: 1}, nil
	}
	if err != nil {
		return server{}, err
	}
	return server{version: version, major: 2}, nil
}

// call makes one request, JSON in and out, and decodes the answer into out.
func (c *Client) call(ctx context.Context, op, method, path string, query url.Values, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		body = strings.NewReader(string(text))
	}
	resp, err := c.send(ctx, op, method, path, query, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out); err != nil {
		return noAnswer(ctx, op, fmt.Errorf("answer of %s: %w", path, err))
	}
	return nil
}

// send makes one request below the server's root. With a nil error the answer
// is a 2xx and the caller closes its body.
func (c *Client) send(ctx context.Context, op, method, path string, query url.Values, body io.Reader) (*http.Response, error) {
	target := c.service.ServerURL() + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, &Error{Op: op, cause: err, operator: true}
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return c.do(op, req)
}

func (c *Client) do(op string, req *http.Request) (*http.Response, error) {
	resp, err := c.service.DoHTTPRequestWithResponse(req, nil)
	if err != nil {
		return nil, noAnswer(req.Context(), op, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	text, err := io.ReadAll(resp.Body) // bounded by transport
	_ = resp.Body.Close()
	if err != nil {
		return nil, noAnswer(req.Context(), op, err)
	}
	return nil, classify(op, resp.StatusCode, resp.Header, string(text))
}
