package alertmanager_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wattline/wattline/cloud/alerting/alertmanager"
	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is what fires.
type house struct {
	mu     sync.Mutex // guards alerts
	alerts []contract.Alert
}

func (h *house) set(alerts ...contract.Alert) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.alerts = alerts
}

func (h *house) state() []contract.Alert {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]contract.Alert(nil), h.alerts...)
}

var since = device.MicrosOf(time.Now().Add(-10 * time.Minute))

func overPower(n int) contract.Alert {
	value := 2431.7
	id, err := device.Parse(fmt.Sprintf("sp_f2.w%d", n))
	if err != nil {
		panic(err)
	}
	return contract.Alert{
		ID: fmt.Sprintf("over-power/%v/1", id), Rule: "over-power", Severity: contract.Critical, Subject: id.String(), Device: id,
		Gateway: "edge-f2", Floor: new(2), Label: "Küche\r\n\xff", State: contract.Firing, Since: since, Fired: since.Add(time.Second),
		Value: &value, Unit: "W", Summary: "It draws too much.", Advice: "Look there.",
	}
}

func resolved(a contract.Alert) contract.Alert {
	a.State, a.Ended = contract.Resolved, since.Add(time.Minute)
	return a
}

// start runs a pusher; the log is what it says.
func start(t *testing.T, h *house, every time.Duration, change func(*alertmanager.Config), receivers ...*receiver) (*alertmanager.Pusher, *bytes.Buffer) {
	t.Helper()
	cfg := alertmanager.Config{Timeout: 300 * time.Millisecond}
	for _, r := range receivers {
		cfg.URLs = append(cfg.URLs, r.URL+"/am/")
	}
	if change != nil {
		change(&cfg)
	}
	var said bytes.Buffer
	p, err := alertmanager.New(cfg, alertmanager.Options{
		Name: "am", Site: func() string { return "Main Street" }, Link: "https://wattline.example.org/alerts",
		Log: slog.New(slog.NewJSONHandler(&said, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	p.SetEvery(every)
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { _ = p.Run(ctx, h.state) })
	t.Cleanup(func() {
		cancel()
		done.Wait()
	})
	return p, &said
}

// until polls.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestWhatFiresIsPushedAgainWithOneIdentity(t *testing.T) {
	r, h := newReceiver(t, nil), &house{}
	h.set(overPower(1))
	start(t, h, 50*time.Millisecond, nil, r)
	for range 4 {
		r.next()
	}
	pushes := r.all()
	first, last := pushes[0][0], pushes[3][0]
	want := map[string]string{
		"alertname": "over-power", "severity": "critical", "subject": "sp_f2.w1", "device": "sp_f2.w1", "gateway": "edge-f2", "floor": "2", "site": "Main Street",
	}
	if fmt.Sprint(last.Labels) != fmt.Sprint(want) || fmt.Sprint(first.Labels) != fmt.Sprint(want) {
		t.Errorf("labels %v, want %v", last.Labels, want)
	}
	if got := fmt.Sprint(last.Annotations); got != "map[advice:Look there. place:Küche summary:It draws too much. value:2432 W]" {
		t.Errorf("annotations %s", got)
	}
	if !last.starts.Equal(since.Time()) || last.StartsAt != first.StartsAt {
		t.Errorf("it starts at %s, then %s, want %v", first.StartsAt, last.StartsAt, since.Time())
	}
	if left := last.ends.Sub(last.at); left < 100*time.Millisecond || left > 200*time.Millisecond {
		t.Errorf("it counts %v longer, want four periods of 50 ms", left)
	}
}

func TestATrialIsPushedBesideTheStateAndSaysWhoDoesNotTakeIt(t *testing.T) {
	good, bad := newReceiver(t, nil), newReceiver(t, nil)
	p, _ := start(t, &house{}, time.Hour, nil, good, bad)
	trial := notify.Trial("am", "ada", device.MicrosOf(time.Now()))
	if err := p.Try(t.Context(), trial); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*receiver{good, bad} {
		got := 0
		for _, push := range r.all() {
			for _, a := range push {
				if a.Labels["alertname"] == "trial" && strings.Contains(a.Annotations["summary"], "ada") && a.ends.After(time.Now().Add(4*time.Minute)) {
					got++
				}
			}
		}
		if got != 1 {
			t.Errorf("%d trials in %+v", got, r.all())
		}
	}
	bad.respond(status(http.StatusUnauthorized, "who are you?"))
	err := p.Try(t.Context(), trial)
	if err == nil || !strings.Contains(err.Error(), "401") || !strings.Contains(err.Error(), bad.Listener.Addr().String()) || strings.Contains(err.Error(), good.Listener.Addr().String()) {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsOverIsPushedAsResolvedAsLongAsItIsKnown(t *testing.T) {
	r, h := newReceiver(t, nil), &house{}
	h.set(overPower(1))
	p, _ := start(t, h, 50*time.Millisecond, nil, r)
	r.next()
	h.set(resolved(overPower(1)))
	p.Poke()
	until(t, "resolved, pushed three times", func() bool {
		n := 0
		for _, push := range r.all() {
			for _, a := range push {
				if !a.firing() && a.ends.Equal(since.Add(time.Minute).Time()) && a.starts.Equal(since.Time()) {
					n++
				}
			}
		}
		return n >= 3
	})
	h.set()
	until(t, "forgotten", func() bool { n := len(r.all()); return n > 0 && len(h.state()) == 0 })
}

func TestAChangeIsPushedAtOnceAndAlone(t *testing.T) {
	r, h := newReceiver(t, nil), &house{}
	h.set(overPower(1))
	p, _ := start(t, h, time.Hour, nil, r)
	r.next()
	h.set(overPower(1), overPower(2))
	p.Poke()
	r.next() // and not in an hour
	if last := r.last(); len(last) != 1 || last[0].Labels["subject"] != "sp_f2.w2" {
		t.Errorf("pushed %v, want the new one alone", last)
	}
	// A hundred changes in quick succession are few requests.
	for n := range 100 {
		h.set(overPower(n + 3))
		p.Poke()
		time.Sleep(3 * time.Millisecond)
	}
	until(t, "the last one", func() bool { last := r.last(); return len(last) > 0 && last[0].Labels["subject"] == "sp_f2.w102" })
	if n := len(r.all()); n > 5 {
		t.Errorf("%d requests", n)
	}
}

func TestAnAlertThatComesBackIsNotResolvedByItsPast(t *testing.T) {
	r, h := newReceiver(t, nil), &house{}
	again := overPower(1)
	again.ID, again.Since = "over-power/sp_f2.w1/2", since.Add(2*time.Minute)
	// A source that repeats itself may give both the same beginning.
	same := overPower(2)
	same.ID = "over-power/sp_f2.w2/2"
	// Of what was over twice the last time counts.
	second := resolved(overPower(5))
	second.ID, second.Since, second.Ended = "over-power/sp_f2.w5/2", since.Add(2*time.Minute), since.Add(3*time.Minute)
	late, little := overPower(3), overPower(4)
	late.Late, little.Severity = true, contract.Info
	h.set(again, resolved(overPower(1)), resolved(overPower(2)), same, second, resolved(overPower(5)), late, little)
	start(t, h, time.Hour, nil, r)
	r.next()
	got := map[string]bool{}
	for _, a := range r.last() {
		got[fmt.Sprint(a.Labels["subject"], " ", a.firing(), " ", a.ends.Equal(second.Ended.Time()))] = true
	}
	if len(got) != 3 || !got["sp_f2.w1 true false"] || !got["sp_f2.w2 true false"] || !got["sp_f2.w5 false true"] {
		t.Errorf("pushed %v, want the ones that fire and the newest that is over", got)
	}
}

func TestWhatIsHushedStaysTheSameAlert(t *testing.T) {
	r, h := newReceiver(t, nil), &house{}
	h.set(overPower(1))
	p, _ := start(t, h, time.Hour, nil, r)
	r.next()
	before := r.last()[0]
	a := overPower(1)
	a.State, a.Hushed = contract.Acknowledged, &contract.Hushed{Who: "anna", Reason: "fuse\nordered", At: since}
	h.set(a)
	p.Poke()
	r.next()
	after := r.last()[0]
	if fmt.Sprint(before.Labels) != fmt.Sprint(after.Labels) || !after.firing() || after.Annotations["hushed"] != "acknowledged by anna: fuse ordered" {
		t.Errorf("before %v, after %v", before, after)
	}
}

func TestManyAlertsGoInBoundedRequests(t *testing.T) {
	r, h := newReceiver(t, nil), &house{}
	var many []contract.Alert
	for n := range 1201 {
		many = append(many, overPower(n))
	}
	h.set(many...)
	start(t, h, time.Hour, nil, r)
	for range 3 {
		r.next()
	}
	total := 0
	for _, push := range r.all() {
		total += len(push)
		if len(push) > 500 {
			t.Errorf("%d alerts in one request", len(push))
		}
	}
	if total != 1201 {
		t.Errorf("%d alerts, want 1201", total)
	}
}

func TestAnInstanceThatFailsIsToldAndHoldsUpNoOther(t *testing.T) {
	for name, fault := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"500":      status(500, `"internal\nerror"`),
		"401":      status(401, "who are you"),
		"redirect": elsewhere,
		"silent":   func(_ http.ResponseWriter, q *http.Request) bool { <-q.Context().Done(); return true },
		"slow":     slowly,
		"huge": func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusServiceUnavailable)
			flood(w)
			return true
		},
		"hangs up":  func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) },
		"no header": func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusFound); return true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			good, bad, h := newReceiver(t, nil), newReceiver(t, nil), &house{}
			bad.respond(fault)
			h.set(overPower(1))
			p, said := start(t, h, 100*time.Millisecond, nil, bad, good)
			until(t, "the good one has it", func() bool { return len(good.all()) >= 3 })
			until(t, "the failure is told", func() bool { return p.Status().Failing != 0 })
			if s := p.Status(); !strings.Contains(s.Fault, strings.TrimPrefix(bad.URL, "http://")) || s.Sent == 0 || s.Kind != "alertmanager" {
				t.Errorf("status %+v", s)
			}
			bad.respond(nil)
			until(t, "the bad one has it", func() bool { return len(bad.all()) > 0 })
			until(t, "recovery is told", func() bool { return p.Status().Failing == 0 })
			if n := strings.Count(said.String(), "does not take all"); n != 1 {
				t.Errorf("the failure is logged %d times:\n%s", n, said)
			}
		})
	}
}

