package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/api"
	"github.com/wattline/wattline/cloud/api/apitest"
	"github.com/wattline/wattline/shared/hook"
)

// dial opens a bare connection to the api.
func (s *site) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", s.server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// raw sends bytes that an HTTP client would not and reads one answer.
func (s *site) raw(t *testing.T, text string) response {
	t.Helper()
	c := s.dial(t)
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	e := apitest.Exchange{Status: answer.StatusCode, Header: answer.Header, Body: body}
	if line, _, _ := strings.Cut(text, "\r\n"); answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		if parts := strings.Split(line, " "); len(parts) == 3 {
			e.Method, e.Target = parts[0], parts[1]
		}
		_, sent, _ := strings.Cut(text, "\r\n\r\n")
		e.Sent = []byte(sent)
	}
	s.described(e)
	return response{t, answer.StatusCode, answer.Header, body}
}

func TestHostileRequests(t *testing.T) {
	s := start(t, func(c *api.Config) { c.HTTP.ReadTimeout = 500 * time.Millisecond })
	s.component(hook.Queries, "ask", echo)
	s.component(hook.Commands, "ask", echo)
	large := strings.Repeat("x", 2<<20)
	for name, c := range map[string]struct {
		text   string
		status int
	}{
		"no HTTP":                   {"hello\r\n\r\n", 400},
		"zeros":                     {strings.Repeat("\x00", 100) + "\r\n\r\n", 400},
		"TLS":                       {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
		"a length that is none":     {"PUT /api/in/ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: many\r\n\r\n", 400},
		"a negative length":         {"PUT /api/in/ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400},
		"an enormous length":        {"PUT /api/in/ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999999\r\n\r\n", 413},
		"a length beyond numbers":   {"PUT /api/in/ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400},
		"a body too large":          {"PUT /api/in/ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2097152\r\n\r\n" + large[:1<<16], 413},
		"a chunk too large":         {"PUT /api/in/ask HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n", 413},
		"a chunk that is none":      {"PUT /api/in/ask HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
		"headers too large":         {"GET / HTTP/1.1\r\nX: " + large[:32<<10] + "\r\n\r\n", 431},
		"a path too long":           {"GET /" + large[:32<<10] + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 431},
		"ten thousand parameters":   {"GET /api/out/ask?" + strings.Repeat("a=1&", 10_000) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 431},
		"as many as fit":            {"GET /api/out/ask?" + strings.Repeat("a&", 4_000) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
		"a compressed body":         {"PUT /api/in/ask HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08", 415},
		"a form of many parts":      {"POST /api/v1/commands HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 9\r\n\r\n--b\r\n\r\n--", 400},
		"half a header":             {"GET / HTTP/1.1\r\nHost: localhost\r\n", 408},
		"half a body":               {"PUT /api/in/ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{", 408},
		"an unknown method":         {"BREW /api/v1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 400},
		"a cursor of garbage":       {"GET /api/v1/gateways?cursor=%%%&limit=1e999 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 503},
		"a number of a megabyte":    {"PUT /api/in/ask HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 900015\r\n\r\n{\"payload\": " + strings.Repeat("9", 900_002) + "}", 200},
		"an id of wrong UTF-8":      {"GET /api/v1/gateways/%ff HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 503},
		"a quarantine of NUL":       {"POST /api/v1/quarantine/%ff/replay HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 400},
		"an answer that says much":  {"GET /api/out/ask?" + strings.Repeat("%00", 3000) + "=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 200},
		"a path that leaves itself": {"GET /api/out/../../metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 504},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.raw(t, c.text)
			if r.status != c.status {
				t.Errorf("status %d, want %d: %.300s", r.status, c.status, r.body)
			}
			if r.status != 200 && name != "an unknown method" { // which the library answers itself
				r.problem(r.status)
			}
			for _, inside := range []string{"fasthttp", "fiber", "goroutine", ".go:"} {
				if strings.Contains(string(r.body), inside) {
					t.Errorf("tells of the inside: %s", r.body)
				}
			}
		})
	}
	s.get("/api/out/ask/x").is(http.StatusOK, "")
}

// Two hundred clients at once hold half a request, read nothing, send garbage
// or ask for what nobody answers, each again and again; who behaves is served.
func TestTwoHundredHostileClients(t *testing.T) {
	s := startAlone(t, func(c *api.Config) {
		c.HTTP.ReadTimeout, c.HTTP.WriteTimeout, c.HTTP.AnswerTimeout = time.Second, time.Second, 5*time.Second
	})
	block := json.RawMessage(`["` + strings.Repeat("x", 1<<16) + `"]`)
	s.component(hook.Queries, "large", func(ctx context.Context, _ hook.Request, w *hook.Answer) error {
		for range 500 {
			if err := w.Part(ctx, block); err != nil {
				return err
			}
		}
		return nil
	})
	s.component(hook.Queries, "ask", echo)
	ctx, cancel := context.WithCancel(context.Background())
	var hostile sync.WaitGroup
	attacks := []func(net.Conn){
		func(c net.Conn) { // one byte a time
			for _, b := range []byte("GET /api/out/ask HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("y", 1000)) {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(10 * time.Millisecond) // the pace of the attack
			}
		},
		func(c net.Conn) { // asks for much and takes nothing
			_, _ = io.WriteString(c, "GET /api/out/large HTTP/1.1\r\nHost: localhost\r\n\r\n")
			<-ctx.Done()
		},
		func(c net.Conn) {
			_, _ = io.WriteString(c, strings.Repeat("\xff\x00GET", 1000))
		},
		func(c net.Conn) { // many requests that nobody answers
			_, _ = io.WriteString(c, strings.Repeat("GET /api/out/nobody HTTP/1.1\r\nHost: localhost\r\n\r\n", 50))
			_, _ = io.Copy(io.Discard, c)
		},
		func(c net.Conn) {
			_, _ = io.WriteString(c, "PUT /api/in/nobody HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat(`{"payload":`, 1000))
			_, _ = io.Copy(io.Discard, c)
		},
	}
	for i := range 200 {
		hostile.Go(func() {
			for ctx.Err() == nil {
				c, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.server.Addr())
				if err != nil {
					return
				}
				stop := context.AfterFunc(ctx, func() { _ = c.Close() })
				attacks[i%len(attacks)](c)
				_ = c.Close()
				stop()
			}
		})
	}
	slowest := time.Duration(0)
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		begin := time.Now()
		s.get("/healthz").is(http.StatusOK, "")
		s.get("/api/out/ask/x").is(http.StatusOK, "")
		slowest = max(slowest, time.Since(begin))
	}
	if slowest > 5*time.Second {
		t.Errorf("a client that behaves waited %v", slowest)
	}
	t.Logf("slowest %v", slowest)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapInuse > 512<<20 {
		t.Errorf("%d MiB of heap", m.HeapInuse>>20)
	}
	cancel()
	hostile.Wait()
	await(t, "all connections are let go of", func() bool {
		return strings.Contains(string(s.get("/metrics").body), "wattline_api_connections_open 1\n") && strings.Contains(string(s.get("/metrics").body), "wattline_api_questions_waiting 0\n")
	})
}

func TestAClientThatTakesNothingIsCutOff(t *testing.T) {
	s := start(t, func(c *api.Config) { c.HTTP.WriteTimeout = 300 * time.Millisecond })
	ended := make(chan error, 1)
	block := json.RawMessage(`["` + strings.Repeat("x", 1<<20-10) + `"]`)
	s.component(hook.Queries, "endless", func(ctx context.Context, _ hook.Request, w *hook.Answer) error {
		for n := range 1000 {
			if err := w.Part(ctx, block); err != nil {
				ended <- fmt.Errorf("after %d parts: %w", n, err)
				return err
			}
		}
		ended <- nil
		return nil
	})
	c := s.dial(t)
	if _, err := io.WriteString(c, "GET /api/out/endless HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	await(t, "the api lets go of the question", func() bool {
		text := string(s.get("/metrics").body)
		return strings.Contains(text, "wattline_api_questions_waiting 0\n") && strings.Contains(text, "wattline_api_connections_open 1\n") &&
			strings.Contains(text, `wattline_api_requests_total{route="/api/out/*",status="200"}`)
	})
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the component was asked for all of it")
		}
	case <-time.After(5 * time.Second):
		t.Error("the component still waits for somebody to ask")
	}
	if n, err := io.Copy(io.Discard, c); n > 100<<20 || err == nil && n == 0 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestQuestionsUnderWayAreBounded(t *testing.T) {
	s := start(t, func(c *api.Config) { c.HTTP.Questions, c.HTTP.AnswerTimeout = 5, time.Second })
	s.put("/api/in/nobody", `{"payload":1,"subtopics":["a","b","c","d","e","f"]}`).problem(http.StatusServiceUnavailable, "too many questions")
	var done sync.WaitGroup
	done.Go(func() {
		s.put("/api/in/nobody", `{"payload":1,"subtopics":["a","b","c","d","e"]}`).is(http.StatusGatewayTimeout, "")
	})
	await(t, "all places are taken", func() bool { return strings.Contains(string(s.get("/metrics").body), "questions_waiting 5\n") })
	r := s.get("/api/out/nobody")
	if r.problem(http.StatusServiceUnavailable, "too many questions"); r.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", r.header.Get("Retry-After"))
	}
	done.Wait()
	s.get("/api/out/nobody").problem(http.StatusGatewayTimeout)
}

func TestConnectionsAreBounded(t *testing.T) {
	s := start(t, func(c *api.Config) { c.HTTP.Connections, c.HTTP.ReadTimeout = 5, time.Second })
	for range 5 {
		c := s.dial(t)
		if _, err := io.WriteString(c, "GET /"); err != nil {
			t.Fatal(err)
		}
	}
	if r := s.raw(t, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); r.status != http.StatusServiceUnavailable {
		t.Errorf("status %d beyond the limit", r.status)
	}
	await(t, "half requests are given up", func() bool {
		return s.raw(t, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").status == http.StatusOK
	})
}
