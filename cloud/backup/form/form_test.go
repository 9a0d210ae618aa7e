package form_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/backup/form"
)

func seal(t *testing.T, text string, keys *form.Keys) (form.File, []byte) {
	t.Helper()
	var stored bytes.Buffer
	s, err := form.Seal(&stored, keys)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(s, text); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return s.File(), stored.Bytes()
}

func open(f form.File, stored []byte, keys *form.Keys) (string, error) {
	o, err := f.Open(bytes.NewReader(stored), keys != nil, keys)
	if err != nil {
		return "", err
	}
	defer o.Close()
	text, err := io.ReadAll(o)
	return string(text), err
}

func keysFor(t *testing.T) *form.Keys {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := form.ParseRecipients([]string{id.Recipient().String()})
	if err == nil {
		err = keys.ReadIdentities(strings.NewReader("# made for a test\n" + id.String() + "\n"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestTheSameContentIsTheSameFile(t *testing.T) {
	text := strings.Repeat("power,id=sp_f1.g0 value=42 1700000000000000000\n", 10_000)
	first, stored := seal(t, text, nil)
	second, _ := seal(t, text, nil)
	if first != second {
		t.Errorf("%+v and %+v", first, second)
	}
	if err := first.Check(bytes.NewReader(stored)); err != nil {
		t.Error(err)
	}
	if got, err := open(first, stored, nil); err != nil || got != text {
		t.Errorf("%v, %d bytes come back of %d", err, len(got), len(text))
	}
}

func TestEachChangedBitShows(t *testing.T) {
	for name, keys := range map[string]*form.Keys{"plain": nil, "encrypted": keysFor(t)} {
		f, stored := seal(t, "a value=1 1\nb value=2 2\n", keys)
		for i := range stored {
			broken := bytes.Clone(stored)
			broken[i] ^= 1
			if err := f.Check(bytes.NewReader(broken)); !errors.Is(err, form.ErrDamaged) {
				t.Fatalf("%s: byte %d changed: %v", name, i, err)
			}
			if text, err := open(f, broken, keys); err == nil {
				// a bit that says nothing, such as a reserved one, may change
				if text != "a value=1 1\nb value=2 2\n" {
					t.Errorf("%s: byte %d changed, and %q is believed", name, i, text)
				}
			}
			if err := f.Check(bytes.NewReader(stored[:i])); !errors.Is(err, form.ErrDamaged) {
				t.Fatalf("%s: cut at %d: %v", name, i, err)
			}
			if _, err := open(f, stored[:i], keys); err == nil {
				t.Fatalf("%s: cut at %d is read", name, i)
			}
		}
	}
}

func TestOnlyTheRightKeyReads(t *testing.T) {
	mine, other := keysFor(t), keysFor(t)
	f, stored := seal(t, "secret", mine)
	if bytes.Contains(stored, []byte("secret")) {
		t.Error("it can be read as it is")
	}
	if got, err := open(f, stored, mine); got != "secret" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := open(f, stored, other); !errors.Is(err, form.ErrKey) || errors.Is(err, form.ErrDamaged) {
		t.Errorf("another key: %v", err)
	}
	if _, err := f.Open(bytes.NewReader(stored), true, nil); !errors.Is(err, form.ErrKey) || !strings.Contains(err.Error(), "-identity") {
		t.Errorf("no key: %v", err)
	}
	for _, name := range []string{"", "ssh-ed25519 AAAA", "age1x"} {
		if _, err := form.ParseRecipients([]string{name}); err == nil {
			t.Errorf("%q is taken for a key", name)
		}
	}
}

func manifest() *form.Manifest {
	hex := strings.Repeat("0a", 32)
	file := form.File{Object: hex, Bytes: 10, Plain: hex, PlainBytes: 20}
	return &form.Manifest{
		Format: form.Version, ID: "20261124T031500Z-9f3c0a17", Sequence: 12, Site: "a", Line: "b", Started: time.Unix(1, 0).UTC(),
		Days:   []form.Day{{Database: "sp", Group: "readings", Date: "2026-11-24", Parts: []form.Part{{Measurement: "power", Points: 3}}, File: file}},
		States: []form.State{{Role: "registry", Path: "registry/registry.db", File: file}},
	}
}

func TestAManifestIsWhatItsNameSays(t *testing.T) {
	m := manifest()
	name, stored, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	e, ok := form.ParseEntry(name)
	if !ok || e.Sequence != 12 || !e.Time.Equal(time.Date(2026, 11, 24, 3, 15, 0, 0, time.UTC)) {
		t.Fatalf("%q is %+v", name, e)
	}
	again, err := e.Decode(bytes.NewReader(stored))
	if diff := cmp.Diff(m, again); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if len(m.Files()) != 1 || m.Points() != 3 || m.Bytes() != 10 {
		t.Errorf("%v, %d points, %d bytes", m.Files(), m.Points(), m.Bytes())
	}
	for i := range stored {
		broken := bytes.Clone(stored)
		broken[i] ^= 4
		if _, err := e.Decode(bytes.NewReader(broken)); !errors.Is(err, form.ErrDamaged) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
	for _, other := range []string{"backups/x", name + "x", strings.Replace(name, "0000000012", "12", 1), "objects/" + name} {
		if _, ok := form.ParseEntry(other); ok {
			t.Errorf("%q is taken for a manifest", other)
		}
	}
}

func TestAManifestThatLeadsElsewhereIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(*form.Manifest){
		"a state above the data":  func(m *form.Manifest) { m.States[0].Path = "../etc/passwd" },
		"an absolute state":       func(m *form.Manifest) { m.States[0].Path = "/etc/passwd" },
		"an object that is none":  func(m *form.Manifest) { m.Days[0].File.Object = "../../x" },
		"an empty object":         func(m *form.Manifest) { m.Days[0].File.Object = "" },
		"a day that is none":      func(m *form.Manifest) { m.Days[0].Date = "yesterday" },
		"a negative size":         func(m *form.Manifest) { m.Days[0].File.Bytes = -1 },
		"a format of the future":  func(m *form.Manifest) { m.Format = 99 },
		"an id of something else": func(m *form.Manifest) { m.ID = "20261124T031500Z-00000000" },
	} {
		m := manifest()
		id := m.ID
		spoil(m)
		encoded, stored, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		e, ok := form.ParseEntry(encoded)
		if !ok {
			t.Fatal(encoded)
		}
		e.ID = id
		if _, err := e.Decode(bytes.NewReader(stored)); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
}

func TestDaysAreThoseOfUTC(t *testing.T) {
	madrid := time.FixedZone("", 3600)
	got := form.Dates(time.Date(2026, 2, 28, 0, 30, 0, 0, madrid), time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
	if diff := cmp.Diff([]form.Date{"2026-02-27", "2026-02-28", "2026-03-01"}, got); diff != "" {
		t.Error(diff)
	}
	if got := form.Dates(time.Unix(1e9, 0), time.Unix(0, 0)); got != nil {
		t.Errorf("%v", got)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte("\x28\xb5\x2f\xfd"), []byte("x"))
	f.Fuzz(func(_ *testing.T, stored, _ []byte) {
		_, _ = open(form.File{Object: strings.Repeat("0", 64)}, stored, nil)
		e, _ := form.ParseEntry("backups/0000000012-20261124T031500Z-9f3c0a17-" + strings.Repeat("0", 64) + ".json.zst")
		_, _ = e.Decode(bytes.NewReader(stored))
	})
}
