package post_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/cloud/alerting/post"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ notify.Sender = (*post.Sender)(nil)

var noon = device.MicrosOf(time.Date(2026, 10, 5, 12, 15, 0, 0, time.UTC))

func overPower() contract.Alert {
	watts := 2431.7
	return contract.Alert{
		ID: "over-power/sp_f1.g3/1", Rule: "over-power", Severity: contract.Critical, Subject: "sp_f1.g3", Gateway: "edge-f1", Floor: new(1),
		Label: `Küche "Süd" <&>`, State: contract.Firing, Since: noon.Add(-90 * time.Second), Value: &watts, Unit: "W",
		Summary: `Küche "Süd" <&> (sp_f1.g3) draws 2432 W, more than the 2000 W that it may.`, Advice: "Look what is plugged in there.",
	}
}

func alarm() notify.Message {
	return notify.Message{
		Key: "m-7f3a-12", Receiver: "chat", Site: "Main Street", At: noon, Link: "https://wattline.example.org/alerts",
		Items: []notify.Item{{Event: notify.Began, Alert: overPower()}, {Event: notify.Flaps, Alert: overPower()}},
	}
}

func recovery() notify.Message {
	a := overPower()
	a.State, a.Ended = contract.Resolved, noon.Add(time.Hour)
	m := alarm()
	m.Key, m.At, m.Items = "m-7f3a-13", noon.Add(time.Hour), []notify.Item{{Event: notify.Over, Alert: a}}
	return m
}

// request is what a receiver got.
type request struct {
	header http.Header
	body   string
}

// receiver answers what it is told to, then 204.
type web struct {
	*httptest.Server

	mu      sync.Mutex // guards what follows
	answers []http.HandlerFunc
	got     []request
}

func serve(t *testing.T, start func(http.Handler) *httptest.Server, answers ...http.HandlerFunc) *web {
	t.Helper()
	w := &web{answers: answers}
	w.Server = start(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		w.mu.Lock()
		w.got = append(w.got, request{r.Header.Clone(), string(body)})
		answer := func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusNoContent) }
		if len(w.answers) > 0 {
			answer, w.answers = w.answers[0], w.answers[1:]
		}
		w.mu.Unlock()
		answer(rw, r)
	}))
	t.Cleanup(w.Close)
	return w
}

func (w *web) requests() []request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]request(nil), w.got...)
}

func open(t *testing.T, cfg post.Config) *post.Sender {
	t.Helper()
	s, err := post.New(cfg, berlin)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func berlin() *time.Location {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	return zone
}

// send gives the body that a good receiver gets.
func send(t *testing.T, cfg post.Config, m notify.Message) string {
	t.Helper()
	srv := serve(t, httptest.NewServer)
	cfg.URL = config.Secret(srv.URL)
	if err := open(t, cfg).Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	return srv.requests()[0].body
}

func says(status int, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		http.Error(w, "no_text", status)
	}
}

// fault is what the queue looks at.
type fault interface {
	error
	Refused() bool
}

func TestTheBodyIsTheMessageSignedAndNamed(t *testing.T) {
	secret := webhook.NewSecret()
	srv := serve(t, httptest.NewServer)
	s := open(t, post.Config{URL: config.Secret(srv.URL), Secret: config.Secret(secret), Headers: map[string]config.Secret{"X-Room": "42"}})
	for range 2 {
		if err := s.Send(t.Context(), alarm()); err != nil {
			t.Fatal(err)
		}
	}
	for _, got := range srv.requests() {
		var m notify.Message
		if err := json.Unmarshal([]byte(got.body), &m); err != nil || m.Key != alarm().Key || len(m.Items) != 2 || m.Items[0].Alert.Label != overPower().Label {
			t.Errorf("body %s, %v", got.body, err)
		}
		if got.header.Get("Content-Type") != "application/json" || got.header.Get("X-Room") != "42" || got.header.Get(webhook.HeaderID) != alarm().Key {
			t.Errorf("headers %v", got.header)
		}
		key, _ := webhook.ParseSecret(secret)
		if err := key.Verify(got.header.Get(webhook.HeaderID), got.header.Get(webhook.HeaderTimestamp), got.header.Get(webhook.HeaderSignature), []byte(got.body), time.Now()); err != nil {
			t.Error(err)
		}
	}
	plain := serve(t, httptest.NewServer)
	if err := open(t, post.Config{URL: config.Secret(plain.URL)}).Send(t.Context(), alarm()); err != nil {
		t.Fatal(err)
	}
	if got := plain.requests()[0].header; got.Get(webhook.HeaderSignature) != "" || got.Get(webhook.HeaderID) == "" {
		t.Errorf("without a secret: %v", got)
	}
	if got := send(t, post.Config{}, notify.Message{Key: "a"}); !strings.Contains(got, `"items":[]`) {
		t.Errorf("no items are %s", got)
	}
}

