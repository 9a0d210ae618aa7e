package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/backup"
	"github.com/wattline/wattline/cloud/backup/form"
	"github.com/wattline/wattline/cloud/backup/restore"
	"github.com/wattline/wattline/cloud/backup/shelf"
	"github.com/wattline/wattline/cloud/backup/store"
	"github.com/wattline/wattline/cloud/influx"
	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/pki"
)

func TestWithKeysAllIsEncryptedAndSecretsAreKept(t *testing.T) {
	s := newSite(t)
	s.settle()
	s.store(s.now.AddDate(0, 0, -3), 50, time.Minute)
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "store")
	b := s.backups(dir, func(c *backup.Config, _ *backup.Options) { c.Recipients = []string{id.Recipient().String()} })
	m := s.run(b, false)
	if again := s.run(b, false); !cmp.Equal(days(m), days(again)) {
		t.Error("days that have not changed were encrypted again")
	}
	err = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || !strings.Contains(path, "objects") {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil && !bytes.HasPrefix(text, []byte("age-encryption.org/v1")) {
			t.Errorf("%s is not encrypted", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := points(t, s.influx)
	o, db := empty(t, dir)
	if _, err := restore.Run(t.Context(), o); !errors.Is(err, form.ErrKey) || !strings.Contains(err.Error(), "-identity") {
		t.Errorf("without a key: %v", err)
	}
	stranger, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	o.Keys = &form.Keys{}
	if err := o.Keys.ReadIdentities(strings.NewReader(stranger.String())); err != nil {
		t.Fatal(err)
	}
	if _, err := restore.Run(t.Context(), o); !errors.Is(err, form.ErrKey) || !strings.Contains(err.Error(), id.Recipient().String()) {
		t.Errorf("with another key: %v", err)
	}
	if left := points(t, db); len(left) > 0 {
		t.Errorf("before the key was right, %v was written", left)
	}
	if err := o.Keys.ReadIdentities(strings.NewReader(id.String())); err != nil {
		t.Fatal(err)
	}
	if _, err := restore.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, points(t, db)); diff != "" {
		t.Error(diff)
	}
	if _, err := pki.LoadAuthority(filepath.Join(o.Data, "registry"), time.Now()); err != nil {
		t.Error(err)
	}
}

func TestTheStoreOfAnotherSiteIsLeftAlone(t *testing.T) {
	mine, other := newSite(t), newSite(t)
	mine.settle()
	dir := filepath.Join(t.TempDir(), "store")
	mine.run(mine.backups(dir), false)
	b := other.backups(dir)
	if _, err := b.Run(t.Context(), false); !errors.Is(err, shelf.ErrOtherSite) || !strings.Contains(err.Error(), `"House"`) {
		t.Errorf("got %v", err)
	}
	entries, err := shelfOf(t, dir).Entries(t.Context())
	if err != nil || len(entries) != 1 {
		t.Errorf("%d backups, %v", len(entries), err)
	}
	// A site that has lost its notes takes its store back.
	if err := os.RemoveAll(filepath.Join(mine.data, backup.Folder)); err != nil {
		t.Fatal(err)
	}
	again := mine.backups(dir)
	if _, err := again.Run(t.Context(), false); !errors.Is(err, shelf.ErrOtherSite) || !strings.Contains(err.Error(), "-adopt") {
		t.Errorf("without its notes: %v", err)
	}
	if _, err := again.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	again.Log = slog.New(slog.NewTextHandler(&said, nil))
	if m := mine.run(again, false); m.Basis != "" || m.Sequence != 2 {
		t.Errorf("what others may have changed is built upon: %+v", m)
	}
	if !strings.Contains(said.String(), "two clouds use one store") {
		t.Errorf("the log has nothing of it: %s", said.String())
	}
	// Nor does a site take another's files.
	other.run(other.backups(filepath.Join(t.TempDir(), "its own")), false)
	o, _ := empty(t, dir)
	o.Data = other.data
	if _, err := restore.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "another site") {
		t.Errorf("restored over another site: %v", err)
	}
}

