package config_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/shared/config"
)

// gateway has a field of every kind that settings are made of.
type gateway struct {
	Name     string             `yaml:"name"`
	Floor    int                `yaml:"floor"`
	Port     uint16             `yaml:"port"`
	Factor   float64            `yaml:"factor"`
	Debug    bool               `yaml:"debug"`
	Interval time.Duration      `yaml:"interval"`
	Listen   netip.AddrPort     `yaml:"listen"`
	Influx   influx             `yaml:"influx"`
	Backup   *influx            `yaml:"backup"`
	Plugs    []plug             `yaml:"plugs"`
	Labels   map[string]string  `yaml:"labels"`
	Hosts    map[netip.Addr]int `yaml:"hosts"`
	Clock    func() time.Time   `yaml:"-"`
}

type influx struct {
	URL   string        `yaml:"url"`
	Org   string        `yaml:"org"`
	Token config.Secret `yaml:"token"`
}

type plug struct {
	ID        string `yaml:"id"`
	Protected bool   `yaml:"protected"`
}

func (g *gateway) Validate() error {
	var errs []error
	if g.Name == "" {
		errs = append(errs, errors.New("name: required"))
	}
	for i, p := range g.Plugs {
		errs = append(errs, config.Key(fmt.Sprintf("plugs[%d]", i), p.Validate()))
	}
	return errors.Join(append(errs, config.Key("influx", g.Influx.Validate()))...)
}

var errScheme = errors.New("url: wants http or https")

func (i influx) Validate() error {
	if i.URL != "" && !strings.HasPrefix(i.URL, "http") {
		return errScheme
	}
	return nil
}

func (p plug) Validate() error {
	if p.ID == "" {
		return errors.New("id: required")
	}
	return nil
}

func TestDecodeFillsEveryKindOfField(t *testing.T) {
	const text = "\ufeff# a gateway\n" + `
name: edge-f2
floor: -1
port: 1883
factor: 0.5
debug: true
interval: 1m30s
listen: 127.0.0.1:8080
influx: {url: "http://localhost:8086", token: 12345}
backup:
  url: https://elsewhere
plugs:
  - id: sp_f2.g3
    protected: true
  - id: "10"
labels: {building: north, 7: seven}
hosts: {"::1": 2}
`
	got := gateway{Interval: time.Second, Factor: 2, Influx: influx{Org: "wattline"}, Labels: map[string]string{"a": "default"}}
	if err := config.Decode(strings.NewReader(text), "edge.yaml", &got); err != nil {
		t.Fatal(err)
	}
	want := gateway{
		Name: "edge-f2", Floor: -1, Port: 1883, Factor: 0.5, Debug: true, Interval: 90 * time.Second,
		Listen: netip.MustParseAddrPort("127.0.0.1:8080"),
		Influx: influx{URL: "http://localhost:8086", Org: "wattline", Token: "12345"},
		Backup: &influx{URL: "https://elsewhere"},
		Plugs:  []plug{{ID: "sp_f2.g3", Protected: true}, {ID: "10"}},
		Labels: map[string]string{"building": "north", "7": "seven"},
		Hosts:  map[netip.Addr]int{netip.IPv6Loopback(): 2},
	}
	opts := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
	if got.Influx.Token.Reveal() != want.Influx.Token.Reveal() {
		t.Error("the token differs")
	}
	if diff := cmp.Diff(want, got, opts, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("decoded settings differ (-want +got):\n%s", diff)
	}
}

func TestDecodeTellsEveryMistakeAtOnce(t *testing.T) {
	const text = `floor: two
port: 70000
interval: 10
influx:
  url: ftp://here
  tokn: hunter2
plugs:
  - id: a
    proteced: true
  - protected: "yes"
debug: maybe
debug: true
labels: [a, b]
nam: x
"odd key": 1
`
	cfg := gateway{}
	err := config.Decode(strings.NewReader(text), "edge.yaml", &cfg)
	want := []string{
		`floor (line 1): want a whole number from -9223372036854775808 to 9223372036854775807, got "two"`,
		`port (line 2): want a whole number from 0 to 65535, got "70000"`,
		`interval (line 3): "10" has no unit; write 10s, 5m or 1h30m`,
		`unknown key influx.tokn (line 6); known here: org, token, url`,
		`unknown key plugs[0].proteced (line 9); known here: id, protected`,
		`plugs[1].protected (line 10): want true or false, got "yes"`,
		`debug (line 11): want true or false, got "maybe"`,
		`debug (line 12): is there twice, first on line 11`,
		`labels (line 13): want names with a value each; got a list`,
		`unknown key nam (line 14); known here: backup, debug, factor, floor, hosts, influx, interval, labels, listen, name, plugs, port`,
		`unknown key ["odd key"] (line 15); known here: backup, debug, factor, floor, hosts, influx, interval, labels, listen, name, plugs, port`,
		`name: required`,
		`plugs[1].id: required`,
		`influx.url (line 5): wants http or https`,
	}
	all, ok := errors.AsType[*config.Error](err)
	if !ok {
		t.Fatalf("got %T %v, want a *config.Error", err, err)
	}
	var got []string
	for _, m := range all.Mistakes {
		got = append(got, m.Error())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mistakes differ (-want +got):\n%s", diff)
	}
	if !errors.Is(err, errScheme) {
		t.Error("the error of Validate is not found by errors.Is")
	}
	if first, want := strings.SplitN(err.Error(), "\n", 2)[0], "edge.yaml has 14 mistakes:"; first != want {
		t.Errorf("the error begins %q, want %q", first, want)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Error("the value of a misspelt secret is in the error")
	}
}

