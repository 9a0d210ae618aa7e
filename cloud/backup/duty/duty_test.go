package duty_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wattline/wattline/cloud/backup"
	"github.com/wattline/wattline/cloud/backup/duty"
	"github.com/wattline/wattline/cloud/backup/form"
	"github.com/wattline/wattline/cloud/backup/shelf"
	"github.com/wattline/wattline/cloud/backup/store"
	"github.com/wattline/wattline/cloud/backup/trial"
	"github.com/wattline/wattline/shared/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// maker makes backups of nothing, or fails.
type maker struct {
	err     error
	running atomic.Int32
	t       *testing.T
}

func (m *maker) Run(context.Context, bool) (*form.Manifest, error) {
	if m.running.Add(1) > 1 {
		m.t.Error("two things are done at once")
	}
	defer m.running.Add(-1)
	if m.err != nil {
		return nil, m.err
	}
	return &form.Manifest{ID: "20261124T031500Z-9f3c0a17"}, nil
}

func (m *maker) Progress() backup.Progress { return backup.Progress{NewBytes: 7} }

func start(t *testing.T, data string, m *maker, change func(*duty.Options)) *duty.Duty {
	t.Helper()
	o := duty.Options{
		Maker: m, Shelf: shelf.Shelf{Store: store.NewDir(filepath.Join(data, "store"))}, Data: data, Metrics: metrics.New(), Log: slog.New(slog.DiscardHandler),
		Prune: func(context.Context) (shelf.Pruned, error) { return shelf.Pruned{}, nil },
		Trial: func(context.Context) (trial.Result, error) {
			if m.running.Add(1) > 1 {
				t.Error("two things are done at once")
			}
			defer m.running.Add(-1)
			return trial.Result{Backup: "20261124T031500Z-9f3c0a17", Points: 9}, nil
		},
	}
	if change != nil {
		change(&o)
	}
	d, err := duty.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestHowItWentOutlivesTheRole(t *testing.T) {
	data, m := t.TempDir(), &maker{t: t}
	d := start(t, data, m, nil)
	if !d.LastMade().IsZero() || !d.LastTried().IsZero() {
		t.Error("something was done before anything was")
	}
	if err := errors.Join(d.Make(t.Context()), d.Try(t.Context())); err != nil {
		t.Fatal(err)
	}
	m.err = errors.New("the disk is full")
	if err := d.Make(t.Context()); !errors.Is(err, m.err) {
		t.Errorf("got %v", err)
	}
	made := d.LastMade()
	again := start(t, data, m, nil)
	s := again.Status()
	if !again.LastMade().Equal(made) || s.Good == nil || s.Good.New != 7 || s.Last == nil || s.Last.Error != "the disk is full" || s.Verified == nil || s.Verified.Points != 9 {
		t.Errorf("%+v, good %+v, last %+v", s, s.Good, s.Last)
	}
}

func TestAgesCountFromTheBeginningWhereNothingWasGood(t *testing.T) {
	data, m, now := t.TempDir(), &maker{t: t, err: errors.New("no")}, time.Now()
	clock := func(o *duty.Options) { o.Now = func() time.Time { return now } }
	d := start(t, data, m, clock)
	now = now.Add(37 * time.Hour)
	if err := d.Make(t.Context()); err == nil {
		t.Error("it is said to be made")
	}
	if s := start(t, data, m, clock).Status(); s.AgeHours != 37 || s.VerifiedAgeHours != 37 {
		t.Errorf("%+v", s)
	}
	m.err = nil
	if err := d.Make(t.Context()); err != nil {
		t.Fatal(err)
	}
	now = now.Add(-time.Hour) // the clock is set back
	if s := d.Status(); s.AgeHours != 0 || s.VerifiedAgeHours != 36 {
		t.Errorf("%+v", s)
	}
}

func TestOnlyOneThingIsDoneAtATime(t *testing.T) {
	d := start(t, t.TempDir(), &maker{t: t}, nil)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { _ = d.Make(t.Context()) })
		all.Go(func() { _ = d.Try(t.Context()) })
	}
	all.Wait()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_ = d.Make(gone) // either, but it returns
}

func TestNotesThatCannotBeReadBeginAnew(t *testing.T) {
	data := t.TempDir()
	if err := os.MkdirAll(filepath.Join(data, backup.Folder), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, backup.Folder, "duty.json"), []byte(`{"since": 1, "go`), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	d := start(t, data, &maker{t: t}, func(o *duty.Options) { o.Log = slog.New(slog.NewTextHandler(&said, nil)) })
	if !strings.Contains(said.String(), "begins anew") || d.Status().AgeHours > 1 {
		t.Errorf("%s, %+v", said.String(), d.Status())
	}
}

func TestABackupIsGoodThoughOldOnesStay(t *testing.T) {
	d := start(t, t.TempDir(), &maker{t: t}, func(o *duty.Options) {
		o.Prune = func(context.Context) (shelf.Pruned, error) { return shelf.Pruned{}, errors.New("the share is slow") }
	})
	if err := d.Make(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := d.Status(); s.Good == nil || !strings.Contains(s.Good.Note, "the share is slow") {
		t.Errorf("%+v", s.Good)
	}
}
