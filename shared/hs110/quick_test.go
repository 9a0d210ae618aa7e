// Inside the package: what the quick reader gives up on shows nowhere else.
package hs110

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// differ reads b both ways; where the quick one is sure they must agree.
func differ(t *testing.T, b []byte) (sure bool) {
	t.Helper()
	var fast, slow reply
	if !parseQuick(b, &fast) {
		return false
	}
	if err := json.Unmarshal(b, &slow); err != nil {
		t.Errorf("%q is read, but: %v", b, err)
	}
	if !reflect.DeepEqual(fast, slow) {
		f, _ := json.Marshal(fast)
		s, _ := json.Marshal(slow)
		t.Errorf("%q\nis read as  %s\nin place of %s", b, f, s)
	}
	return true
}

func TestUsualAnswersAreReadQuickly(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no answers in testdata: %v", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !differ(t, b) {
			t.Errorf("%s is not read quickly", name)
		}
	}
}

func TestOddAnswersAreLeftToTheLibrary(t *testing.T) {
	for name, text := range map[string]string{
		"an escape":            `{"system":{"get_sysinfo":{"alias":"\u0041"}}}`,
		"no UTF-8":             "{\"system\":{\"get_sysinfo\":{\"alias\":\"K\xfcche\"}}}",
		"a key beyond ASCII":   `{"ſystem":{"get_sysinfo":{"rssi":1}}}`,
		"a key twice":          `{"system":{"get_sysinfo":{"rssi":1,"rssi":2}}}`,
		"a module twice":       `{"system":{},"system":{}}`,
		"other letters":        `{"system":{"get_sysinfo":{"RSSI":-1}}}`,
		"null":                 `{"system":null}`,
		"a text for a number":  `{"system":{"get_sysinfo":{"rssi":"-1"}}}`,
		"a number for a text":  `{"system":{"get_sysinfo":{"alias":1}}}`,
		"beyond a float":       `{"system":{"get_sysinfo":{"rssi":1e999}}}`,
		"a leading zero":       `{"system":{"get_sysinfo":{"rssi":01}}}`,
		"no digits":            `{"system":{"get_sysinfo":{"rssi":-}}}`,
		"cut off":              `{"system":{"get_sysinfo":{"rssi":1`,
		"something behind":     `{"system":{}}x`,
		"a zero byte behind":   "{\"system\":{}}\x00",
		"a comma too many":     `{"system":{"x":[1,]}}`,
		"no object":            `[]`,
		"nothing":              ``,
		"half a word":          `{"x":nul}`,
		"the clock":            `{"time":{"get_time":{}}}`,
		"nested without bound": `{"x":[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]}`,
	} {
		if differ(t, []byte(text)) {
			t.Errorf("%s: read quickly: %s", name, text)
		}
	}
}

func FuzzQuick(f *testing.F) {
	for _, text := range []string{
		`{"system":{"get_sysinfo":{"model":"HS110(EU)","deviceId":"80","rssi":-50,"on_time":3.5e1,"x":{"y":[1,true,null]},"err_code":0}},"emeter":{"get_realtime":{"power_mw":1,"total":-0,"err_code":-1,"err_msg":"m"}}}`,
		`{"system":{"set_relay_state":{"err_code":0}}}`, ` { "emeter" : { "err_code" : -1 } } `,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) { differ(t, b) })
}
