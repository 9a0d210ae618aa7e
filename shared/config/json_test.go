package config_test

import (
	"strings"
	"testing"

	"github.com/wattline/wattline/shared/config"
)

func TestYAMLBecomesJSONInItsOrder(t *testing.T) {
	for text, want := range map[string]string{
		"":                      `null`,
		"b: 1\na: [x, 1.5, no]": `{"b":1,"a":["x",1.5,"no"]}`,
		"a: {y: true, n: null, t: 2026-01-01, s: '1'}":               `{"a":{"y":true,"n":null,"t":"2026-01-01","s":"1"}}`,
		"x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: *x":               `{"x":{"a":1,"b":2},"y":{"b":3,"a":1},"z":{"a":1,"b":2}}`,
		"x: &x {a: 1}\ny: &y {<<: *x, b: 2}\nz:\n  <<: *y\n  '1': c": `{"x":{"a":1},"y":{"b":2,"a":1},"z":{"1":"c","b":2,"a":1}}`,
		"a: |\n  two\n  lines\n":                                     `{"a":"two\nlines\n"}`,
	} {
		got, err := config.JSON([]byte(text))
		if err != nil || string(got) != want {
			t.Errorf("%q becomes %s, %v, want %s", text, got, err, want)
		}
	}
	for text, why := range map[string]string{
		"a: [": "line", "a: 1\na: 2": "twice", "a: &a [*a]": "too deep", "a: .nan": "line 1", strings.Repeat("[", 200) + strings.Repeat("]", 200): "too deep",
	} {
		if got, err := config.JSON([]byte(text)); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%.20q becomes %s, %v, want an error that says %q", text, got, err, why)
		}
	}
}
