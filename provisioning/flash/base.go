package flash

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ulikunitz/xz"
)

// ErrNotImage says that the base is no disk image that can be used; the text says
// what it is and what to do.
var ErrNotImage = errors.New("not a disk image")

const (
	chunk = 1 << 20
	// MaxImage is the largest image, unpacked, in bytes. SD cards of gateways are
	// smaller.
	MaxImage = 128 << 30
)

// base is the image to copy, unpacked while it is read.
type base struct {
	file   *os.File
	reader io.Reader
	size   int64 // of the file, packed or not
	packed bool
	taken  int64 // of the file, so far
}

// unusable are files that people take for images, by their first bytes.
var unusable = []struct{ magic, cure string }{ //nolint:gochecknoglobals // a constant
	{"PK\x03\x04", "a ZIP archive: unpack it and give the .img in it"},
	{"QFI\xfb", "a QCOW2 image: qemu-img convert -O raw makes a .img of it"},
	{"(\xb5/\xfd", "packed by zstd: unzstd makes a .img of it"},
	{"BZh", "packed by bzip2: bunzip2 makes a .img of it"},
	{"<!DOCTYPE", "a web page: the download went wrong"},
	{"<html", "a web page: the download went wrong"},
	{"KDMV", "a VMDK image: qemu-img convert -O raw makes a .img of it"},
}

// openBase opens an image; how it is packed shows in its first bytes.
func openBase(name string) (*base, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("base image: %w", err)
	}
	b, err := newBase(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("base image %s: %w", name, err), f.Close())
	}
	return b, nil
}

func newBase(f *os.File) (*base, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: it is no file", ErrNotImage)
	}
	b := &base{file: f, size: info.Size()}
	buffered := bufio.NewReaderSize(countReader{f, &b.taken}, chunk)
	head, _ := buffered.Peek(16) // a shorter one is found out below
	for _, u := range unusable {
		if bytes.HasPrefix(head, []byte(u.magic)) {
			return nil, fmt.Errorf("%w: it is %s", ErrNotImage, u.cure)
		}
	}
	switch {
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		b.packed = true
		b.reader, err = xz.NewReader(buffered)
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		b.packed = true
		b.reader, err = gzip.NewReader(buffered)
	default:
		b.reader = buffered
	}
	if err != nil {
		return nil, fmt.Errorf("%w: unpack it: %w", ErrNotImage, err)
	}
	return b, nil
}

type countReader struct {
	r io.Reader
	n *int64
}

func (c countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	*c.n += int64(n)
	return n, err
}

// sums are the SHA-256 of the pieces of an image, 1 MiB each.
type sums [][sha256.Size]byte

// copyTo writes the unpacked image to out, leaves holes where it is empty, and
// gives its sums and its size.
func (b *base) copyTo(ctx context.Context, out *os.File, progress func(done, total int64)) (s sums, size int64, err error) {
	buf := make([]byte, chunk)
	for {
		if err := context.Cause(ctx); err != nil {
			return nil, size, err
		}
		n, err := io.ReadFull(b.reader, buf)
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && !b.packed
		if b.packed && errors.Is(err, io.ErrUnexpectedEOF) {
			// A short last piece and a file cut short look the same here: another
			// read tells them apart.
			_, again := b.reader.Read(make([]byte, 1))
			last = errors.Is(again, io.EOF)
		}
		if err != nil && !last {
			return nil, size, fmt.Errorf("%w: unpack it after %d bytes: %w: fetch it again", ErrNotImage, size+int64(n), err)
		}
		if n > 0 {
			s = append(s, sha256.Sum256(buf[:n]))
			if err := writeSparse(out, buf[:n], size); err != nil {
				return nil, size, err
			}
			size += int64(n)
			progress(min(b.taken, b.size), b.size)
		}
		if size > MaxImage {
			return nil, size, fmt.Errorf("%w: more than %d bytes", ErrNotImage, int64(MaxImage))
		}
		if last {
			return s, size, out.Truncate(size)
		}
	}
}

// writeSparse leaves zeros out: a new file has them already.
func writeSparse(out *os.File, data []byte, at int64) error {
	const page = 4096
	for len(data) > 0 {
		n := min(page, len(data))
		for n < len(data) && isZero(data[:page]) == isZero(data[n:min(n+page, len(data))]) {
			n = min(n+page, len(data))
		}
		if !isZero(data[:min(page, len(data))]) {
			if _, err := out.WriteAt(data[:n], at); err != nil {
				return err
			}
		}
		data, at = data[n:], at+int64(n)
	}
	return nil
}

var zeros [4096]byte //nolint:gochecknoglobals // a constant

func isZero(p []byte) bool { return bytes.Equal(p, zeros[:len(p)]) }
