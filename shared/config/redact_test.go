package config_test

import (
	"strings"
	"testing"

	"github.com/wattline/wattline/shared/config"
)

func TestRedactedFilesHoldNoSecret(t *testing.T) {
	for name, text := range map[string]string{
		"plain":            "broker: {url: x, password: hunter2}\n",
		"block":            "password: |\n  hunter2\n  hunter2\nother: 1\n",
		"folded":           "password: >-\n  a\n  hunter2\n",
		"list":             "password: [a, hunter2]\n",
		"group":            "password: {inner: {more: hunter2}}\n",
		"comment":          "# hunter2\na: 1 # hunter2\n# hunter2\n",
		"comment of a key": "# hunter2\npassword: x # hunter2\n",
		"anchor":           "other: &a hunter2\npassword: *a\n",
		"anchor the other": "password: &a hunter2\nother: *a\n",
		"URL":              "url: tcp://me:hunter2@host:1883\n",
		"key of its own":   "env:\n  PASSWORD: hunter2\n",
	} {
		t.Run(name, func(t *testing.T) {
			out, err := config.Redact([]byte(text), func(key string) bool { return strings.EqualFold(key, "password") },
				func(v string) string { return strings.ReplaceAll(v, "hunter2@", "[secret]@") })
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(out), "hunter2") {
				t.Errorf("it is still there:\n%s", out)
			}
		})
	}
}

func TestRedactKeepsTheRest(t *testing.T) {
	out, err := config.Redact([]byte("a: {b: [1, x], password: {file: /etc/p}, token: \"\"}\n"), func(key string) bool { return key == "password" || key == "token" },
		func(v string) string { return v })
	if want := "a: {b: [1, x], password: {file: /etc/p}, token: '[secret]'}\n"; err != nil || string(out) != want {
		t.Errorf("got %q, want %q, %v", out, want, err)
	}
}

func TestWhatIsNotYAMLIsNotShown(t *testing.T) {
	_, err := config.Redact([]byte("password: hunter2\n\tx: [\n"), func(string) bool { return true }, func(v string) string { return v })
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}
