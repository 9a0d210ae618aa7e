package e2e_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/pki"
)

// outsiders try what they may not, over REST and at the broker. All of it is
// refused, and can be read in the audit log.
func (b *building) outsiders() {
	b.outsideREST()
	b.outsideBroker()
	eventually(b.t, time.Minute, "what was refused is in the audit log", func() bool {
		missing := map[string]bool{"viewer-ana": true, "floor-two": true, boxID(1): true}
		for _, e := range items[audited](b, "/api/v1/audit?result=refused") {
			for who := range missing {
				if strings.Contains(e.Who, who) {
					delete(missing, who)
				}
			}
		}
		return len(missing) == 0
	})
}

func (b *building) outsideREST() {
	secret := func(args ...string) string {
		var made struct {
			Secret string `json:"secret"`
		}
		text := b.wattline(append([]string{"tokens", "create", "--json"}, args...)...)
		if err := json.Unmarshal([]byte(text), &made); err != nil || made.Secret == "" {
			b.t.Fatalf("tokens create says %q (%v)", text, err)
		}
		return made.Secret
	}
	viewer := secret("viewer-ana", "--role", "viewer")
	second := secret("floor-two", "--role", "operator", "--floors", "2")
	old := secret("left-us", "--role", "admin")
	b.wattline("tokens", "delete", "left-us", "--yes")
	const relay, on = "/api/v1/devices/sp_f1.g0/relay", `{"on": true}`
	for name, test := range map[string]struct {
		method, path, token, body string
		want                      int
	}{
		"nobody reads":                     {http.MethodGet, "/api/v1/devices", "", "", http.StatusUnauthorized},
		"a wrong token reads":              {http.MethodGet, "/api/v1/devices", strings.Repeat("x", len(viewer)), "", http.StatusUnauthorized},
		"a deleted token reads":            {http.MethodGet, "/api/v1/devices", old, "", http.StatusUnauthorized},
		"nobody switches as IoToad's did":  {http.MethodPut, "/api/in/sp_command/sp_g0", "", `{"payload": {"status": "ON"}}`, http.StatusUnauthorized},
		"a viewer reads":                   {http.MethodGet, "/api/v1/devices/sp_f1.g0", viewer, "", http.StatusOK},
		"a viewer switches":                {http.MethodPut, relay, viewer, on, http.StatusForbidden},
		"a viewer makes a token":           {http.MethodPost, "/api/v1/tokens", viewer, `{"name": "x", "role": "admin"}`, http.StatusForbidden},
		"an operator switches":             {http.MethodPut, "/api/v1/devices/sp_f2.g0/relay", second, on, http.StatusOK},
		"an operator switches elsewhere":   {http.MethodPut, relay, second, on, http.StatusForbidden},
		"an operator reads another floor":  {http.MethodGet, "/api/v1/devices/sp_f1.g0", second, "", http.StatusForbidden},
		"an operator approves a box":       {http.MethodPost, "/api/v1/gateways/edge-f1/approve", second, `{}`, http.StatusForbidden},
		"an admin relays to the registry":  {http.MethodPut, "/api/in/registry/tokens", b.token, `{"payload": {"verb": "list"}}`, http.StatusForbidden},
		"somebody enrols with a bad token": {http.MethodPost, "/api/v1/enrolments", "", `{"gateway": "edge-f1", "join_token": "nonsense", "csr": "nonsense"}`, http.StatusBadRequest},
	} {
		if got, text := b.ask(test.method, test.path, test.token, test.body); got != test.want {
			b.t.Errorf("%s: %d, want %d: %.300s", name, got, test.want, text)
		}
	}
}

func (b *building) outsideBroker() {
	box := b.boxes[0]
	ca := filepath.Join(b.data, "registry", "ca.pem")
	identity := func() (*tls.Config, error) {
		dir := filepath.Join(box.state(), "enrolment")
		return pki.Files{CA: ca, Cert: filepath.Join(dir, "identity.pem"), Key: filepath.Join(dir, "identity.pem")}.Client()
	}
	var heard atomic.Int64
	var others bus.Message
	broken := make(chan error, 1)
	link := bus.NewLink(bus.Options{
		URL: "tls://" + b.ip + ":8883", ClientID: boxID(1) + "-00000000000000aa", TLS: identity,
		Up: func(ctx context.Context, s *bus.Session) error {
			// Another floor's commands: granted or not, none must come.
			_ = s.Subscribe(ctx, bus.CommandTopic(boxID(2)), func(bus.Message) { heard.Add(1) })
			_ = s.Subscribe(ctx, "gateways/+/status", func(bus.Message) { heard.Add(1) })
			_ = s.Subscribe(ctx, "registry/#", func(bus.Message) { heard.Add(1) })
			return nil
		},
	}, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); broken <- link.Run(ctx) }()
	defer func() { stop(); <-done }()
	patience, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := link.AwaitUp(patience); err != nil {
		b.t.Fatalf("a gateway with its own certificate does not get in: %v", err)
	}
	before := b.counted(time.Time{})["sp_f2.g8"]
	others = bus.Message{
		Topic:   "data/" + boxID(2) + "/influx_data/sp",
		Payload: []byte(`{"data":[{"n":"sp_f2.g99/power","v":1,"u":"W","t":1700000000}]}`),
	}
	_ = link.Publish(patience, others)
	_ = link.Publish(patience, bus.Message{Topic: "registry/site", Payload: []byte("{}"), Retained: true})
	b.wattline("switch", "on", "sp_f2.g8", "--reason", "to be overheard")
	eventually(b.t, 30*time.Second, "readings go on", func() bool { return b.counted(time.Time{})["sp_f2.g8"] > before })
	if n := heard.Load(); n != 0 {
		b.t.Errorf("a gateway heard %d messages that are not its own", n)
	}
	if n := b.counted(time.Time{})["sp_f2.g99"]; n != 0 {
		b.t.Errorf("a gateway published as another: %d readings", n)
	}
	if said := b.wattline("site", "show"); !strings.Contains(said, "Test house") {
		b.t.Errorf("a gateway changed the site: %s", said)
	}
	b.strangers(ca)
}

// strangers are clients without a certificate, or with one of another site.
func (b *building) strangers(ca string) {
	foreign, err := pki.CreateAuthority(filepath.Join(b.dir, "foreign"), "Another house", time.Now())
	if err != nil {
		b.t.Fatal(err)
	}
	key, err := pki.NewKey()
	if err != nil {
		b.t.Fatal(err)
	}
	text, _, err := foreign.Issue(pki.Gateway, boxID(1), &key.PublicKey, nil, time.Now())
	if err != nil {
		b.t.Fatal(err)
	}
	keyText, err := pki.EncodeKey(key)
	if err != nil {
		b.t.Fatal(err)
	}
	b.write("foreign.pem", string(text))
	b.write("foreign.key", string(keyText))
	for name, files := range map[string]pki.Files{
		"without a certificate":           {CA: ca},
		"with a certificate of elsewhere": {CA: ca, Cert: filepath.Join(b.dir, "foreign.pem"), Key: filepath.Join(b.dir, "foreign.key")},
	} {
		link := bus.NewLink(bus.Options{URL: "tls://" + b.ip + ":8883", ClientID: boxID(1) + "-00000000000000ab", TLS: files.Client}, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithTimeout(b.t.Context(), 3*time.Second)
		done := make(chan struct{})
		go func() { defer close(done); _ = link.Run(ctx) }()
		if link.AwaitUp(ctx) == nil {
			b.t.Errorf("somebody %s gets in", name)
		}
		stop()
		<-done
	}
}
