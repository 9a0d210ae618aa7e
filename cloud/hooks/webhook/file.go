package webhook

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

const (
	folder   = "webhook" // below the data directory
	fileName = "webhook.db"
	copyName = "positions.json"
	lockWait = time.Second
	// copyEvery is how old the copy of the positions gets: what is delivered
	// again when the file is damaged.
	copyEvery = time.Minute
)

// Bucket and keys of the file; doc.go draws it.
var (
	bucketReceivers = []byte("receivers")
	keyState        = []byte("state")
	keyPending      = []byte("pending")
	keyNext         = []byte("next")
	keyBody         = "body."
)

// ErrLocked means that another process has the file open.
var ErrLocked = errors.New("the file is in use by another process: the role webhook runs once, stop the other")

var errDamaged = errors.New("the file is damaged")

// file keeps how far the receivers have come. Safe for concurrent use.
type file struct {
	path, copy string
	db         *bbolt.DB
	log        *slog.Logger
	moved      bool // the file was damaged and moved aside

	mu     sync.Mutex       // protects what follows
	states map[string]state // as they were saved, or copied before
	copied time.Time
}

// openFile opens the file and makes it if need be. A damaged one is moved aside,
// and the copy of the positions counts, which is a minute older.
func openFile(data string, log *slog.Logger) (*file, error) {
	dir := filepath.Join(data, folder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the positions of webhooks: %w", err)
	}
	f := &file{path: filepath.Join(dir, fileName), copy: filepath.Join(dir, copyName), log: log, states: make(map[string]state)}
	err := f.open()
	if errors.Is(err, errDamaged) {
		aside := fmt.Sprintf("%s.damaged-%d", f.path, time.Now().UnixNano())
		if err := os.Rename(f.path, aside); err != nil {
			return nil, fmt.Errorf("move the damaged positions of webhooks aside: %w", err)
		}
		log.Error("the file of webhook positions is damaged and was moved aside: receivers go on from its copy, and get some readings again",
			slog.String("file", aside), slog.Any("err", err))
		f.moved = true
		err = f.open()
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", f.path, err)
	}
	text, err := os.ReadFile(f.copy)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err == nil && json.Unmarshal(text, &f.states) == nil:
	default:
		log.Error("the copy of webhook positions cannot be read", slog.String("file", f.copy), slog.Any("err", err))
	}
	return f, nil
}

func (f *file) open() error {
	var opened *os.File
	f.db = nil
	err := guard(func() (err error) {
		f.db, err = bbolt.Open(f.path, 0o600, &bbolt.Options{
			Timeout: lockWait, FreelistType: bbolt.FreelistMapType,
			OpenFile: func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
				opened, err = os.OpenFile(name, flag, mode)
				return opened, err
			},
		})
		if err != nil {
			return err
		}
		return f.check()
	})
	if err == nil {
		return nil
	}
	switch {
	case f.db != nil:
		_ = guard(f.db.Close)
	case opened != nil:
		// bbolt 1.5.0 panics on some damage and leaves the lock.
		_ = syscall.Flock(int(opened.Fd()), syscall.LOCK_UN)
		_ = opened.Close()
	}
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return ErrLocked
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return fmt.Errorf("%w (%w)", errDamaged, err)
	}
	return err
}

// check reads everything once, so that damage shows now.
func (f *file) check() error {
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	return f.db.Update(func(tx *bbolt.Tx) error {
		if tx.Size() > info.Size() {
			return fmt.Errorf("%w (it has %d bytes and should have %d)", errDamaged, info.Size(), tx.Size())
		}
		all, err := tx.CreateBucketIfNotExists(bucketReceivers)
		if err != nil {
			return err
		}
		return all.ForEachBucket(func(name []byte) error {
			_, _, _, err := read(all.Bucket(name))
			return err
		})
	})
}

// guard turns what bbolt panics on, and a page that the disk does not give, into
// an error.
func guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w (%v)", errDamaged, p)
		}
	}()
	return do()
}

