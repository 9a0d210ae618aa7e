package webhook_test

import (
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/hooks/webhook"
	"github.com/wattline/wattline/shared/config"
	signing "github.com/wattline/wattline/shared/webhook"
)

// block is the first block of the page in a language.
func block(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/hooks/webhook.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```"+language+"\n")
	code, _, ended := strings.Cut(rest, "```")
	if !found || !ended {
		t.Fatalf("the page has no block in %s", language)
	}
	return code
}

const ask = `
import sys
headers = dict(line.split(": ", 1) for line in sys.argv[2:])
print(genuine(sys.argv[1], headers, sys.stdin.buffer.read()))
`

// What the page tells authors of receivers accepts what is sent, and nothing else.
func TestThePageVerifies(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("no python3")
	}
	s := newSite(t)
	box := newInbox(t)
	var headers http.Header
	box.set(func(_ int, _ http.ResponseWriter, r *http.Request) bool { headers = r.Header; return true })
	s.backlog(start(), 0, 1)
	_, stop := s.run(t.TempDir(), func(c *webhook.Config) { c.Receivers[0].MaxReadings = 1000 }, box)
	box.await(s.want)
	stop()
	body := box.bodies[box.ids[0]]
	id, stamp, signature := headers.Get("webhook-id"), headers.Get("webhook-timestamp"), headers.Get("webhook-signature")
	verify := func(secret, id, stamp, signature, body string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), python, "-c", block(t, "python")+ask, secret, "webhook-id: "+id, "webhook-timestamp: "+stamp, "webhook-signature: "+signature)
		cmd.Stdin = strings.NewReader(body)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if got := verify(secret, id, stamp, "v1,other "+signature, body); got != "True" {
		t.Errorf("a genuine request: %s", got)
	}
	key, _ := signing.ParseSecret(secret)
	old := time.Now().Add(-time.Hour)
	for name, got := range map[string]string{
		"another body":   verify(secret, id, stamp, signature, body+" "),
		"another id":     verify(secret, id+"x", stamp, signature, body),
		"another secret": verify(signing.NewSecret(), id, stamp, signature, body),
		"an old one":     verify(secret, id, strconv.FormatInt(old.Unix(), 10), key.Sign(id, old, []byte(body)), body),
		"no signature":   verify(secret, id, stamp, "", body),
		"no time":        verify(secret, id, "x", signature, body),
	} {
		if got != "False" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestTheSettingsOfThePageAreRight(t *testing.T) {
	file := t.TempDir() + "/secret"
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	var all struct {
		Webhook webhook.Config `yaml:"webhook"`
	}
	if err := config.Decode(strings.NewReader(strings.ReplaceAll(block(t, "yaml"), "/etc/wattline/erp.secret", file)), "page", &all); err != nil {
		t.Fatal(err)
	}
	if err := all.Webhook.Validate(); err != nil || len(all.Webhook.Receivers) != 1 {
		t.Error(err)
	}
}