func TestKeysOfAnyKindNameMessages(t *testing.T) {
	ids := map[string]bool{}
	for _, key := range []string{"a/b", "a b", "", strings.Repeat("x", 300), "ok-1"} {
		srv := serve(t, httptest.NewServer)
		s := open(t, post.Config{URL: config.Secret(srv.URL)})
		for range 2 {
			if err := s.Send(t.Context(), notify.Message{Key: key}); err != nil {
				t.Fatal(err)
			}
		}
		got := srv.requests()
		if got[0].header.Get(webhook.HeaderID) != got[1].header.Get(webhook.HeaderID) {
			t.Errorf("%q has two ids", key)
		}
		ids[got[0].header.Get(webhook.HeaderID)] = true
	}
	if len(ids) != 5 {
		t.Errorf("5 keys have %d ids", len(ids))
	}
}

func TestFaultsOfReceivers(t *testing.T) {
	hangUp := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	slow := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil { // headers, byte by byte as it were, without end
			time.Sleep(5 * time.Millisecond)
		}
		w.WriteHeader(http.StatusOK)
	}
	elsewhere := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusPermanentRedirect)
	}
	for name, c := range map[string]struct {
		answers []http.HandlerFunc
		want    string // in the error; empty: it arrives
		refused bool
		tries   int
	}{
		"500 once":      {[]http.HandlerFunc{says(500)}, "", false, 2},
		"500":           {[]http.HandlerFunc{says(500), says(500)}, "500", false, 2},
		"429":           {[]http.HandlerFunc{says(429, "Retry-After", "1"), says(429, "Retry-After", "3600")}, "429", false, 2},
		"400":           {[]http.HandlerFunc{says(400)}, "no_text", true, 1},
		"410":           {[]http.HandlerFunc{says(410)}, "410", true, 1},
		"a redirect":    {[]http.HandlerFunc{elsewhere}, "308", true, 1},
		"silence":       {[]http.HandlerFunc{slow, slow}, "", false, 2},
		"a lost answer": {[]http.HandlerFunc{hangUp}, "", false, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, httptest.NewServer, c.answers...)
			s := open(t, post.Config{URL: config.Secret(srv.URL), Timeout: 300 * time.Millisecond})
			err := s.Send(t.Context(), alarm())
			if name == "silence" {
				if err == nil {
					t.Error("no error from one who never answers")
				}
			} else if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if f, is := errors.AsType[fault](err); err != nil && (!is || f.Refused() != c.refused) {
				t.Errorf("got %v, refused should be %v", err, c.refused)
			}
			got := srv.requests()
			if len(got) != c.tries {
				t.Fatalf("%d tries, want %d", len(got), c.tries)
			}
			for _, r := range got {
				if r.header.Get(webhook.HeaderID) != alarm().Key || r.body != got[0].body {
					t.Error("the second try is another message")
				}
			}
			if later, is := errors.AsType[*webhook.Error](err); name == "429" && (!is || later.RetryAfter() != time.Hour) {
				t.Errorf("the time that the receiver asks for is lost: %v", err)
			}
		})
	}
}

