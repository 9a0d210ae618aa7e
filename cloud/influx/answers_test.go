package influx_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/influx"
	"github.com/wattline/wattline/cloud/influx/influxtest"
)

// The answers of InfluxDB 2.x, of its cloud and of what may stand in between;
// those of 1.8 come from the real one in write_test.go.
func TestAnswersToWritesAreToldApart(t *testing.T) {
	v1 := http.Header{"X-Influxdb-Version": {"1.8.10"}}
	v2 := http.Header{"X-Influxdb-Version": {"v2.7.9"}, "X-Platform-Error-Code": {"x"}, "Content-Type": {"application/json; charset=utf-8"}}
	with := func(h http.Header, key, value string) http.Header {
		h = h.Clone()
		h.Set(key, value)
		return h
	}
	date := time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat)
	for name, test := range map[string]struct {
		status int
		header http.Header
		body   string
		want   verdict
		wait   time.Duration // RetryAfter, to within 5 s
		words  string
	}{
		"2.x cannot parse":        {400, v2, `{"code":"invalid","message":"unable to parse 'x': missing fields"}`, verdict{refused: true}, 0, "missing fields"},
		"2.x type conflict":       {422, v2, `{"code":"unprocessable entity","message":"failure writing points to database: partial write: field type conflict: dropped=1"}`, verdict{refused: true}, 0, "field type conflict"},
		"2.x beyond retention":    {422, v2, `{"code":"unprocessable entity","message":"partial write: points beyond retention policy dropped=1"}`, verdict{refused: true, expired: true}, 0, "beyond"},
		"2.7 beyond retention":    {422, v2, `{"code":"unprocessable entity","message":"partial write: dropped 1 points outside retention policy of duration 1h0m0s"}`, verdict{refused: true, expired: true}, 0, "outside"},
		"2.x wrong token":         {401, v2, `{"code":"unauthorized","message":"unauthorized access"}`, verdict{operator: true}, 0, "unauthorized access"},
		"2.x no right":            {403, v2, `{"code":"forbidden","message":"insufficient permissions for write"}`, verdict{operator: true}, 0, "insufficient"},
		"2.x too many":            {429, with(v2, "Retry-After", "17"), `{"code":"too many requests","message":"slow"}`, verdict{}, 17 * time.Second, "slow"},
		"2.x away":                {503, with(v2, "Retry-After", date), `{"code":"unavailable","message":"later"}`, verdict{}, 90 * time.Second, "later"},
		"asks for a year":         {503, with(v2, "Retry-After", "31536000"), ``, verdict{}, time.Hour, "no reason"},
		"asks for the past":       {503, with(v2, "Retry-After", "Mon, 02 Jan 2006 15:04:05 GMT"), ``, verdict{}, 0, "503"},
		"asks for nonsense":       {503, with(v2, "Retry-After", "-1 or so"), ``, verdict{}, 0, "503"},
		"2.x internal error":      {500, v2, `{"code":"internal error","message":"unexpected error writing points"}`, verdict{}, 0, "unexpected error"},
		"2.x request cut":         {400, v2, `{"code":"invalid","message":"unable to read data: unexpected EOF"}`, verdict{operator: true}, 0, "EOF"},
		"1.8 throttled":           {503, v1, "request throttled, queue full", verdict{}, 0, "queue full"},
		"1.8 request cut":         {400, v1, `{"error":"unexpected EOF"}`, verdict{operator: true}, 0, "EOF"},
		"1.8 time-out":            {500, v1, `{"error":"timeout"}`, verdict{}, 0, "timeout"},
		"1.8 series limit":        {400, v1, `{"error":"partial write: max-series-per-database limit exceeded: (50) dropped=80"}`, verdict{operator: true}, 0, "limit exceeded"},
		"1.8 values limit":        {400, v1, `{"error":"partial write: max-values-per-tag limit exceeded (100001/100000): measurement=\"m\" tag=\"id\" value=\"x\" dropped=1"}`, verdict{operator: true}, 0, "limit exceeded"},
		"1.8 shard goes away":     {400, v1, `{"error":"partial write: shard 3 is pending deletion dropped=4"}`, verdict{operator: true}, 0, "pending deletion"},
		"a line that says so":     {400, v1, `{"error":"partial write: field type conflict: input field \"value\" on measurement \"timeout\" is type float, already exists as type integer dropped=1"}`, verdict{refused: true}, 0, "timeout"},
		"a line that is not old":  {400, v1, `{"error":"unable to parse 'beyond\\ retention\\ policy v=\"beyond retention policy\"'"}`, verdict{refused: true}, 0, "unable to parse"},
		"1.8 disk full":           {500, v1, `{"error":"engine: error writing WAL entry: write /x: no space left on device"}`, verdict{operator: true}, 0, "no space"},
		"a proxy's bad request":   {400, http.Header{}, "<html>400 The plain HTTP request was sent to HTTPS port</html>", verdict{operator: true}, 0, "plain HTTP"},
		"a proxy's bad gateway":   {502, http.Header{}, "<html>Bad Gateway</html>", verdict{}, 0, "Bad Gateway"},
		"a proxy's login":         {302, http.Header{"Location": {"/ping"}}, "", verdict{operator: true}, 0, "302"},
		"a yes of somebody else":  {200, http.Header{}, "<html>Welcome</html>", verdict{operator: true}, 0, "no InfluxDB"},
		"error of 100 MB":         {400, v1, `{"error":"unable to parse 'x`, verdict{refused: true}, 0, "400"},
		"error cut in the middle": {400, with(v1, "X-Influxdb-Error", "unable to parse 'x'"), `{"error":"unable to pa`, verdict{refused: true}, 0, "unable to parse 'x'"},
		"control characters":      {400, v1, `{"error":"unable to parse 'x\u001b[31m\n\n'"}`, verdict{refused: true}, 0, "'x [31m  '"},
		"a status of no kind":     {799, http.Header{}, "", verdict{}, 0, "799"},
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int64
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/ping" {
					w.WriteHeader(http.StatusNoContent) // where the redirect leads
					return
				}
				requests.Add(1)
				_, _ = io.Copy(io.Discard, r.Body)
				maps.Copy(w.Header(), test.header)
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
				if name == "error of 100 MB" {
					if n, _ := io.Copy(w, io.LimitReader(endless{}, 100<<20)); n > 20<<20 {
						t.Errorf("%d bytes of an error were taken", n)
					}
				}
			}))
			t.Cleanup(s.Close)
			c := connect(t, &influxtest.Server{URL: s.URL})
			err := c.Write(t.Context(), "sp", []byte("m value=1 1\n"))
			if err == nil {
				t.Fatal("no error")
			}
			if got := verdictOf(t, err); got != test.want {
				t.Errorf("got %+v, want %+v (%v)", got, test.want, err)
			}
			e, _ := errors.AsType[*influx.Error](err)
			if d := e.RetryAfter() - test.wait; d < -5*time.Second || d > 5*time.Second {
				t.Errorf("retry after %v, want %v", e.RetryAfter(), test.wait)
			}
			if !strings.Contains(err.Error(), test.words) || len(err.Error()) > 1500 {
				t.Errorf("got %.1600q, want words %q and not many more", err, test.words)
			}
			if n := requests.Load(); n != 1 {
				t.Errorf("%d requests, want 1: nobody asked for a retry", n)
			}
		})
	}
}

