package backup_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/backup"
	"github.com/wattline/wattline/cloud/backup/export"
	"github.com/wattline/wattline/cloud/backup/form"
	"github.com/wattline/wattline/cloud/backup/restore"
	"github.com/wattline/wattline/cloud/backup/shelf"
	"github.com/wattline/wattline/cloud/backup/store"
	"github.com/wattline/wattline/cloud/influx"
	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/cloud/registry"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/pki"
)

var (
	discard = slog.New(slog.DiscardHandler)
	house   = contract.Site{Name: "House", DefaultFloor: 1, TimeZone: "Europe/Madrid"}
)

// site is a cloud with what a backup needs of it: an InfluxDB, a ledger, a
// registry that is closed, and a store.
type site struct {
	t      *testing.T
	data   string
	influx *influx.Client
	micros *influx.Client // as the hooks use it
	book   *ledger.Book
	server *influxtest.Server
	now    time.Time
	seq    uint64
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, data: t.TempDir(), server: influxtest.StartEmbedded(t, nil), now: time.Now().Add(2 * time.Minute)}
	s.influx, s.micros = connect(t, s.server, influx.InNanoseconds()), connect(t, s.server)
	s.book = ledger.NewBook(s.micros, "00000000000000aa", nil)
	return s
}

func connect(t *testing.T, s *influxtest.Server, options ...influx.Option) *influx.Client {
	t.Helper()
	cfg := influx.DefaultConfig()
	cfg.URL, cfg.Token, cfg.Org = s.URL, config.Secret(s.Token), s.Org
	c, err := influx.New(cfg, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// settle makes a registry with a few places.
func (s *site) settle() {
	s.t.Helper()
	r, err := registry.Init(s.data, house, "a test", discard)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range []struct{ resource, key, content string }{
		{"gateways", "edge-f1", `{"floor": 1}`},
		{"places", "sp_f1.g0", `{"gateway": "edge-f1", "driver": "hs110", "address": "192.0.2.1:9999", "label": "Küche"}`},
		{"places", "sp_f1.w.r1.c2", `{"gateway": "edge-f1", "driver": "hs110", "protected": "a server"}`},
	} {
		if a := r.Answer(s.t.Context(), c.resource, contract.RegistryRequest{Verb: "create", Key: c.key, Content: json.RawMessage(c.content), Who: "a test"}); a.Problem != nil {
			s.t.Fatalf("%s %s: %v", c.resource, c.key, a.Problem)
		}
	}
	if err := r.Close(); err != nil {
		s.t.Fatal(err)
	}
	if _, err := pki.CreateAuthority(filepath.Join(s.data, "registry"), "House", time.Now()); err != nil {
		s.t.Fatal(err)
	}
}

// objects are all that a registry says of the site.
func objects(t *testing.T, data string) map[string]string {
	t.Helper()
	r, err := registry.Open(data, discard)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	all := make(map[string]string)
	for _, c := range []struct{ resource, verb string }{{"site", "get"}, {"places", "list"}, {"gateways", "list"}, {"plugs", "list"}, {"tokens", "list"}, {"audit", "list"}} {
		a := r.Answer(t.Context(), c.resource, contract.RegistryRequest{Verb: c.verb})
		if a.Problem != nil {
			t.Fatalf("%s: %v", c.resource, a.Problem)
		}
		all[c.resource] = string(a.Content)
	}
	return all
}

// store stores a batch of readings from a time on, and enters it, as the hook does.
func (s *site) store(from time.Time, n int, every time.Duration) {
	s.t.Helper()
	var lines []byte
	for i := range n {
		at := from.Add(time.Duration(i) * every).UnixMicro()
		lines = fmt.Appendf(lines, "power,floor=1,id=sp_f1.g0,type=g,unit=W value=%d.5 %d\nstatus,floor=1,id=sp_f1.g0,type=g,unit=/ value=1 %d\n", i%100, at, at)
	}
	s.write("sp", string(lines))
	s.seq++
	last := from.Add(time.Duration(n-1) * every)
	id := contract.BatchID{Epoch: 7, Sequence: s.seq}
	err := s.book.Enter(s.t.Context(), []contract.Entry{{
		Source: "edge-f1", ID: id.String(), Batch: &id, From: device.MicrosOf(from), To: device.MicrosOf(last), Readings: 2 * n,
	}})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) write(database, lines string) {
	s.t.Helper()
	if err := s.micros.Write(s.t.Context(), database, []byte(lines)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) backups(dir string, change ...func(*backup.Config, *backup.Options)) *backup.Backup {
	s.t.Helper()
	d, err := store.OpenDir(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	feed := ledger.NewFeed(s.micros)
	feed.Now = func() device.Micros { return device.MicrosOf(s.now) }
	cfg, o := backup.DefaultConfig(), backup.Options{
		Store: d, Influx: s.influx, Feed: feed, States: backup.Stopped{Data: s.data}, Data: s.data, Site: siteFor(house), Version: "test", Log: discard,
		Now: func() time.Time { return s.now },
	}
	cfg.PointsPerSecond = 0
	for _, c := range change {
		c(&cfg, &o)
	}
	b, err := backup.New(cfg, o)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *site) run(b *backup.Backup, full bool) *form.Manifest {
	s.t.Helper()
	m, err := b.Run(s.t.Context(), full)
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

// points are all points of an InfluxDB, by database.
func points(t *testing.T, db *influx.Client) map[string]string {
	t.Helper()
	all := make(map[string]string)
	names, err := export.Databases(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		measurements, err := export.Schema(t.Context(), db, name)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if _, err := export.Day(t.Context(), db, name, measurements, time.Unix(0, 0), time.Unix(1<<32, 0), &out, nil); err != nil {
			t.Fatal(err)
		}
		all[name] = out.String()
	}
	return all
}

func shelfOf(t testing.TB, dir string) shelf.Shelf {
	t.Helper()
	d, err := store.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return shelf.Shelf{Store: d}
}

// empty is a machine to restore on.
func empty(t *testing.T, dir string) (restore.Options, *influx.Client) {
	t.Helper()
	db := connect(t, influxtest.StartEmbedded(t, nil), influx.InNanoseconds())
	return restore.Options{Shelf: shelfOf(t, dir), Influx: db, Data: filepath.Join(t.TempDir(), "data"), Log: discard}, db
}

func days(m *form.Manifest) map[string]string {
	all := make(map[string]string)
	for _, d := range m.Days {
		all[d.Key()] = d.File.Object
	}
	return all
}

func TestEverythingComesBackOnAnEmptyMachine(t *testing.T) {
	s := newSite(t)
	s.settle()
	dir := filepath.Join(t.TempDir(), "store")
	b := s.backups(dir)
	today := s.now.UTC().Truncate(24 * time.Hour)
	for i := range 20 {
		s.store(today.AddDate(0, 0, -40+i), 500, time.Minute)
	}
	s.store(s.now.Add(-time.Hour), 100, 10*time.Second)
	s.write("other", "of\\ others,a\\=b=c x=1i,y=\"two\nlines\" "+fmt.Sprint(today.AddDate(-1, 0, 0).UnixMicro())+"\n")
	s.write("wattline", "audit,who=x text=\"on\" "+fmt.Sprint(s.now.Add(-time.Hour).UnixMicro())+"\n")
	first := s.run(b, false)
	if first.Basis != "" || first.Points() == 0 {
		t.Errorf("the first backup builds on %q and has %d points", first.Basis, first.Points())
	}

	// More comes, some of it late, and the registry changes.
	s.now = s.now.Add(time.Hour)
	s.book = ledger.NewBook(s.micros, "00000000000000bb", func() device.Micros { return device.MicrosOf(s.now.Add(-10 * time.Minute)) })
	s.store(today.AddDate(0, 0, -35).Add(12*time.Hour), 300, time.Second)
	s.store(s.now.Add(-30*time.Minute), 100, time.Second)
	r, err := registry.Open(s.data, discard)
	if err != nil {
		t.Fatal(err)
	}
	if a := r.Answer(t.Context(), "places", contract.RegistryRequest{Verb: "create", Key: "sp_f1.p0", Content: json.RawMessage(`{"gateway": "edge-f1"}`), Who: "a test"}); a.Problem != nil {
		t.Fatal(a.Problem)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	progress := b.Progress()
	second := s.run(b, false)
	if second.Basis != first.ID || b.Progress().Days >= progress.Days {
		t.Errorf("the second builds on %q, and read %d days after %d", second.Basis, b.Progress().Days, progress.Days)
	}
	before, after := days(first), days(second)
	var changed []string
	for key, object := range after {
		if before[key] != object {
			changed = append(changed, key)
		}
	}
	for key := range before {
		if after[key] == "" {
			t.Errorf("%s is in the second no more", key)
		}
	}
	late := "sp/readings/" + string(form.DateOf(today.AddDate(0, 0, -35)))
	if !slices.Contains(changed, late) || len(changed) > 6 {
		t.Errorf("changed are %v, want %s among few", changed, late)
	}

	// All is destroyed.
	want, registered := points(t, s.influx), objects(t, s.data)
	s.server.Embedded.Close()
	o, db := empty(t, dir)
	report, err := restore.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if report.Manifest.ID != second.ID || len(report.PassedOver) > 0 {
		t.Errorf("%s was restored, after %v", report.Manifest.ID, report.PassedOver)
	}
	if diff := cmp.Diff(want, points(t, db)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(registered, objects(t, o.Data)); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(filepath.Join(o.Data, "registry", "ca.key")); err == nil {
		t.Error("a secret was in a backup that is not encrypted")
	}
	if !slices.ContainsFunc(second.LeftOut, func(text string) bool { return strings.Contains(text, "secrets") }) {
		t.Errorf("it is not said that secrets are left out: %q", second.LeftOut)
	}
	if left, err := filepath.Glob(filepath.Join(o.Data, "backup", "*.journal")); err != nil || len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

func TestADayThatHasNotChangedIsNotWrittenAgain(t *testing.T) {
	s := newSite(t)
	dir := filepath.Join(t.TempDir(), "store")
	b := s.backups(dir)
	for i := range 5 {
		s.store(s.now.AddDate(0, 0, -i-3), 200, time.Minute)
	}
	first := s.run(b, false)
	list := func() map[string]time.Time {
		all := make(map[string]time.Time)
		err := shelfOf(t, dir).Store.List(t.Context(), form.ObjectPrefix, func(i store.Info) error {
			all[i.Name] = i.Modified
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := list()
	for _, full := range []bool{false, true} {
		begin := time.Now()
		again := s.run(b, full)
		t.Logf("full %t: %v", full, time.Since(begin))
		if took := time.Since(begin); !full && took > time.Second {
			t.Errorf("nothing has changed, and it took %v", took)
		}
		if diff := cmp.Diff(days(first), days(again)); diff != "" {
			t.Error(diff)
		}
		if !maps.Equal(before, list()) {
			t.Errorf("full %t: files were written again", full)
		}
	}
}

func TestADamagedBackupFallsBackToTheOneBefore(t *testing.T) {
	s := newSite(t)
	dir := filepath.Join(t.TempDir(), "store")
	b := s.backups(dir)
	s.store(s.now.AddDate(0, 0, -9), 200, time.Minute)
	first := s.run(b, false)
	want := points(t, s.influx)
	s.now = s.now.Add(time.Hour)
	s.store(s.now.Add(-time.Hour), 200, time.Second)
	second := s.run(b, false)
	var object form.File
	for _, d := range second.Days {
		if days(first)[d.Key()] != d.File.Object && d.Group == "readings" {
			object = d.File
		}
	}
	path := filepath.Join(dir, filepath.FromSlash(object.Name()))
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func() error{
		"a file cut off":     func() error { return os.Truncate(path, object.Bytes/2) },
		"a file gone":        func() error { return os.Remove(path) },
		"a changed byte":     func() error { return os.WriteFile(path, append([]byte("x"), content[1:]...), 0o600) },
		"a damaged manifest": func() error { return spoilNewest(t, dir) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			o, db := empty(t, dir)
			var said []string
			o.Say = func(text string) { said = append(said, text) }
			report, err := restore.Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if report.Manifest.ID != first.ID || len(report.PassedOver) != 1 || !strings.Contains(report.PassedOver[0], second.ID) {
				t.Errorf("restored is %s, passed over %q", report.Manifest.ID, report.PassedOver)
			}
			if !strings.Contains(strings.Join(said, "\n"), second.ID+" is damaged") {
				t.Errorf("said is %q", said)
			}
			if diff := cmp.Diff(want["sp"], points(t, db)["sp"]); diff != "" {
				t.Error(diff)
			}
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func spoilNewest(t *testing.T, dir string) error {
	t.Helper()
	entries, err := shelfOf(t, dir).Entries(t.Context())
	if err != nil {
		return err
	}
	path := filepath.Join(dir, filepath.FromSlash(entries[len(entries)-1].Name))
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text[len(text)/2] ^= 1
	return os.WriteFile(path, text, 0o600)
}

func siteFor(site contract.Site) func(context.Context) (contract.Site, error) {
	return func(context.Context) (contract.Site, error) { return site, nil }
}
