package inventory_test

import (
	"strings"
	"testing"

	"github.com/wattline/wattline/provisioning/inventory"
)

func TestFormatsAreKnownByWhatIsInThem(t *testing.T) {
	for name, c := range map[string]struct{ file, text, want string }{
		"CSV by its name":       {"a.CSV", "x", "csv"},
		"CSV by its header":     {"-", "device;mac\n", "csv"},
		"CSV with one column":   {"-", "\ufeffDevice\r\nsp_g1\r\n", "csv"},
		"CSV with a mark":       {"-", "\xef\xbb\xbfdevice,mac", "csv"},
		"YAML by its name":      {"a.yml", "places:", "yaml"},
		"YAML by its keys":      {"-", "# site\nsite:\n  name: x, y\n", "yaml"},
		"a dump, whatever name": {"dump.yaml", " {\"node\":{}}", "etcd"},
		"nothing of that":       {"-", "hello", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := inventory.Detect(c.file, []byte(c.text)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestADifferenceIsWrittenForPeople(t *testing.T) {
	var d inventory.Difference
	d.Added = make([]inventory.Change, 1500)
	for i := range d.Added {
		d.Added[i] = inventory.Change{Kind: "place", ID: "sp_g\x1b1"}
	}
	d.More = 3
	var b strings.Builder
	if err := d.Write(&b, func(s string) string { return strings.ReplaceAll(s, "\x1b", "?") }); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); strings.Count(got, "+ place sp_g?1\n") != 1000 || !strings.HasSuffix(got, "and 503 more\n") {
		t.Errorf("got %d lines, the last %q", strings.Count(got, "\n"), got[len(got)-20:])
	}
}