// endless is a text that goes on and on.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// TestBrokenConnectionsAreNotNow lets a server that speaks no HTTP misbehave.
func TestBrokenConnectionsAreNotNow(t *testing.T) {
	for name, behave := range map[string]func(net.Conn){
		"closes at once":     func(net.Conn) {},
		"half a status line": func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 20") },
		"garbage":            func(c net.Conn) { _, _ = io.WriteString(c, "\x00\x01\x02 hello\r\n\r\n") },
		"half a header":      func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\nX-Inf") },
		"headers without end": func(c net.Conn) {
			_, _ = io.Copy(c, io.MultiReader(strings.NewReader("HTTP/1.1 204 x\r\nA: "), endless{}))
		},
		"error without end":   func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 500 x\r\nContent-Length: 100\r\n\r\nhalf") },
		"error drop by drop":  func(c net.Conn) { drip(c, "HTTP/1.1 500 x\r\nContent-Length: 100000\r\n\r\n") },
		"nothing at all":      func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
		"100 without end":     func(c net.Conn) { repeat(c, "HTTP/1.1 100 Continue\r\n\r\n") },
		"closes with a reset": func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) },
		"an answer to nothing": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\nHTTP/1.1 204 y\r\n\r\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
					_, _ = conn.Read(make([]byte, 4096))
					behave(conn)
					_ = conn.Close()
				}
			}()
			t.Cleanup(func() { _ = l.Close(); <-done })
			c := connect(t, &influxtest.Server{URL: "http://" + l.Addr().String()}, func(cfg *influx.Config) { cfg.WriteTimeout = time.Second })
			begin := time.Now()
			err = c.Write(t.Context(), "sp", []byte("m value=1 1\n"))
			if err == nil {
				t.Fatal("no error")
			}
			if got, want := verdictOf(t, err), (verdict{}); got != want {
				t.Errorf("got %+v, want %+v (%v)", got, want, err)
			}
			if d := time.Since(begin); d > 3*time.Second {
				t.Errorf("took %v with a limit of 1s", d)
			}
			c.Close()
		})
	}
}

