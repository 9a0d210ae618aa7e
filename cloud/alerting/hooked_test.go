package alerting_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/cloud/alerting/post"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/webhook"
)

// target takes webhooks, or does what it is told to instead.
type target struct {
	mu     sync.Mutex // guards what follows
	answer http.HandlerFunc
	asked  int
	taken  map[string]int // by webhook-id
	items  []string
}

func (g *target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	g.mu.Lock()
	g.asked++
	answer := g.answer
	g.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	var m notify.Message
	if err != nil || json.Unmarshal(body, &m) != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.taken[r.Header.Get(webhook.HeaderID)]++
	for _, i := range m.Items {
		g.items = append(g.items, string(i.Event)+" "+i.Alert.Subject)
	}
}

func (g *target) does(answer http.HandlerFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answer = answer
}

func (g *target) times() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked
}

// Whatever a receiver of webhooks does, what happens meanwhile waits for it and
// comes once, in order; the list says what is wrong; and nobody else waits.
func TestWebhooksThatMisbehaveMissNothing(t *testing.T) {
	trickle := func(w http.ResponseWriter, _ *http.Request) { // headers, a byte at a time
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		for _, err = conn.Write([]byte("HTTP/1.1 200 OK\r\nX-A: ")); err == nil; _, err = conn.Write([]byte("a")) {
			time.Sleep(5 * time.Millisecond) // the pace of the slow loris
		}
	}
	status := func(code int, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(code)
		}
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		says   string        // in the list
		most   int           // requests within five minutes
		back   time.Duration // within which it is tried again
	}{
		"429, and asks for ten minutes": {status(429, "Retry-After", "600"), "429", 1, 13 * time.Minute},
		"503, and asks for ever":        {status(503, "Retry-After", "99999999"), "503", 1, 40 * time.Minute},
		"500":                           {status(500), "500", 20, 7 * time.Minute},
		"a redirect":                    {status(301, "Location", "/elsewhere"), "301", 1, 40 * time.Minute},
		"410":                           {status(410), "410", 1, 40 * time.Minute},
		"a slow loris":                  {trickle, "Timeout exceeded", 20, 7 * time.Minute},
		"it hangs up":                   {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF", 20, 7 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &target{taken: make(map[string]int), answer: c.answer}
			misbehaves(t, g, httptest.NewServer(g), c.says, c.most, c.back)
		})
	}
	t.Run("a stranger's certificate", func(t *testing.T) {
		t.Parallel()
		g := &target{taken: make(map[string]int)}
		server := httptest.NewUnstartedServer(g)
		server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
		server.StartTLS()
		t.Cleanup(server.Close)
		p, list := hooked(t, server.URL)
		places := p.places(1)
		p.measure(200, places...)
		p.passes(time.Minute)
		if one := list(); one.Failing == 0 || !strings.Contains(one.Fault, "certificate") || strings.Contains(one.Fault, "path-secret") || g.times() != 0 {
			t.Errorf("%+v, asked %d times", one, g.times())
		}
	})
}

// Whoever has mended a receiver and tries it need not wait until its turn comes:
// what waited goes first, then the trial.
//
// Seen to fail when a trial waits as long as what was refused.
func TestATrialOfAReceiverThatFailedGoesAtOnce(t *testing.T) {
	t.Parallel()
	g := &target{taken: make(map[string]int), answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) }}
	p, _ := hooked(t, httptestServer(t, g.ServeHTTP))
	p.measure(200, p.places(1)...)
	p.passes(time.Minute)
	g.does(nil)
	p.does("receivers", contract.RegistryRequest{Verb: "test", Key: "hook", Who: "ada"})
	p.passes(5 * time.Second)
	g.mu.Lock()
	defer g.mu.Unlock()
	if got := strings.Join(g.items, ", "); got != "began sp_f1.g0, trial site" {
		t.Errorf("it was told %q", got)
	}
}

// hooked is a play with a webhook and an ear beside it, and how the webhook is.
func hooked(t *testing.T, url string) (p *play, list func() notify.Status) {
	t.Helper()
	sender, err := post.New(post.Config{URL: config.Secret(url + "/path-secret"), Timeout: 100 * time.Millisecond}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sender.Close)
	p, ears := newPlay(t, monday, highRule("high", "severity: warning, when: {above: 100}"),
		notify.Receiver{Name: "hook", Kind: "webhook", From: contract.Info, Over: true, Sender: sender},
		notify.Receiver{Name: "ear", Kind: "webhook", From: contract.Info, Over: true})
	t.Cleanup(func() {
		if len(ears[0].got) == 0 {
			t.Error("somebody else was not told")
		}
	})
	return p, func() (one notify.Status) {
		t.Helper()
		var all []notify.Status
		if err := json.Unmarshal(p.does("receivers", contract.RegistryRequest{Verb: "list"}).Content, &all); err != nil {
			t.Fatal(err)
		}
		return all[0]
	}
}

func misbehaves(t *testing.T, g *target, server *httptest.Server, says string, most int, back time.Duration) {
	t.Helper()
	t.Cleanup(server.Close)
	p, list := hooked(t, server.URL)
	places := p.places(3)
	p.measure(200, places[0], places[1])
	p.passes(time.Second)
	p.measure(10, places[0])
	p.measure(200, places[2])
	p.passes(5 * time.Minute)
	one := list()
	if one.Failing == 0 || !one.Flying || one.Waiting != 2 || !strings.Contains(one.Fault, says) || strings.Contains(one.Fault, "path-secret") {
		t.Errorf("the list says %+v", one)
	}
	if n := g.times(); n > most || n == 0 {
		t.Errorf("asked %d times in five minutes, at most %d", n, most)
	}
	g.does(nil)
	p.strides(back, 10*time.Second)
	g.mu.Lock()
	defer g.mu.Unlock()
	if got := strings.Join(g.items, ", "); got != "began sp_f1.g0, began sp_f1.g1, began sp_f1.g2, over sp_f1.g0" {
		t.Errorf("it was told %s", got)
	}
	for id, n := range g.taken {
		if n != 1 {
			t.Errorf("%s was taken %d times", id, n)
		}
	}
	if len(g.taken) != 2 {
		t.Errorf("%d messages", len(g.taken))
	}
	if one := list(); one.Failing != 0 || one.Fault != "" || one.Waiting != 0 {
		t.Errorf("the list says in the end %+v", one)
	}
}
