package alerting_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/alerting"
	"github.com/wattline/wattline/cloud/alerting/mail"
	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/cloud/alerting/post"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
)

const receiverRules = `rules:
- {name: over-power, severity: critical, signal: power, when: {above_max_power: 1}, summary: "{label} draws {value}"}
- {name: receiver-failing, severity: warning, signal: site.receivers_failing, when: {above: 0}, for: 2s, summary: "{value} receivers do not take notifications", receivers: [facility, router]}
`

// configured is a site whose receivers stand in YAML, as an administrator writes
// it: %s are the files and addresses.
func configured(t *testing.T, rules, yaml string, values ...any) (*site, *said) {
	t.Helper()
	s, log := newTown(t), &said{}
	name := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(name, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := config.Decode(strings.NewReader(fmt.Sprintf(yaml, append([]any{name}, values...)...)), "cloud.yaml", &s.config); err != nil {
		t.Fatal(err)
	}
	s.log = slog.New(slog.NewJSONHandler(log, nil))
	s.start()
	return s, log
}

// receivers are how they are, by name.
func (s *site) receivers() (all map[string]notify.Status, text string) {
	s.t.Helper()
	content := s.ask("query", "receivers", contract.RegistryRequest{Verb: "list"}).Content
	var list []notify.Status
	if err := json.Unmarshal(content, &list); err != nil {
		s.t.Fatal(err)
	}
	all = make(map[string]notify.Status)
	for _, one := range list {
		all[one.Name] = one
	}
	return all, string(content)
}

func secretFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// Mail by a real conversation, a webhook and an Alertmanager: each is tried, each
// is told, and when one of them takes nothing the others hear of that.
//
// Seen to fail when a trial knows only of receivers with a queue.
func TestReceiversAsAnAdministratorWritesThem(t *testing.T) {
	t.Parallel()
	box, router := newMailbox(t), newRouter(t)
	hook, secret := newTold(t)
	s, log := configured(t, receiverRules, `
rules: %s
link: https://wattline.example.org/alerts
receivers:
- name: facility
  kind: email
  from: info
  wait: 0s
  email:
    server: %s
    security: starttls
    username: wattline
    password: {file: %s}
    ca: %s
    from: Wattline <wattline@example.org>
    to: [facility@example.org, nobody@example.org]
- name: on-call
  kind: webhook
  webhook: {url: %s, secret: {file: %s}}
- name: router
  kind: alertmanager
  from: info
  alertmanager: {urls: [%s], username: wattline, password: {file: %s}}
`, box.addr, secretFile(t, mailPassword), box.ca, hook.url, secretFile(t, secret.Reveal()), router.url, secretFile(t, "router-secret"))
	for _, name := range []string{"facility", "on-call", "router"} {
		s.do("receivers", contract.RegistryRequest{Verb: "test", Key: name, Who: "ada"})
	}
	soon(t, "a trial by mail", func() bool { return box.with("This is a trial by ada") == 1 })
	hook.until(func(items []notify.Item) bool { return len(items) == 1 && items[0].Event == notify.Trials })
	if !router.is("trial", true) {
		t.Error("no trial at the Alertmanager, whose answer was waited for")
	}
	soon(t, "an address that is refused", func() bool {
		all, _ := s.receivers()
		return strings.Contains(all["facility"].Unreached["nobody@example.org"], "no such user") && all["facility"].Failing == 0
	})

	s.measure(1200)
	soon(t, "the alarm by mail", func() bool { return box.with("draws 1200 W") == 1 })
	hook.until(func(items []notify.Item) bool { return len(items) == 2 && items[1].Event == notify.Began })
	soon(t, "the alarm at the Alertmanager", func() bool { return router.is("over-power", true) })

	hook.set(func(w http.ResponseWriter, _ int) { http.Error(w, "not today", http.StatusServiceUnavailable) })
	s.measure(10)
	soon(t, "the others hear that one fails", func() bool {
		return box.with("1 receivers do not take notifications") == 1 && router.is("receiver-failing", true)
	})
	all, _ := s.receivers()
	if one := all["on-call"]; one.Failing == 0 || !one.Flying || !strings.Contains(one.Fault, "503: not today") {
		t.Errorf("the list says of who fails %+v", one)
	}
	hook.set(nil)
	soon(t, "the others hear that it is over", func() bool {
		return box.with("1 receivers do not take notifications") == 2 && router.is("receiver-failing", false) && router.is("over-power", false)
	})
	items := hook.items()
	if len(items) != 3 || items[2].Event != notify.Over || items[2].Alert.Rule != "over-power" {
		t.Errorf("the webhook was told %+v", items)
	}
	if all, _ := s.receivers(); all["on-call"].Failing != 0 || all["on-call"].Waiting != 0 || all["on-call"].Sent == 0 {
		t.Errorf("in the end %+v", all["on-call"])
	}
	for _, hidden := range []string{mailPassword, secret.Reveal(), hook.url, "router-secret"} {
		if strings.Contains(log.String(), hidden) {
			t.Errorf("the log holds %q", hidden)
		}
	}
}

// Credentials that are wrong are named as what they are, and shown to nobody.
func TestWrongCredentialsAreNamedAndNotShown(t *testing.T) {
	t.Parallel()
	box, router := newMailbox(t), newRouter(t)
	door := httptestServer(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "who are you?", http.StatusForbidden) })
	s, log := configured(t, receiverRules, `
rules: %s
receivers:
- name: facility
  kind: email
  wait: 0s
  email:
    {server: %s, security: starttls, username: wattline, password: wrong-mail, ca: %s, from: wattline@example.org, to: [facility@example.org]}
- name: on-call
  kind: webhook
  webhook: {url: %s/path-secret, headers: {X-Key: wrong-key}}
- name: router
  kind: alertmanager
  alertmanager: {urls: [%s], username: wattline, password: wrong-router}
`, box.addr, box.ca, door, router.url)
	for _, name := range []string{"facility", "on-call"} {
		s.do("receivers", contract.RegistryRequest{Verb: "test", Key: name, Who: "ada"})
	}
	a := s.ask("command", "receivers", contract.RegistryRequest{Verb: "test", Key: "router", Who: "ada"})
	if a.Problem == nil || a.Problem.Kind != contract.NotNow || !strings.Contains(a.Problem.Detail, "401") {
		t.Errorf("a trial of an Alertmanager that does not know us: %+v", a.Problem)
	}
	s.measure(1200)
	want := map[string]string{"facility": "535", "on-call": "403: who are you?", "router": "401"}
	soon(t, "all of them fail", func() bool {
		all, _ := s.receivers()
		for name, fault := range want {
			if all[name].Failing == 0 || !strings.Contains(all[name].Fault, fault) {
				return false
			}
		}
		return true
	})
	_, list := s.receivers()
	for where, text := range map[string]string{"the list": list, "the log": log.String(), "the answer": a.Problem.Detail} {
		for _, hidden := range []string{"wrong-mail", "wrong-key", "wrong-router", "path-secret"} {
			if strings.Contains(text, hidden) {
				t.Errorf("%s holds %q:\n%s", where, hidden, text)
			}
		}
	}
}