// TestTooLargeIsHeardFromAServerThatHangsUp has a server that answers 413 from
// the header alone and closes, which on the wire is a reset.
func TestTooLargeIsHeardFromAServerThatHangsUp(t *testing.T) {
	const limit = 1_500_000
	var stored atomic.Int64
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				for {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					if req.ContentLength > limit {
						_, _ = io.WriteString(conn, "HTTP/1.1 413 too large\r\nX-Influxdb-Version: v2.7.9\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
						return
					}
					if req.Header.Get("Expect") != "" {
						_, _ = io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
					}
					body, _ := io.ReadAll(req.Body)
					stored.Add(int64(bytes.Count(body, []byte("\n"))))
					_, _ = io.WriteString(conn, "HTTP/1.1 204 yes\r\n\r\n")
				}
			})
		}
	})
	c := connect(t, &influxtest.Server{URL: "http://" + l.Addr().String()})
	t.Cleanup(func() { c.Close(); _ = l.Close(); serving.Wait() })
	const lines = 100_000 // about 8 MB
	for n := range 5 {
		if err := c.Write(t.Context(), "sp", readings(lines, 1_700_000_000_000_000)); err != nil {
			t.Fatal(err)
		}
		if got := stored.Load(); got != int64(n+1)*lines {
			t.Fatalf("%d lines stored, want %d", got, (n+1)*lines)
		}
	}
}

// TestDeadConnectionIsNoError has a server that hangs up on every second
// request of a connection, as a restarted one behind a proxy does.
func TestDeadConnectionIsNoError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				for n := range 2 {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, req.Body)
					if n == 0 {
						_, _ = io.WriteString(conn, "HTTP/1.1 204 yes\r\n\r\n")
					}
				}
			})
		}
	})
	c := connect(t, &influxtest.Server{URL: "http://" + l.Addr().String()})
	t.Cleanup(func() { c.Close(); _ = l.Close(); serving.Wait() })
	for range 10 {
		if err := c.Write(t.Context(), "sp", []byte("m value=1 1\n")); err != nil {
			t.Fatal(err)
		}
	}
}

func drip(c net.Conn, start string) {
	_, err := io.WriteString(c, start)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for err == nil {
		<-tick.C
		_, err = io.WriteString(c, "x")
	}
}

func repeat(c net.Conn, text string) {
	var err error
	for err == nil {
		_, err = io.WriteString(c, text)
	}
}

func TestServerThatComesBackIsUsedAgain(t *testing.T) {
	s := influxtest.StartEmbedded(t, nil)
	c := connect(t, s)
	database := influxtest.Database(t)
	mustWrite(t, c, database, "m value=1 1\n")
	pid := s.Embedded.PID()
	kill(t, pid)
	waitFor(t, func() bool {
		err := c.Write(t.Context(), database, []byte("m value=2 2\n"))
		if err != nil {
			if got, want := verdictOf(t, err), (verdict{}); got != want {
				t.Fatalf("while away: got %+v, want %+v (%v)", got, want, err)
			}
		}
		return err == nil
	})
	if got := mustCount(t, c, database, "m"); got != 2 {
		t.Errorf("%d points, want 2", got)
	}
}
