package outbox_test

import (
	"bytes"
	"io"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wattline/wattline/edge/outbox"
	"github.com/wattline/wattline/shared/contract"
)

// badDisk can't read what lies from one offset to another.
type badDisk struct {
	data     []byte
	from, to int64
}

func (d badDisk) ReadAt(p []byte, at int64) (int, error) {
	end := int64(len(d.data))
	if at >= d.from && at < d.to {
		return 0, unix.EIO
	}
	if at < d.from {
		end = d.from
	}
	n := copy(p, d.data[min(at, end):end])
	switch {
	case n == len(p):
		return n, nil
	case end == d.from:
		return n, unix.EIO
	}
	return n, io.EOF
}

func TestASalvageReadsOnBehindABadPlace(t *testing.T) {
	var data []byte
	const blocks = 100
	for n := range uint64(blocks) {
		data = append(data, outbox.BlockOf(contract.Block{ID: contract.BatchID{Epoch: 1, Sequence: n + 1}, Payload: bytes.Repeat([]byte{'x'}, 1000)})...)
	}
	ids, err := outbox.BlocksOf(badDisk{data, 50_000, 54_000})
	if err != nil || len(ids) < blocks-10 || ids[len(ids)-1].Sequence != blocks {
		t.Errorf("%d of %d blocks, %v", len(ids), blocks, err)
	}
	if ids, err = outbox.BlocksOf(badDisk{data, 50_000, 1 << 60}); err == nil || len(ids) < 40 {
		t.Errorf("%d blocks before a place without end, %v", len(ids), err)
	}
}
