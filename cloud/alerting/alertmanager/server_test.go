package alertmanager_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

// posted is one alert as the receiver got it.
type posted struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    string            `json:"startsAt"`
	EndsAt      string            `json:"endsAt"`
	Generator   string            `json:"generatorURL"`

	starts, ends, at time.Time
}

func (p posted) firing() bool { return p.ends.After(p.at) }

// receiver is shaped as Alertmanager's API v2 and stricter: whatever it does not
// know is a mistake of the test.
type receiver struct {
	*httptest.Server

	t  *testing.T
	mu sync.Mutex // guards what follows
	// answer may take the place of 200; nil for alerts that are taken.
	answer func(w http.ResponseWriter, r *http.Request) bool
	pushes [][]posted
	header []http.Header
	came   chan struct{}
}

var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

func newReceiver(t *testing.T, serve func(http.Handler) *httptest.Server) *receiver {
	t.Helper()
	r := &receiver{t: t, came: make(chan struct{}, 1000)}
	if serve == nil {
		serve = httptest.NewServer
	}
	r.Server = serve(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return // the pusher went away
	}
	r.mu.Lock()
	r.header = append(r.header, q.Header.Clone())
	answer := r.answer
	r.mu.Unlock()
	defer func() { r.came <- struct{}{} }()
	if answer != nil && answer(w, q) {
		return
	}
	if q.Method != http.MethodPost || q.URL.Path != "/am/api/v2/alerts" || q.Header.Get("Content-Type") != "application/json" {
		r.t.Errorf("%s %s %s", q.Method, q.URL, q.Header.Get("Content-Type"))
	}
	var alerts []posted
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	if err := d.Decode(&alerts); err != nil {
		r.t.Errorf("body: %v", err)
	}
	seen := make(map[string]bool)
	for k := range alerts {
		if err := alerts[k].check(time.Now()); err != nil {
			r.t.Errorf("alert %+v: %v", alerts[k], err)
		}
		if key := fmt.Sprint(alerts[k].Labels); seen[key] {
			r.t.Errorf("%s is twice in one push", key)
		} else {
			seen[key] = true
		}
	}
	r.mu.Lock()
	r.pushes = append(r.pushes, alerts)
	r.mu.Unlock()
}

func (p *posted) check(now time.Time) error {
	p.at = now
	var err error
	if p.starts, err = time.Parse(time.RFC3339Nano, p.StartsAt); err != nil {
		return err
	}
	if p.ends, err = time.Parse(time.RFC3339Nano, p.EndsAt); err != nil {
		return err
	}
	if p.ends.Before(p.starts) {
		return fmt.Errorf("it ends before it starts")
	}
	if len(p.Labels) == 0 || p.Labels["alertname"] == "" {
		return fmt.Errorf("no name")
	}
	for _, set := range []map[string]string{p.Labels, p.Annotations} {
		for name, value := range set {
			if !labelName.MatchString(name) || value == "" || !utf8.ValidString(value) {
				return fmt.Errorf("%s=%q", name, value)
			}
		}
	}
	if u, err := url.Parse(p.Generator); err != nil || u.Host == "" {
		return fmt.Errorf("generator %q", p.Generator)
	}
	return nil
}

func (r *receiver) respond(answer func(w http.ResponseWriter, r *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// status answers with a status and text.
func status(code int, text string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, text, code)
		return true
	}
}

// next waits for the next request.
func (r *receiver) next() {
	r.t.Helper()
	select {
	case <-r.came:
	case <-time.After(10 * time.Second):
		r.t.Fatal("nothing is pushed")
	}
}

func (r *receiver) last() []posted {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.pushes) == 0 {
		return nil
	}
	return r.pushes[len(r.pushes)-1]
}

func (r *receiver) all() [][]posted {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([][]posted(nil), r.pushes...)
}