func TestAStrangersCertificateIsNoReceiver(t *testing.T) {
	srv := serve(t, httptest.NewTLSServer)
	err := open(t, post.Config{URL: config.Secret(srv.URL + "/secret-path")}).Send(t.Context(), alarm())
	if err == nil || !strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), "secret-path") {
		t.Errorf("got %v", err)
	}
	if f, is := errors.AsType[fault](err); !is || f.Refused() {
		t.Errorf("%v is taken for a refusal", err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(t, post.Config{URL: config.Secret(srv.URL), CA: ca}).Send(t.Context(), alarm()); err != nil {
		t.Errorf("with its authority: %v", err)
	}
}

func TestSendEndsWithItsContext(t *testing.T) {
	srv := serve(t, httptest.NewServer, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := open(t, post.Config{URL: config.Secret(srv.URL)}).Send(ctx, alarm()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestTemplatesAreTriedBeforeTheyAreUsed(t *testing.T) {
	for name, c := range map[string]struct{ text, kind, want string }{
		"does not parse":              {"{{.Site", "", "unclosed"},
		"no such member":              {"{{json .Place}}", "", "Place"},
		"no such function":            {"{{yell .Site}}", "", "yell"},
		"quotation marks around":      {`{"text": "{{.Site}}"}`, "", "JSON"},
		"a comma too many":            {`[{{range .Items}}{{json .Event}},{{end}}]`, "", "JSON"},
		"an item that is not there":   {`{{json (index .Items 0).Event}}`, "", "index"},
		"too long":                    {`{{range .Items}}{{range .Alert.Covers}}{{printf "%1000d" 1}}{{end}}{{end}}`, "text/plain", "kB"},
		"a loop without end":          {`{{range .At}}{{end}}`, "text/plain", "turns"},
		"a template that calls twice": {`{{define "a"}}{{if lt (len .) 60}}{{template "a" (print . "x")}}{{template "a" (print . "x")}}{{end}}{{end}}{{template "a" "x"}}`, "text/plain", "turns"},
		"a template without end":      {`{{define "a"}}{{template "a" .}}{{end}}{{template "a" .}}`, "text/plain", "template"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := post.Config{URL: "http://127.0.0.1:1", Template: c.text, ContentType: c.kind}
			began := time.Now()
			err := cfg.Validate()
			if err == nil || !strings.HasPrefix(err.Error(), "template: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if took := time.Since(began); took > time.Minute { // a quarter of a second, or for ever; much slower with the race detector on a busy machine
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestWhatTemplatesCanSay(t *testing.T) {
	for text, want := range map[string]string{
		`{{headline .}}`:                                      `Critical: Küche "Süd" <&> (sp_f1.g3) draws 2432 W, more than the 2000 W that it may, floor 1 (+1 more) – Main Street`,
		`{{upper .Site}} {{trunc 5 .Site}}`:                   "MAIN STREET Main…",
		`{{time .At}} {{time .At "15:04"}}`:                   "Mon 5 Oct 2026, 14:15 CEST 14:15",
		`{{with index .Items 0}}{{json .Alert.Label}}{{end}}`: `"Küche \"Süd\" <&>"`,
		`{{with index .Items 0}}{{slack .Alert.Label}} {{where .Alert}} {{value .Alert}} {{title .}} {{fires .Event}}{{end}}`: `Küche "Süd" &lt;&amp;&gt; Küche "Süd" <&> (sp_f1.g3), floor 1 2432 W Critical true`,
		`{{gravest .}} {{len .Items}}`: "critical 2",
	} {
		cfg := post.Config{Template: "{{if .Items}}" + text + "{{end}}", ContentType: "text/plain"}
		if got := send(t, cfg, alarm()); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", text, got, want)
		}
	}
	if got := send(t, post.Config{Template: "{{gravest .}}", ContentType: "text/plain"}, recovery()); got != "over" {
		t.Errorf("gravest of a recovery: %s", got)
	}
}

func TestAMessageThatTheTemplateDoesNotSuitIsRefused(t *testing.T) {
	s := open(t, post.Config{URL: "http://127.0.0.1:1", Template: `{{if eq .Receiver "chat"}}no json{{else}}{}{{end}}`})
	err := s.Send(t.Context(), alarm())
	if f, is := errors.AsType[fault](err); !is || !f.Refused() {
		t.Errorf("got %v", err)
	}
}

func TestEveryMistakeIsNamed(t *testing.T) {
	text := `
url: ftp://x/secret-path
secret: abc
ca: /nowhere/ca.pem
headers: {Content-Type: a, "b c": d, X-Y: "1\r\n2", x-y: z}
content_type: json
template: x
template_file: /nowhere/t
timeout: 1h
`
	cfg := post.DefaultConfig()
	err := config.Decode(strings.NewReader(text), "post.yaml", &cfg)
	if err == nil {
		t.Fatal("no mistake found")
	}
	for _, want := range []string{"url", "secret", "ca", "headers", "headers.Content-Type", "headers.X-Y", "headers.x-y", "content_type", "template_file", "timeout"} {
		if !strings.Contains(err.Error(), want+" (line") {
			t.Errorf("%s is not named in\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "secret-path") {
		t.Errorf("a secret is told in\n%v", err)
	}
	for name, c := range map[string]struct {
		cfg  post.Config
		want string
	}{
		"no address":         {post.Config{}, "url:"},
		"a password in open": {post.Config{URL: "http://10.0.0.1/x", Headers: map[string]config.Secret{"authorization": "Bearer x"}}, "headers.authorization:"},
		"the least":          {post.Config{URL: "http://10.0.0.1/x"}, ""},
	} {
		if err := c.cfg.Validate(); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	if shown := fmt.Sprintf("%+v", post.Config{URL: "http://x/secret-path", Headers: map[string]config.Secret{"A": "geheim"}}); strings.Contains(shown, "secret-path") || strings.Contains(shown, "geheim") {
		t.Errorf("printed, the settings show %s", shown)
	}
}
