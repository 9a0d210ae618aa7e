package copies

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/wattline/wattline/shared/bus"
)

// nextPart bounds the wait for an answer to begin and to go on.
const nextPart = time.Minute

// ErrAnswer is what an answer is that makes no sense, or ends before its end.
var ErrAnswer = errors.New("the copy is not whole")

// Asker asks over the bus; *bus.Asker fits.
type Asker interface {
	Once(ctx context.Context, topic string, data json.RawMessage, part func(json.RawMessage) error) (bus.Envelope, error)
}

// Roles are asked for their files; it is a States of the backup.
type Roles struct {
	Asker Asker
	Names []string
}

// Each asks one role after the other. A role that does not answer is an error: a
// backup without its files would be believed.
func (r Roles) Each(ctx context.Context, _ bool, take func(role, path string, secret bool, content io.Reader) error) error {
	for _, role := range r.Names {
		if err := r.ask(ctx, role, take); err != nil {
			return fmt.Errorf("copy the files of the role %s: %w", role, err)
		}
	}
	return nil
}

func (r Roles) ask(ctx context.Context, role string, take func(role, path string, secret bool, content io.Reader) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := fmt.Errorf("it does not answer within %v: look whether it runs", nextPart)
	timer := time.AfterFunc(nextPart, func() { cancel(silent) })
	defer timer.Stop()
	in := &incoming{role: role, take: take}
	defer in.abandon()
	answer, err := r.Asker.Once(ctx, "query/"+Name(role), json.RawMessage("{}"), func(part json.RawMessage) error {
		timer.Stop() // the store's time is not the role's
		defer timer.Reset(nextPart)
		return in.part(part)
	})
	switch {
	case err != nil:
		return err
	case len(answer.Error) > 0:
		return errors.New(answer.ErrorText())
	case answer.Part == nil: // all in one piece
		if err := in.part(answer.Data); err != nil {
			return err
		}
	}
	return in.finish()
}

// incoming is an answer that comes in; each of its files is read by take, in a
// goroutine of its own, while it comes.
type incoming struct {
	role string
	take func(role, path string, secret bool, content io.Reader) error

	path  string // of the file that comes; "" between files
	sum   hash.Hash
	bytes int64
	pipe  *io.PipeWriter
	taken chan error
	files int
	ended bool
}

func (i *incoming) part(text json.RawMessage) error {
	var pieces []piece
	if err := json.Unmarshal(text, &pieces); err != nil {
		return fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	for _, p := range pieces {
		if err := i.piece(p); err != nil {
			return err
		}
	}
	return nil
}

func (i *incoming) piece(p piece) error {
	switch {
	case i.ended:
		return fmt.Errorf("%w: something follows its end", ErrAnswer)
	case p.End:
		if i.ended = true; i.path != "" || p.Files != i.files {
			return fmt.Errorf("%w: it has %d files of %d", ErrAnswer, i.files, p.Files)
		}
		return nil
	case p.Path == "" || i.path != "" && p.Path != i.path:
		return fmt.Errorf("%w: %.80q follows before %s has ended", ErrAnswer, p.Path, i.path)
	case i.path == "":
		i.begin(p)
	}
	if _, err := i.pipe.Write(p.Content); err != nil {
		return i.failed(err)
	}
	i.sum.Write(p.Content)
	i.bytes += int64(len(p.Content))
	if p.Sum == "" {
		return nil
	}
	if p.Bytes != i.bytes || p.Sum != hex.EncodeToString(i.sum.Sum(nil)) {
		return fmt.Errorf("%w: %s is not what was sent", ErrAnswer, i.path)
	}
	i.path = ""
	i.files++
	err := i.pipe.Close()
	return errors.Join(err, <-i.taken)
}

func (i *incoming) begin(p piece) {
	reader, writer := io.Pipe()
	i.path, i.sum, i.bytes, i.pipe, i.taken = p.Path, sha256.New(), 0, writer, make(chan error, 1)
	role, take, taken := i.role, i.take, i.taken
	go func() {
		err := take(role, p.Path, p.Secret, reader)
		_ = reader.CloseWithError(errStopped) // whoever sends must not wait for ever
		taken <- err
	}()
}

var errStopped = errors.New("nobody reads it any more")

// failed gives what the reader failed of.
func (i *incoming) failed(err error) error {
	if errors.Is(err, errStopped) {
		i.path = ""
		if taken := <-i.taken; taken != nil {
			return taken
		}
	}
	return err
}

// abandon ends the reading of a file that did not come whole.
func (i *incoming) abandon() {
	if i.path != "" {
		_ = i.pipe.CloseWithError(ErrAnswer)
		if err := <-i.taken; err != nil { // it is the answer that failed
			return
		}
	}
}

func (i *incoming) finish() error {
	if !i.ended {
		return fmt.Errorf("%w: it ends after %d files", ErrAnswer, i.files)
	}
	return nil
}