// elsewhere sends the pusher to where nobody knows what is pushed.
func elsewhere(w http.ResponseWriter, q *http.Request) bool {
	if q.URL.Path == "/elsewhere" {
		return false // and is told as a mistake
	}
	http.Redirect(w, q, "/elsewhere", http.StatusTemporaryRedirect)
	return true
}

// slowly answers byte by byte, and never to the end.
func slowly(w http.ResponseWriter, q *http.Request) bool {
	w.WriteHeader(http.StatusInternalServerError)
	for q.Context().Err() == nil {
		_, _ = w.Write([]byte("x"))
		_ = http.NewResponseController(w).Flush()
		time.Sleep(5 * time.Millisecond)
	}
	return true
}

func flood(w http.ResponseWriter) {
	for range 1000 {
		if _, err := w.Write(make([]byte, 10_000)); err != nil {
			return
		}
	}
}

func TestSomeRefusedIsCountedAndNotRepeatedInHaste(t *testing.T) {
	r, h := newReceiver(t, nil), &house{}
	r.respond(status(400, `"invalid label set"`))
	h.set(overPower(1))
	p, _ := start(t, h, time.Hour, nil, r)
	until(t, "told", func() bool { return p.Status().Failing != 0 })
	if s := p.Status(); p.Refused() != 1 || !strings.Contains(s.Fault, "invalid label set") || s.Sent == 0 {
		t.Errorf("refused %d, status %+v", p.Refused(), s)
	}
	r.next()
	r.respond(nil)
	before := p.Status().Sent
	h.set(overPower(1), overPower(2))
	p.Poke()
	r.next()
	until(t, "the push is noted", func() bool { return p.Status().Sent > before })
	if last := r.last(); len(last) != 1 {
		t.Errorf("pushed %v, want the new one alone", last)
	}
	if p.Status().Failing == 0 {
		t.Error("the failure is forgotten, though nobody has seen the refused one taken")
	}
}

