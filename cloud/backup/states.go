package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/wattline/wattline/cloud/backup/form"
)

// StateFile is a file of a role, below the data directory.
type StateFile struct {
	Role   string
	Path   string // with slashes
	Secret bool
	// Live is kept open by the role that owns it, which locks it.
	Live bool
}

// StateFiles are the files of the roles that a backup has.
func StateFiles() []StateFile {
	return []StateFile{
		{Role: "registry", Path: "registry/registry.db", Live: true},
		// Without its key the authority's certificate is of no use, and in the way of
		// a new one.
		{Role: "registry", Path: "registry/ca.pem", Secret: true},
		{Role: "registry", Path: "registry/ca.key", Secret: true},
		{Role: "alerting", Path: "alerting/alerting.db", Live: true},
		{Role: "webhook", Path: "webhook/webhook.db", Live: true},
	}
}

// Stopped gives the files of roles that do not run. Its errors say when they do.
type Stopped struct{ Data string }

// Each implements [States].
func (s Stopped) Each(_ context.Context, secrets bool, take func(role, path string, secret bool, content io.Reader) error) error {
	for _, f := range StateFiles() {
		if f.Secret && !secrets {
			continue
		}
		if err := s.one(f, take); err != nil {
			return fmt.Errorf("copy %s: %w", f.Path, err)
		}
	}
	return nil
}

func (s Stopped) one(f StateFile, take func(role, path string, secret bool, content io.Reader) error) error {
	file, err := os.Open(filepath.Join(s.Data, filepath.FromSlash(f.Path)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if f.Live {
		// The lock that bbolt takes: nobody writes while we have it.
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("the role %s has it open: stop the cloud, or let it make the backup itself: wattline backup start", f.Role)
		}
		if err != nil {
			return err
		}
	}
	return take(f.Role, f.Path, f.Secret, file)
}

// states copies the files of the roles.
func (r *run) states(ctx context.Context) error {
	r.doing("copying the files of the roles")
	before := make(map[string]form.File)
	if r.basis != nil {
		for _, s := range r.basis.States {
			before[s.Path] = s.File
		}
	}
	err := r.States.Each(ctx, r.keys.Encrypts(), func(role, path string, secret bool, content io.Reader) error {
		if !form.IsStatePath(path) || slices.ContainsFunc(r.manifest.States, func(s form.State) bool { return s.Path == path }) {
			return fmt.Errorf("the role %s gives %.80q, which is no file of a site, or twice", role, path)
		}
		if secret && !r.keys.Encrypts() {
			return fmt.Errorf("the role %s gives %s, which is secret, and the backup is not encrypted", role, path)
		}
		return r.keep(ctx, before[path], func(w *form.Sealer) (bool, error) {
			_, err := io.Copy(w, content)
			return true, err
		}, func(f form.File) {
			r.manifest.States = append(r.manifest.States, form.State{Role: role, Path: path, Secret: secret, File: f})
		})
	})
	if err != nil {
		return err
	}
	r.Log.DebugContext(ctx, "files of the roles copied", slog.Int("files", len(r.manifest.States)))
	return nil
}

// ConfigPath is where a restored configuration is, below the data directory; it is
// secret, for it may hold passwords.
const ConfigPath = "restored/cloud.yaml"

// Together gives the files of several.
type Together []States

// Each implements [States].
func (t Together) Each(ctx context.Context, secrets bool, take func(role, path string, secret bool, content io.Reader) error) error {
	for _, s := range t {
		if err := s.Each(ctx, secrets, take); err != nil {
			return err
		}
	}
	return nil
}

// File is one secret file from anywhere; one that is not there is none.
type File struct{ Role, Path, From string }

// Each implements [States].
func (f File) Each(_ context.Context, secrets bool, take func(role, path string, secret bool, content io.Reader) error) error {
	if !secrets || f.From == "" {
		return nil
	}
	file, err := os.Open(f.From)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", f.From, err)
	}
	defer file.Close()
	return take(f.Role, f.Path, true, file)
}
