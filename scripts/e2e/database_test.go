package e2e_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// outcome is what the database proxy does with a write.
type outcome int

const (
	served      outcome = iota
	unavailable         // 503, not stored
	busy                // 429 with Retry-After: 1, not stored
	late                // stored, but the answer never comes
	dropped             // stored, but the connection breaks
	halfStored          // 400 partial write: the lines with the poison are not stored, the others are
)

// databaseProxy stands before InfluxDB and behaves as InfluxDB does on a bad
// day, by order.
type databaseProxy struct {
	url string

	mu     sync.Mutex // protects what follows
	decide func(body []byte) outcome
	poison string
	done   map[outcome]int
}

func newDatabaseProxy(t testing.TB, address, target string) *databaseProxy {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	d := &databaseProxy{url: "http://" + address, done: make(map[outcome]int)}
	transport := &http.Transport{DisableKeepAlives: true}
	forward := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport:    transport,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.serve(w, r, forward) }), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		transport.CloseIdleConnections()
	})
	return d
}

// order sets who decides on each write; nil serves all.
func (d *databaseProxy) order(decide func(body []byte) outcome) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.decide = decide
}

// refuse has lines that contain the poison refused; "" refuses none.
func (d *databaseProxy) refuse(poison string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.poison = poison
}

// times is how often an outcome was.
func (d *databaseProxy) times(o outcome) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.done[o]
}

func (d *databaseProxy) judge(body []byte) (what outcome, poison string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.decide != nil {
		what = d.decide(body)
	}
	if what == served && d.poison != "" && bytes.Contains(body, []byte(d.poison)) {
		what = halfStored
	}
	d.done[what]++
	return what, d.poison
}

func (d *databaseProxy) serve(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if !strings.HasSuffix(r.URL.Path, "/write") {
		forward.ServeHTTP(w, r)
		return
	}
	what, poison := d.judge(body)
	switch what {
	case unavailable:
		http.Error(w, `{"error":"engine: cache-max-memory-size exceeded"}`, http.StatusServiceUnavailable)
	case busy:
		w.Header().Set("Retry-After", "1")
		http.Error(w, `{"error":"too many requests"}`, http.StatusTooManyRequests)
	case late:
		forward.ServeHTTP(&nowhere{header: make(http.Header)}, r)
		<-r.Context().Done() // until the client has had enough
	case dropped:
		forward.ServeHTTP(&nowhere{header: make(http.Header)}, r)
		panic(http.ErrAbortHandler)
	case halfStored:
		var good []byte
		for line := range bytes.Lines(body) {
			if !bytes.Contains(line, []byte(poison)) {
				good = append(good, line...)
			}
		}
		if len(good) > 0 {
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(good)), int64(len(good))
			forward.ServeHTTP(&nowhere{header: make(http.Header)}, r)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"code":"invalid","message":"partial write: points refused dropped=1"}`))
	default:
		forward.ServeHTTP(w, r)
	}
}

// nowhere takes an answer that nobody gets.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n *nowhere) WriteHeader(int)             {}