// The longest time that somebody may give a mail server is given.
func TestNothingCutsShortWhatSendersMayWait(t *testing.T) {
	mails := mail.Config{Server: "127.0.0.1:25", From: "a@example.org", To: []string{"b@example.org"}, Timeout: alerting.SendTimeout}
	hooks := post.Config{URL: "http://127.0.0.1:1", Timeout: alerting.SendTimeout / 2} // it tries twice
	for name, err := range map[string]error{"mail": mails.Validate(), "webhook": hooks.Validate()} {
		if err == nil || !strings.Contains(err.Error(), "timeout") {
			t.Errorf("%s may wait for longer than the queues do: %v", name, err)
		}
	}
}

// A receiver that was given another name leaves rules that tell nobody.
func TestRulesThatTellNobodyAnyMoreAreNamedAtTheStart(t *testing.T) {
	data, log := t.TempDir(), &said{}
	cfg := alerting.DefaultConfig()
	cfg.Receivers = []alerting.Receiver{{Name: "office"}}
	cfg.Rules = filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(cfg.Rules, []byte(highRule("high", "severity: warning, when: {above: 100}, receivers: [office]")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"office", "facility"} {
		if strings.Contains(log.String(), "nobody hears") {
			t.Errorf("too early: %s", log)
		}
		cfg.Receivers[0].Name = name
		d, err := alerting.Drive(cfg, data, nil, time.Now, slog.New(slog.NewJSONHandler(log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(log.String(), `nobody hears`) || !strings.Contains(log.String(), "office") {
		t.Errorf("the log says %s", log)
	}
}