func TestDecodeRefuses(t *testing.T) {
	cases := map[string]struct{ text, want string }{
		"an empty file":                      {"", "no settings in it"},
		"a file of comments":                 {"# nothing\n", "no settings in it"},
		"a file of one empty value":          {"~\n", "no settings in it"},
		"two documents":                      {"name: a\n---\nname: b\n", "line 2: a second document"},
		"broken YAML":                        {"name: [a\n", "not YAML: line 1"},
		"a broken second document":           {"name: a\n---\n[\n", "not YAML"},
		"a list at the top":                  {"- a\n", "the file (line 1): want keys: backup, debug"},
		"text at the top":                    {"hello\n", "got text"},
		"text where keys belong":             {"name: a\ninflux: http://x\n", "influx (line 2): want keys: org, token, url; got text"},
		"keys where text belongs":            {"name: {a: b}\n", "name (line 1): want text, got a group of keys"},
		"a list where a number belongs":      {"name: a\nfloor: [1]\n", "floor (line 2): want a whole number"},
		"a number in quotes":                 {"name: a\nfloor: \"1\"\n", "want a whole number"},
		"a number with a leading zero":       {"name: a\nfloor: 010\n", `got "010"`},
		"an empty number with a tag":         {"name: a\nfloor: !!int \"\"\n", "want a whole number"},
		"a fraction for a whole number":      {"name: a\nfloor: 1.5\n", "want a whole number"},
		"a negative port":                    {"name: a\nport: -1\n", "from 0 to 65535"},
		"a factor that is not a number":      {"name: a\nfactor: .nan\n", "want a number"},
		"an infinite factor":                 {"name: a\nfactor: .inf\n", "want a number"},
		"yes for true":                       {"name: a\ndebug: yes\n", "want true or false"},
		"a boolean for a name":               {"name: true\n", "put it in quotes"},
		"a key without a value":              {"name:\n", "name (line 1): has no value"},
		"a duration without sense":           {"name: a\ninterval: soon\n", `got "soon"`},
		"an address that does not parse":     {"name: a\nlisten: here\n", "listen (line 2): "},
		"a merge key":                        {"name: a\ninflux: &x {url: http://a}\nbackup:\n  <<: *x\n", "merge keys"},
		"a list as a key":                    {"name: a\n? [b]\n: c\n", "a key must be plain text"},
		"an unknown alias":                   {"name: *hunter2\n", "put it in quotes"},
		"two spellings of one key":           {"name: a\nhosts: {\"::1\": 1, \"0:0::1\": 2}\n", "is there twice"},
		"a plug list that is one plug":       {"name: a\nplugs: {id: a}\n", "plugs (line 2): want a list"},
		"a file that does not end":           {strings.Repeat("#\n", config.MaxBytes), "larger than 1 MiB"},
		"a UTF-8 file that is none":          {"name: \xff\xfe\n", "not YAML"},
		"control characters":                 {"name: a\x00b\n", "not YAML"},
		"a secret without a source":          {"name: a\ninflux: {token: {}}\n", "want file or env, got neither"},
		"a secret with two sources":          {"name: a\ninflux: {token: {file: a, env: B}}\n", "got both"},
		"a secret from an unknown source":    {"name: a\ninflux: {token: {vault: a}}\n", "unknown key influx.token.vault (line 2); known here: env, file"},
		"a secret from an unset variable":    {"name: a\ninflux: {token: {env: WATTLINE_NOT_SET}}\n", "WATTLINE_NOT_SET is empty or not set"},
		"a secret from a missing file":       {"name: a\ninflux: {token: {file: /does/not/exist}}\n", "no such file"},
		"a secret from an endless file":      {"name: a\ninflux: {token: {file: /dev/zero}}\n", "larger than 64 KiB"},
		"a list of secrets where one fits":   {"name: a\ninflux: {token: [hunter2]}\n", "want text, got a list"},
		"flow nesting beyond all reason":     {"name: " + strings.Repeat("[", 20_000), "not YAML"},
		"more keys than anyone wants to see": {"name: a\n" + manyKeys(500), "only the first mistakes are listed"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var cfg gateway
			err := config.Decode(strings.NewReader(c.text), "edge.yaml", &cfg)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want an error with %q", err, c.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a secret is in the error: %v", err)
			}
			if len(err.Error()) > 50_000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "key%d: 1\n", i)
	}
	return b.String()
}