func TestAnEmptyMountPointIsNoNewStore(t *testing.T) {
	s := newSite(t)
	dir := filepath.Join(t.TempDir(), "store")
	b := s.backups(dir)
	s.run(b, false)
	if err := os.Rename(dir, dir+".unmounted"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.backups(dir).Run(t.Context(), false); err == nil || !strings.Contains(err.Error(), "mounted") {
		t.Errorf("got %v", err)
	}
}

func TestAFileThatIsGoneIsCopiedAgain(t *testing.T) {
	s := newSite(t)
	s.store(s.now.AddDate(0, 0, -9), 50, time.Minute)
	dir := filepath.Join(t.TempDir(), "store")
	b := s.backups(dir)
	first := s.run(b, false)
	for i, d := range first.Days {
		path := filepath.Join(dir, filepath.FromSlash(d.File.Name()))
		if i%2 == 0 {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		} else if err := os.Truncate(path, 3); err != nil {
			t.Fatal(err)
		}
	}
	second := s.run(b, false)
	bad, err := shelfOf(t, dir).Check(t.Context(), second.Files(), nil)
	if err != nil || len(bad) > 0 {
		t.Errorf("%v, %v", bad, err)
	}
}

func TestALedgerThatHasShrunkIsNotBuiltUpon(t *testing.T) {
	s := newSite(t)
	for i := range 5 {
		s.store(s.now.AddDate(0, 0, -9-i), 50, time.Minute)
	}
	dir := filepath.Join(t.TempDir(), "store")
	b := s.backups(dir)
	first := s.run(b, false)
	for _, name := range []string{"sp", "wattline"} {
		if err := s.influx.Exec(t.Context(), name, "DROP DATABASE "+name); err != nil {
			t.Fatal(err)
		}
	}
	s.store(s.now.AddDate(0, 0, -9), 50, time.Minute)
	s.now = s.now.Add(time.Minute)
	second := s.run(b, false)
	if second.Basis != "" || second.Points() >= first.Points() {
		t.Errorf("it builds on %q and has %d points, after %d", second.Basis, second.Points(), first.Points())
	}
}

func TestReadingsOutsideTheLedgerAreFoundByCounting(t *testing.T) {
	s := newSite(t)
	s.store(s.now.AddDate(0, 0, -9), 50, time.Minute)
	dir := filepath.Join(t.TempDir(), "store")
	b := s.backups(dir)
	s.run(b, false)
	s.write("sp", fmt.Sprintf("power,id=x value=1 %d\n", s.now.AddDate(0, 0, -20).UnixMicro()))
	key := "sp/readings/" + string(form.DateOf(s.now.AddDate(0, 0, -20)))
	s.now = s.now.Add(24 * time.Hour)
	if days(s.run(b, false))[key] != "" {
		t.Error("it was found before all days were counted")
	}
	s.now = s.now.Add(7 * 24 * time.Hour)
	if m := s.run(b, false); days(m)[key] == "" || m.Basis == "" {
		t.Error("it was not found")
	}
}

// full is a store whose disk is full after a while.
type full struct {
	store.Store
	left int
}

func (f *full) Put(ctx context.Context, name string, size int64, content io.Reader) error {
	if f.left--; f.left < 0 {
		return fmt.Errorf("keep %s: %w", name, syscall.ENOSPC)
	}
	return f.Store.Put(ctx, name, size, content)
}

// liar is a store that says yes and keeps something else.
type liar struct{ store.Store }

func (l liar) Put(ctx context.Context, name string, size int64, content io.Reader) error {
	if strings.HasPrefix(name, form.ObjectPrefix) && size > 0 {
		content = io.MultiReader(strings.NewReader("?"), io.LimitReader(content, size-1))
	}
	return l.Store.Put(ctx, name, size, content)
}

func TestAFailedBackupLeavesTheLastOneGood(t *testing.T) {
	s := newSite(t)
	dir := filepath.Join(t.TempDir(), "store")
	s.store(s.now.AddDate(0, 0, -9), 50, time.Minute)
	first := s.run(s.backups(dir), false)
	for i := range 6 {
		s.store(s.now.AddDate(0, 0, -20-i), 50, time.Minute)
	}
	s.now = s.now.Add(3 * time.Minute)
	inner := shelfOf(t, dir).Store
	for name, c := range map[string]struct {
		with store.Store
		want string
	}{
		"the disk is full": {&full{inner, 3}, "no space left"},
		"the store lies":   {liar{inner}, "not what was written"},
	} {
		_, err := s.backups(dir, func(_ *backup.Config, o *backup.Options) { o.Store = c.with }).Run(t.Context(), false)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		entries, err := shelfOf(t, dir).Entries(t.Context())
		if err != nil || len(entries) != 1 || entries[0].ID != first.ID {
			t.Errorf("%s: there are %v, %v", name, entries, err)
		}
		bad, err := shelfOf(t, dir).Check(t.Context(), first.Files(), nil)
		if err != nil || len(bad) > 0 {
			t.Errorf("%s: of the last good one %v is bad, %v", name, bad, err)
		}
	}
}

func TestTwoBackupsDoNotRunAtOnce(t *testing.T) {
	s := newSite(t)
	dir := filepath.Join(t.TempDir(), "store")
	b := s.backups(dir)
	release, err := b.Store.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if _, err := b.Run(t.Context(), false); !errors.Is(err, store.ErrBusy) {
		t.Errorf("got %v", err)
	}
}

// child runs this test binary as a process that makes a backup or restores one
// until it is killed.
const childVariable = "WATTLINE_BACKUP_CHILD"

func TestChild(t *testing.T) {
	what, rest, ok := strings.Cut(os.Getenv(childVariable), " ")
	if !ok {
		t.Skip("run by the tests of kills")
	}
	args := strings.Split(rest, " ")
	s := &site{t: t, data: args[0], now: time.Now().Add(2 * time.Minute)}
	cfg := influx.DefaultConfig()
	cfg.URL, cfg.Token = args[2], config.Secret(args[3])
	var err error
	if s.influx, err = influx.New(cfg, influx.InNanoseconds()); err != nil {
		t.Fatal(err)
	}
	if s.micros, err = influx.New(cfg); err != nil {
		t.Fatal(err)
	}
	fmt.Println("begun")
	if what == "backup" {
		_, err = s.backups(args[1]).Run(t.Context(), true)
	} else {
		_, err = restore.Run(t.Context(), restore.Options{Shelf: shelfOf(t, args[1]), Influx: s.influx, Data: s.data, Log: discard})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// killed runs a child and kills it after a while; done tells that it had ended by
// itself.
func killed(t *testing.T, what, data, dir string, server *influxtest.Server, after time.Duration) (done bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), childVariable+"="+strings.Join([]string{what, data, dir, server.URL, server.Token}, " "))
	var out bytes.Buffer
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	if _, err := r.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	text, _ := io.ReadAll(r)
	err = cmd.Wait()
	timer.Stop()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		t.Fatalf("%s failed: %s%s", what, text, out.String())
	}
	return err == nil
}

