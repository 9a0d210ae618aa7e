package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/wattline/wattline/cloud/backup"
	"github.com/wattline/wattline/cloud/backup/form"
)

// journal remembers which days a restore has brought back, so that one that was
// killed goes on. A line counts when it is whole; each is on the disk before the
// next day begins. Without a data directory nothing is remembered.
type journal struct {
	path string
	f    *os.File
	done map[string]bool
	old  bool
	// whole is how long the whole lines are that were there.
	whole int
}

func readJournal(data, id string) (*journal, error) {
	j := &journal{done: make(map[string]bool)}
	if data == "" {
		return j, nil
	}
	j.path = filepath.Join(data, backup.Folder, "restore-"+id+".journal")
	text, err := os.ReadFile(j.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read what was brought back: %w", err)
	}
	j.old, j.whole = err == nil, strings.LastIndexByte(string(text), '\n')+1
	for line := range strings.SplitSeq(string(text[:j.whole]), "\n") {
		j.done[line] = true
	}
	return j, nil
}

// open begins to note; all checks have been passed.
func (j *journal) open() (err error) {
	if j.path == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(j.path), 0o700); err != nil {
		return err
	}
	if j.f, err = os.OpenFile(j.path, os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
		return fmt.Errorf("note what is brought back: %w", err)
	}
	err = j.f.Truncate(int64(j.whole))
	if err == nil {
		_, err = j.f.Seek(int64(j.whole), 0)
	}
	if err != nil {
		err = errors.Join(err, j.close())
	}
	return err
}

// begun tells whether an earlier attempt had passed all checks.
func (j *journal) begun() bool { return j.old }

func key(d form.Day) string { return d.Key() + " " + d.File.Object }

func (j *journal) has(d form.Day) bool { return j.done[key(d)] }

func (j *journal) add(d form.Day) error {
	if j.f == nil {
		return nil
	}
	_, err := j.f.WriteString(key(d) + "\n")
	if err = errors.Join(err, j.f.Sync()); err != nil {
		return fmt.Errorf("note what was brought back: %w", err)
	}
	return nil
}

// finish forgets it all: the restore is complete.
func (j *journal) finish() error {
	if j.f == nil {
		return nil
	}
	return os.Remove(j.path)
}

func (j *journal) close() error {
	if j.f == nil {
		return nil
	}
	err := j.f.Close()
	j.f = nil
	return err
}
