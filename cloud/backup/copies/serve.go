package copies

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/wattline/wattline/cloud/backup/form"
	"github.com/wattline/wattline/shared/hook"
)

const (
	// pieceBytes is how much of a file a part has.
	pieceBytes = 512 << 10
	// patience bounds one answer: files of gigabytes to a slow asker.
	patience = 30 * time.Minute
	// maxSecret bounds a secret file, which is sealed in memory.
	maxSecret = 1 << 20
)

// Name is that of the component of a role.
func Name(role string) string { return role + "_copy" }

// File is one that a role gives.
type File struct {
	Path   string // below the data directory of the restored site, with slashes
	Secret bool
	// Copy writes it; nothing written means that there is none.
	Copy func(w io.Writer) error
}

// Plain is a file on the disk that nobody changes in place.
func Plain(path, from string, secret bool) File {
	return File{Path: path, Secret: secret, Copy: func(w io.Writer) error {
		f, err := os.Open(from)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	}}
}

// piece is an element of an answer: a piece of a file, or what the whole file was.
type piece struct {
	Path    string `json:"path"`
	Secret  bool   `json:"secret,omitempty"`
	Content []byte `json:"content,omitempty"`
	// Of the last piece of a file.
	Sum   string `json:"sha256,omitempty"`
	Bytes int64  `json:"bytes,omitempty"`
	// Of the last piece of all.
	Files int  `json:"files,omitempty"`
	End   bool `json:"end,omitempty"`
}

// Component answers for a role. Spool is a directory where files grow before they
// are sent, so that the role does not wait for the asker.
func Component(role, spool string, keys *form.Keys, log *slog.Logger, files ...File) hook.Component {
	return hook.Component{
		Name: Name(role), Family: hook.Queries, Timeout: patience, Concurrent: 1,
		Handle: func(ctx context.Context, _ hook.Request, w *hook.Answer) error {
			a := &answer{w: w, spool: spool, keys: keys}
			if err := a.all(ctx, files); err != nil {
				log.ErrorContext(ctx, "files not copied for a backup", slog.String("component", Name(role)), slog.Any("err", err))
				return err
			}
			return nil
		},
	}
}

type answer struct {
	w     *hook.Answer
	spool string
	keys  *form.Keys
	sent  int
}

func (a *answer) part(ctx context.Context, p piece) error {
	text, err := json.Marshal([]piece{p})
	if err != nil {
		return err
	}
	return a.w.Part(ctx, text)
}

func (a *answer) all(ctx context.Context, files []File) error {
	for _, f := range files {
		if f.Secret && !a.keys.Encrypts() {
			continue
		}
		if err := a.file(ctx, f); err != nil {
			return fmt.Errorf("copy %s: %w", f.Path, err)
		}
	}
	return a.part(ctx, piece{End: true, Files: a.sent})
}

// file copies a file at once, and then sends it at the asker's pace.
func (a *answer) file(ctx context.Context, f File) error {
	path := f.Path
	if f.Secret {
		path = form.Sealed(path)
	}
	if err := os.MkdirAll(a.spool, 0o700); err != nil {
		return err
	}
	grown, err := os.CreateTemp(a.spool, "copy-*")
	if err != nil {
		return err
	}
	defer grown.Close()
	if err := os.Remove(grown.Name()); err != nil { // it is gone with its descriptor
		return err
	}
	content, err := a.content(f, grown)
	if err != nil || content == nil {
		return err
	}
	sum, n, buffer := sha256.New(), int64(0), make([]byte, pieceBytes)
	for {
		read, err := io.ReadFull(content, buffer)
		sum.Write(buffer[:read])
		n += int64(read)
		if read > 0 {
			if err := a.part(ctx, piece{Path: path, Secret: f.Secret, Content: buffer[:read]}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	a.sent++
	return a.part(ctx, piece{Path: path, Secret: f.Secret, Sum: hex.EncodeToString(sum.Sum(nil)), Bytes: n})
}

// content is what is sent of a file; nil where there is none.
func (a *answer) content(f File, grown *os.File) (io.Reader, error) {
	if f.Secret { // not even the spool gets it as it is
		var plain bytes.Buffer
		if err := f.Copy(&limited{to: &plain, left: maxSecret}); err != nil || plain.Len() == 0 {
			return nil, err
		}
		sealed, err := a.keys.SealSecret(plain.Bytes())
		return bytes.NewReader(sealed), err
	}
	if err := f.Copy(grown); err != nil {
		return nil, err
	}
	n, err := grown.Seek(0, io.SeekEnd)
	if err != nil || n == 0 {
		return nil, err
	}
	_, err = grown.Seek(0, io.SeekStart)
	return grown, err
}

type limited struct {
	to   io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errors.New("it is too long for a secret")
	}
	return l.to.Write(p)
}

// Spool is the directory of a data directory where files grow.
func Spool(data string) string { return filepath.Join(data, "backup", "copies") }