// complete tells whether a restore had done all when it was killed: it has begun,
// and its notes are gone.
func complete(t *testing.T, data string) bool {
	t.Helper()
	notes, err := filepath.Glob(filepath.Join(data, backup.Folder, "*.journal"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = os.Stat(filepath.Join(data, backup.Folder, "home.json"))
	return err == nil && len(notes) == 0
}

func TestKillsOfBackupAndRestoreLoseNothing(t *testing.T) {
	s := newSite(t)
	s.settle()
	for i := range 12 {
		s.store(s.now.AddDate(0, 0, -3-i), 400, time.Minute)
	}
	want := points(t, s.influx)
	dir := filepath.Join(t.TempDir(), "store")
	kills := 0
	for i := range 12 {
		if !killed(t, "backup", s.data, dir, s.server, time.Duration(i*i)*3*time.Millisecond) {
			kills++
		}
		entries, err := shelfOf(t, dir).Entries(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			m, err := shelfOf(t, dir).Manifest(t.Context(), e)
			if err != nil {
				t.Fatalf("after kill %d: %v", i, err)
			}
			if bad, err := shelfOf(t, dir).Check(t.Context(), m.Files(), nil); err != nil || len(bad) > 0 {
				t.Fatalf("after kill %d: %v, %v", i, bad, err)
			}
		}
	}
	last := s.run(s.backups(dir), false)
	t.Logf("%d of 12 backups were killed", kills)

	o, _ := empty(t, dir)
	server := influxtest.StartEmbedded(t, nil)
	kills = 0
	for i := range 12 {
		if killed(t, "restore", o.Data, dir, server, time.Duration(i*i)*3*time.Millisecond) || complete(t, o.Data) {
			break
		}
		kills++
	}
	t.Logf("%d restores were killed", kills)
	o.Influx = connect(t, server, influx.InNanoseconds())
	o.Merge = true // the last may have been finished
	report, err := restore.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if report.Manifest.ID != last.ID {
		t.Errorf("restored is %s, not %s", report.Manifest.ID, last.ID)
	}
	got := points(t, connect(t, server, influx.InNanoseconds()))
	if diff := cmp.Diff(want["sp"], got["sp"]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(objects(t, s.data), objects(t, o.Data)); diff != "" {
		t.Error(diff)
	}
}

// dies is a store whose user dies when the marker is kept.
type dies struct{ store.Store }

var errDead = errors.New("dead")

func (d dies) Put(ctx context.Context, name string, size int64, content io.Reader) error {
	if err := d.Store.Put(ctx, name, size, content); err != nil || name != form.MarkerName {
		return err
	}
	return errDead
}

func TestASiteThatDiesAsItBeginsAStoreKnowsItAgain(t *testing.T) {
	s := newSite(t)
	dir := filepath.Join(t.TempDir(), "store")
	_, err := s.backups(dir, func(_ *backup.Config, o *backup.Options) { o.Store = dies{o.Store} }).Run(t.Context(), false)
	if !errors.Is(err, errDead) {
		t.Fatalf("got %v", err)
	}
	s.run(s.backups(dir), false)
}
