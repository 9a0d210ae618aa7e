package main

import (
	"errors"
	"io/fs"
	"os"
)

// secretFile is a new file that only its owner reads. It is made before the
// server is asked for the secret: a name that cannot be written must not cost a
// token.
type secretFile struct{ file *os.File } // nil: the secret goes onto the screen

// newSecretFile makes the file, which must not be there yet.
func newSecretFile(name string) (*secretFile, error) {
	if name == "" {
		return &secretFile{}, nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // named by the operator
	if err != nil {
		return nil, usage("--out: %s: %v", name, reason(err))
	}
	return &secretFile{f}, nil
}

// keep writes the secret. Without one, as of a dry run, there is nothing to keep.
func (s *secretFile) keep(secret string) error {
	if secret == "" {
		return nil
	}
	_, err := s.file.WriteString(secret + "\n")
	if err = errors.Join(err, s.file.Close()); err != nil {
		_ = os.Remove(s.file.Name()) //nolint:gosec // made above
	}
	s.file = nil
	return err
}

// drop takes the file away that nothing was kept in.
func (s *secretFile) drop() {
	if s.file != nil {
		_ = s.file.Close()
		_ = os.Remove(s.file.Name()) //nolint:gosec // made above
	}
}

// reason is what the system says, without the name of a file that the operator
// has not given.
func reason(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	if l, ok := errors.AsType[*os.LinkError](err); ok {
		return l.Err
	}
	return err
}