func (f *file) close() error {
	if err := f.copyStates(); err != nil {
		f.log.Warn("positions of webhooks not copied", slog.Any("err", err))
	}
	return guard(f.db.Close)
}

// load gives where a receiver stands: its state, and the requests that were under
// way, of which the first next were taken. found is false for a new one.
func (f *file) load(receiver string) (s state, pending *outgoing, next int, found bool, err error) {
	err = guard(func() error {
		return f.db.View(func(tx *bbolt.Tx) (err error) {
			b := tx.Bucket(bucketReceivers).Bucket([]byte(receiver))
			if b == nil {
				return nil
			}
			found = true
			s, pending, next, err = read(b)
			return err
		})
	})
	if err != nil || found {
		return s, pending, next, found, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s, found = f.states[receiver]
	return s, nil, 0, found, nil
}

func read(b *bbolt.Bucket) (s state, pending *outgoing, next int, err error) {
	wrong := func(what string, err error) error { return fmt.Errorf("%w (%s: %w)", errDamaged, what, err) }
	if err := json.Unmarshal(b.Get(keyState), &s); err != nil {
		return s, nil, 0, wrong("a state", err)
	}
	text := b.Get(keyPending)
	if text == nil {
		return s, nil, 0, nil
	}
	pending = &outgoing{}
	if err := json.Unmarshal(text, pending); err != nil {
		return s, nil, 0, wrong("what was under way", err)
	}
	if n := b.Get(keyNext); len(n) == 8 {
		next = int(binary.BigEndian.Uint64(n)) //nolint:gosec // ours
	}
	for i := range pending.Requests {
		r := &pending.Requests[i]
		if r.body, err = inflate(b.Get(bodyKey(i)), r.Bytes); err != nil {
			return s, nil, 0, wrong("a request", err)
		}
	}
	return s, pending, next, nil
}

// save notes a state, and what is sent next; nil for nothing yet.
func (f *file) save(receiver string, s state, pending *outgoing) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	err = f.update(receiver, func(all *bbolt.Bucket) error {
		name := []byte(receiver)
		if all.Bucket(name) != nil {
			if err := all.DeleteBucket(name); err != nil {
				return err
			}
		}
		b, err := all.CreateBucket(name)
		if err != nil {
			return err
		}
		if err := b.Put(keyState, text); err != nil || pending == nil {
			return err
		}
		for i, r := range pending.Requests {
			if err := b.Put(bodyKey(i), deflate(r.body)); err != nil {
				return err
			}
		}
		head, err := json.Marshal(pending)
		if err != nil {
			return err
		}
		return b.Put(keyPending, head)
	})
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.states[receiver] = s
	due := time.Since(f.copied) >= copyEvery
	f.mu.Unlock()
	if due {
		return f.copyStates()
	}
	return nil
}

// took notes how many of the requests under way were taken.
func (f *file) took(receiver string, next int) error {
	return f.update(receiver, func(all *bbolt.Bucket) error {
		return all.Bucket([]byte(receiver)).Put(keyNext, binary.BigEndian.AppendUint64(nil, uint64(next))) //nolint:gosec // positive
	})
}

func (f *file) update(receiver string, change func(all *bbolt.Bucket) error) error {
	err := guard(func() error {
		return f.db.Update(func(tx *bbolt.Tx) error { return change(tx.Bucket(bucketReceivers)) })
	})
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("the disk with %s is full, make room: %w", f.path, err)
	case err != nil:
		return fmt.Errorf("note how far %s is: %w", receiver, err)
	}
	return nil
}

// copyStates writes the states beside the file, whole or not at all.
func (f *file) copyStates() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.copied = time.Now()
	text, err := json.Marshal(f.states)
	if err != nil {
		return err
	}
	temporary, err := os.OpenFile(f.copy+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("copy the positions: %w", err)
	}
	_, err = temporary.Write(text)
	if err = errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return fmt.Errorf("copy the positions: %w", err)
	}
	return os.Rename(f.copy+".new", f.copy)
}
