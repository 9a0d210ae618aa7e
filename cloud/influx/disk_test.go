package influx_test

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wattline/wattline/cloud/influx/influxd"
	"github.com/wattline/wattline/cloud/influx/influxtest"
)

// smallDisk mounts a file system of its own, of that many bytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("a small disk needs the right to mount one: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all room of a disk and gives the function that gives it back.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, endless{}); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("got %v, want a full disk", err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFullFileSystemLosesNothingAndHeals(t *testing.T) {
	disk := smallDisk(t, "64m")
	cfg := influxtest.Config(t)
	cfg.Dir = filepath.Join(disk, "influx")
	quiet := slog.New(slog.DiscardHandler)

	free := fill(t, disk)
	if s, err := influxd.Start(t.Context(), cfg, quiet); err == nil {
		s.Close()
		t.Error("started without room")
	} else if !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("got %v, want no space left on device", err)
	}
	free()

	s, err := influxd.Start(t.Context(), cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	c := connect(t, &influxtest.Server{URL: s.URL(), Token: s.Token(), Embedded: s})
	database := influxtest.Database(t)
	const lines = 4000
	at := int64(1_700_000_000_000_000)
	write := func() error { return c.Write(t.Context(), database, readings(lines, at)) }
	stored := 0
	for range 5 {
		if err := write(); err != nil {
			t.Fatal(err)
		}
		stored += lines / 4
		at += 1e9
	}
	free = fill(t, disk)
	err = write()
	for range 200 { // what was allotted before may still take some
		if err != nil {
			break
		}
		stored += lines / 4
		at += 1e9
		err = write()
	}
	if err == nil {
		t.Fatal("a full disk takes everything")
	}
	if got, want := verdictOf(t, err), (verdict{operator: true}); got != want {
		t.Errorf("got %+v, want %+v (%v)", got, want, err)
	}
	free()
	waitFor(t, func() bool { return write() == nil })
	stored += lines / 4
	if got := mustCount(t, c, database, "power"); got != int64(stored) {
		t.Errorf("%d points, %d were acknowledged", got, stored)
	}
}
