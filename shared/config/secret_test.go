package config_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wattline/wattline/shared/config"
)

func TestSecretNeverShowsItself(t *testing.T) {
	const secret = config.Secret("hunter2")
	type holder struct {
		Token config.Secret
		Ptr   *config.Secret
	}
	s := secret
	h := holder{Token: secret, Ptr: &s}
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		fmt.Fprintf(&b, verb+" "+verb+"\n", secret, h)
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		slog.New(handler).Info("token", slog.Any("secret", secret), slog.Any("holder", h))
	}
	text, err := json.Marshal([]any{secret, h})
	if err != nil {
		t.Fatal(err)
	}
	b.Write(text)
	text, err = secret.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	b.Write(text)
	b.WriteString(secret.String() + secret.GoString())
	if strings.Contains(b.String(), "hunter2") || strings.Contains(b.String(), "68756e74") {
		t.Errorf("the secret shows:\n%s", b.String())
	}
	if got := secret.Reveal(); got != "hunter2" {
		t.Errorf("Reveal gives %q", got)
	}
}

func TestSecretComesFromFileOrEnvironment(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	t.Setenv("WATTLINE_TEST_TOKEN", "from env")
	cases := map[string]struct{ content, yaml, want string }{
		"text in place":               {"", "token: plain", "plain"},
		"file with a last line break": {"from file\n", "token: {file: " + file + "}", "from file"},
		"file with CRLF":              {"from file\r\n", "token: {file: " + file + "}", "from file"},
		"file with inner line breaks": {"a\n\n", "token: {file: " + file + "}", "a\n"},
		"environment":                 {"", "token: {env: WATTLINE_TEST_TOKEN}", "from env"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			var cfg influx
			if err := config.Decode(strings.NewReader(c.yaml), "x.yaml", &cfg); err != nil {
				t.Fatal(err)
			}
			if got := cfg.Token.Reveal(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if err := os.WriteFile(file, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := config.Decode(strings.NewReader("token: {file: "+file+"}"), "x.yaml", &influx{}); err == nil {
		t.Error("an empty secret was taken")
	}
}