func TestDecodeStopsAliasBombs(t *testing.T) {
	type tree struct {
		Sub  []tree `yaml:"sub"`
		Name string `yaml:"name"`
	}
	var bomb strings.Builder
	bomb.WriteString("sub:\n- &a0 {name: x}\n")
	for i := 1; i < 40; i++ {
		ref := fmt.Sprintf("*a%d", i-1)
		fmt.Fprintf(&bomb, "- &a%d {sub: [%s]}\n", i, strings.TrimSuffix(strings.Repeat(ref+", ", 10), ", "))
	}
	for name, text := range map[string]string{
		"that double":          bomb.String(),
		"that hold themselves": "sub: &a [{sub: *a}]\n",
	} {
		t.Run(name, func(t *testing.T) {
			err := config.Decode(strings.NewReader(text), "bomb.yaml", &tree{})
			if err == nil || !strings.Contains(err.Error(), "aliases make the file too large or too deep") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestDecodeKeepsDefaultsBelowAKeyWithoutValue(t *testing.T) {
	cfg := gateway{Influx: influx{URL: "http://default"}, Plugs: []plug{{ID: "p"}}, Labels: map[string]string{"a": "b"}}
	if err := config.Decode(strings.NewReader("name: a\ninflux:\n#  url: x\nbackup:\nplugs:\nlabels:\n"), "edge.yaml", &cfg); err != nil {
		t.Fatal(err)
	}
	if cfg.Influx.URL != "http://default" || len(cfg.Plugs) != 1 || len(cfg.Labels) != 1 || cfg.Backup != nil {
		t.Errorf("defaults were lost: %+v", cfg)
	}
}

func TestDecodeFollowsAliases(t *testing.T) {
	var cfg gateway
	if err := config.Decode(strings.NewReader("name: a\ninflux: &x {url: http://a}\nbackup: *x\n"), "edge.yaml", &cfg); err != nil {
		t.Fatal(err)
	}
	if cfg.Backup == nil || cfg.Backup.URL != "http://a" {
		t.Errorf("backup is %+v, want the aliased values", cfg.Backup)
	}
}

func TestDecodeNamesAFieldWithoutTag(t *testing.T) {
	var cfg struct{ Forgotten string }
	err := config.Decode(strings.NewReader("forgotten: a\n"), "x.yaml", &cfg)
	if err == nil || !strings.Contains(err.Error(), "field Forgotten") {
		t.Errorf("got %v, want the field named", err)
	}
	if err := config.Decode(strings.NewReader("a: b\n"), "x.yaml", cfg); err == nil {
		t.Error("a struct without pointer was taken")
	}
}

func TestLoadReadsFilesAndNamesThem(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "edge.yaml")
	if err := os.WriteFile(file, []byte("name: a\nflor: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var cfg gateway
	if err := config.Load(file, &cfg); err == nil || !strings.HasPrefix(err.Error(), file+": unknown key flor (line 2)") {
		t.Errorf("got %v, want the file and the key", err)
	}
	if err := config.Load(filepath.Join(dir, "none.yaml"), &cfg); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
	if err := config.Load(dir, &cfg); err == nil {
		t.Error("a directory was loaded")
	}
}

func TestKeyGivesNilForNil(t *testing.T) {
	if err := config.Key("influx", nil); err != nil {
		t.Errorf("got %v", err)
	}
	err := config.Key("cloud", config.Key("influx", errors.Join(errScheme, errors.New("org: required"))))
	if got, want := err.Error(), "cloud.influx.url: wants http or https\ncloud.influx.org: required"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("name: a\nfloor: 1\n")
	f.Add("influx: {token: {env: HOME}}\nplugs: [{id: a}]\n")
	f.Add("a: &a [*a]\nb: !!int \"\"\n? {}\n: 1\n")
	f.Add("labels: {a: b}\nhosts: {1.2.3.4: 5}\ninterval: 1s\nfactor: 1e3\n")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "file") {
			t.Skip("would open any file")
		}
		var cfg gateway
		err := config.Decode(strings.NewReader(text), "fuzz.yaml", &cfg)
		if err == nil && cfg.Name == "" {
			t.Error("a file without a name was taken")
		}
	})
}
