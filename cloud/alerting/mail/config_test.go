package mail_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/alerting/mail"
	"github.com/wattline/wattline/shared/config"
)

func TestEveryMistakeIsNamed(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bad, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := `
server: mail.example.org
security: ssl
username: "a\r\nb"
password: x
auth: cram
ca: ` + bad + `
from: nobody
to: [anna@example.org, "Anna <ANNA@example.org>", "ängström@example.org", "a@b.c\r\nBcc: all@example.org"]
hello: "a b"
connect_timeout: 1h
command_timeout: 1ms
timeout: 1h
`
	cfg := mail.DefaultConfig()
	err := config.Decode(strings.NewReader(text), "mail.yaml", &cfg)
	if err == nil {
		t.Fatal("no mistake found")
	}
	if err := config.Decode(strings.NewReader("color: red\n"), "mail.yaml", &cfg); err == nil || !strings.Contains(err.Error(), "color") {
		t.Errorf("an unknown key: %v", err)
	}
	for _, want := range []string{
		"server (line", "security (line", "password (line", "auth (line", "ca (line", "from (line", "to[1] (line", "to[2] (line", "to[3] (line", "hello (line",
		"connect_timeout (line", "command_timeout (line", "timeout (line",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named in\n%v", want, err)
		}
	}
}

func TestLeftOutMeansDefault(t *testing.T) {
	good := func() mail.Config {
		return mail.Config{Server: "mail.example.org:587", From: "w@example.org", To: []string{anna}}
	}
	for name, c := range map[string]struct {
		change func(*mail.Config)
		want   string
	}{
		"nothing but the least":      {func(*mail.Config) {}, ""},
		"a password over the open":   {func(c *mail.Config) { c.Security, c.Username, c.Password = mail.None, "w", "x" }, "security:"},
		"open when said so":          {func(c *mail.Config) { c.Security = mail.None }, ""},
		"a password on this machine": {func(c *mail.Config) { c.Server, c.Username, c.Password = "127.0.0.1:25", "w", "x" }, ""},
		"password alone":             {func(c *mail.Config) { c.Password = "x" }, "username:"},
		"username alone":             {func(c *mail.Config) { c.Username = "x" }, "password:"},
		"nobody to tell":             {func(c *mail.Config) { c.To = nil }, "to:"},
		"too many to tell":           {func(c *mail.Config) { c.To = make([]string, 51) }, "to:"},
		"negative":                   {func(c *mail.Config) { c.Timeout = -time.Second }, "timeout:"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good()
			c.change(&cfg)
			err := cfg.Validate()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
