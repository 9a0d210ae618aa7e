package store_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wattline/wattline/cloud/backup/store"
)

// contract is what every store does.
func contract(t *testing.T, s store.Store) {
	t.Helper()
	ctx := t.Context()
	put := func(name, text string) error { return s.Put(ctx, name, int64(len(text)), strings.NewReader(text)) }
	for name, text := range map[string]string{"wattline-backup.json": "{}", "objects/0a/0abc": "x", "objects/0b/0bcd": strings.Repeat("y", 1<<20), "backups/1.json": ""} {
		if err := put(name, text); err != nil {
			t.Fatal(err)
		}
		if got, err := store.Read(ctx, s, name, 2<<20); err != nil || string(got) != text {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if err := put("objects/0a/0abc", "instead"); err != nil {
		t.Error(err)
	}
	var names []string
	err := s.List(ctx, "objects/", func(i store.Info) error {
		names = append(names, i.Name)
		if i.Name == "objects/0a/0abc" && i.Bytes != 7 || i.Modified.IsZero() {
			t.Errorf("%+v", i)
		}
		return nil
	})
	slices.Sort(names)
	if err != nil || !slices.Equal(names, []string{"objects/0a/0abc", "objects/0b/0bcd"}) {
		t.Errorf("%v, %v", names, err)
	}
	if err := s.Put(ctx, "objects/0c/short", 10, strings.NewReader("nine")); err == nil {
		t.Error("a file that is shorter than it should be is kept")
	}
	if _, err := s.Open(ctx, "objects/0c/short"); !errors.Is(err, store.ErrMissing) {
		t.Errorf("what was not kept: %v", err)
	}
	if err := s.Put(ctx, "objects/0c/broken", 10, &breaks{}); !errors.Is(err, errBreaks) {
		t.Errorf("a content that breaks off: %v", err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Put(gone, "objects/0c/late", 1, strings.NewReader("x")); err == nil {
		t.Error("a context that is over is not looked at")
	}
	for _, name := range []string{"", "../x", "/etc/x", "a//b", "a/../b", ".lock", "a b"} {
		if err := put(name, "x"); err == nil {
			t.Errorf("%q is taken for a name", name)
		}
		if _, err := s.Open(ctx, name); err == nil {
			t.Errorf("%q can be opened", name)
		}
	}
	for range 2 {
		if err := s.Delete(ctx, "objects/0a/0abc"); err != nil {
			t.Error(err)
		}
	}
	release, err := s.Lock(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lock(ctx); !errors.Is(err, store.ErrBusy) {
		t.Errorf("locked twice: %v", err)
	}
	release()
	release, err = s.Lock(ctx)
	if err != nil {
		t.Fatal(err)
	}
	release()
}

var errBreaks = errors.New("breaks")

type breaks struct{ n int }

func (b *breaks) Read(p []byte) (int, error) {
	if b.n++; b.n > 1 {
		return 0, errBreaks
	}
	return copy(p, "begin"), nil
}

func TestADirectoryKeepsFiles(t *testing.T) {
	root := filepath.Join(t.TempDir(), "backups")
	s, err := store.OpenDir(root)
	if err != nil {
		t.Fatal(err)
	}
	contract(t, s)
	left, err := os.ReadDir(filepath.Join(root, ".unfinished"))
	if err != nil || len(left) != 0 {
		t.Errorf("%v, %v is left", err, left)
	}
	f, err := s.Open(t.Context(), "wattline-backup.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := os.Stat(filepath.Join(root, "objects", "0b", "0bcd")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	_, _ = io.Copy(io.Discard, f)
}

func TestADiskThatIsNotMountedIsNoStore(t *testing.T) {
	if _, err := store.OpenDir(filepath.Join(t.TempDir(), "mnt", "nas", "wattline")); err == nil || !strings.Contains(err.Error(), "mounted") {
		t.Errorf("%v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.OpenDir(file); err == nil {
		t.Error("a file is taken for a directory")
	}
}