func TestInstancesAreAskedWithCredentialsOverTLS(t *testing.T) {
	r, h := newReceiver(t, httptest.NewTLSServer), &house{}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*alertmanager.Config){
		"Bearer t0ken":       func(c *alertmanager.Config) { c.CA, c.Token = ca, "t0ken" },
		"Basic YW5uYTpnZWg=": func(c *alertmanager.Config) { c.CA, c.Username, c.Password = ca, "anna", "geh" },
		"":                   func(c *alertmanager.Config) { c.CA = ca },
	} {
		h.set(overPower(1)) // before the first push, which is the only one for an hour
		start(t, h, time.Hour, change, r)
		until(t, want, func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return len(r.header) > 0 && r.header[len(r.header)-1].Get("Authorization") == want
		})
	}
	stranger, _ := start(t, h, time.Hour, nil, r)
	until(t, "an unknown certificate is told", func() bool { return strings.Contains(stranger.Status().Fault, "certificate") })
}

func TestEveryMistakeIsNamed(t *testing.T) {
	text := `
urls: [alertmanager:9093, "http://a@b", "http://am?x=1", "http://am:9093/api/v2/alerts", "http://am:9093", "https://am", "https://am"]
username: "an:na"
password: x
token: "a b"
ca: /nowhere/ca.pem
timeout: 1h
`
	cfg := alertmanager.DefaultConfig()
	err := config.Decode(strings.NewReader(text), "am.yaml", &cfg)
	if err == nil {
		t.Fatal("no mistake found")
	}
	for _, want := range []string{"urls[0]", "urls[1]", "urls[2]", "urls[3]", "urls[4]", "urls[6]", "username", "token", "ca", "timeout"} {
		if !strings.Contains(err.Error(), want+" (line") {
			t.Errorf("%s is not named in\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "a@b") {
		t.Errorf("an address is repeated in %v", err)
	}
	least := alertmanager.Config{URLs: []string{"http://127.0.0.1:9093"}}
	if err := least.Validate(); err != nil {
		t.Errorf("the least: %v", err)
	}
}
