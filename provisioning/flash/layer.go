package flash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
)

// layer holds the changes of an image, by sector, until they are written all at
// once: so that they are known when the image is compared with what it should be.
type layer struct {
	below  *os.File
	size   int64
	change map[int64][]byte // by number of the sector
	before map[int64][]byte // what was there, once written
}

func newLayer(f *os.File, size int64) *layer {
	return &layer{below: f, size: size, change: map[int64][]byte{}, before: map[int64][]byte{}}
}

// ReadAt reads the image as changed.
func (l *layer) ReadAt(p []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(p)) > l.size {
		return 0, io.ErrUnexpectedEOF
	}
	if n, err := l.below.ReadAt(p, at); err != nil && n < len(p) {
		return n, err
	}
	for s := at / diskSector; s*diskSector < at+int64(len(p)); s++ {
		if c, ok := l.change[s]; ok {
			from := s*diskSector - at
			copy(p[max(from, 0):], c[max(-from, 0):])
		}
	}
	return len(p), nil
}

// WriteAt takes a change.
func (l *layer) WriteAt(p []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(p)) > l.size {
		return 0, io.ErrShortWrite
	}
	for done := 0; done < len(p); {
		s, inside := (at+int64(done))/diskSector, int((at+int64(done))%diskSector)
		c, ok := l.change[s]
		if !ok {
			c = make([]byte, diskSector)
			if _, err := l.ReadAt(c[:min(diskSector, l.size-s*diskSector)], s*diskSector); err != nil {
				return done, err
			}
			l.change[s] = c
		}
		done += copy(c[inside:], p[done:])
	}
	return len(p), nil
}

// flush writes the changes to the image.
func (l *layer) flush() error {
	for _, s := range slices.Sorted(maps.Keys(l.change)) {
		old := make([]byte, diskSector)
		if _, err := l.below.ReadAt(old, s*diskSector); err != nil {
			return err
		}
		if bytes.Equal(old, l.change[s]) {
			delete(l.change, s)
			continue
		}
		if _, err := l.below.WriteAt(l.change[s], s*diskSector); err != nil {
			return err
		}
		l.before[s] = old
	}
	return nil
}

// errDiffers says that what was read back is not what was written.
var errDiffers = errors.New("what was read back is not what was written: the disk or the memory of this machine is faulty")

// verify reads the whole image back: the changes must stand there, and with them
// undone it must be the base image.
func (l *layer) verify(ctx context.Context, want sums, progress func(done, total int64)) error {
	buf := make([]byte, chunk)
	for i, sum := range want {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		at := int64(i) * chunk
		piece := buf[:min(chunk, l.size-at)]
		if _, err := l.below.ReadAt(piece, at); err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		for s := at / diskSector; s*diskSector < at+int64(len(piece)); s++ {
			c, ok := l.change[s]
			if !ok {
				continue
			}
			here := piece[s*diskSector-at:][:diskSector]
			if !bytes.Equal(here, c) {
				return fmt.Errorf("byte %d: %w", s*diskSector, errDiffers)
			}
			copy(here, l.before[s])
		}
		if sha256.Sum256(piece) != sum {
			return fmt.Errorf("bytes %d to %d: %w", at, at+int64(len(piece)), errDiffers)
		}
		progress(at+int64(len(piece)), l.size)
	}
	return nil
}
