package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/wattline/wattline/edge/outbox"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// begin of the readings that never leave this machine.
const diskStart = 1_790_000_000_000_000

// measureDisk looks at the outbox alone: what readings cost on the disk.
func measureDisk(ctx context.Context, b *bench) error {
	for _, measure := range []func(context.Context, *bench) error{fileSizes, bytesWritten, secondOutage, commitsAfterBacklog} {
		if err := measure(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// box is an outbox with what a forwarder does to it.
type box struct {
	*outbox.Outbox
	path  string
	after contract.BatchID
}

func (b *bench) newBox(name string, noSync bool) (*box, error) {
	path := filepath.Join(b.dir, name+".db")
	o, err := openOutbox(path, "edge-f1", contract.Epoch(rand.Uint64()), noSync)
	return &box{Outbox: o, path: path}, err
}

// release answers up to n of the batches that wait, in one transaction, as the
// forwarder does; it tells how many there were.
func (x *box) release(n int) (int, error) {
	blocks, err := x.Next(x.after, n)
	if err != nil || len(blocks) == 0 {
		return 0, err
	}
	receipts := make([]contract.Receipt, len(blocks))
	for i, block := range blocks {
		receipts[i] = contract.Receipt{ID: block.ID, Digest: contract.DigestOf(block.Payload)}
	}
	x.after = blocks[len(blocks)-1].ID
	released, err := x.Delete(receipts...)
	if err == nil && len(released) != len(blocks) {
		err = fmt.Errorf("%d of %d batches released", len(released), len(blocks))
	}
	return len(blocks), err
}

func (x *box) drain() error {
	for {
		if n, err := x.release(64); n == 0 || err != nil {
			return err
		}
	}
}

func (x *box) size() (int64, error) {
	info, err := os.Stat(x.path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// fileSizes is the whole file, divided by the readings that wait in it. A commit
// each second holds 100 readings where 100 plugs are polled every second, and 10
// at the default of ten.
func fileSizes(ctx context.Context, b *bench) error {
	readings := 200_000
	if b.long {
		readings = 2_000_000
	}
	for _, f := range []struct {
		name     string
		perBatch int
		every    int // s between two polls of a plug
		limit    float64
	}{{"disk_1s", 100, 1, 45}, {"disk_10s", 10, 10, 75}, {"disk_batches_of_1000", 1000, 1, 0}} {
		x, err := b.newBox(f.name, true)
		if err != nil {
			return err
		}
		l, err := newLoad(1, diskStart, device.Micros(f.every)*1e6)
		if err == nil {
			err = fill(ctx, x.Outbox, l, readings, f.perBatch)
		}
		if err != nil {
			return err
		}
		size, err := x.size()
		if err != nil {
			return err
		}
		b.fact(f.name+"_payload", float64(x.Stats().Bytes)/float64(readings), "B/reading")
		if f.limit > 0 {
			b.most(f.name, float64(size)/float64(readings), f.limit, "B/reading")
		} else {
			b.fact(f.name, float64(size)/float64(readings), "B/reading")
		}
		if err := x.Close(); err != nil {
			return err
		}
	}
	return nil
}

// writes are counted by the kernel: what the calls of this process wrote, and
// how much of the page cache they made dirty. Kernels that manage their cache in
// large folios count a whole folio, up to megabytes, for each write into it,
// though only the changed blocks go to the disk (seen on Linux 6.18 with ext4 on
// a device of its own: 8 kB by calls and by the device, 1 MB by this count). So
// the calls are what is held against the limit; all of them are of whole pages.
type writes struct{ calls, cache int64 }

func written() (w writes, err error) {
	if w.calls, err = field("/proc/self/io", "wchar:"); err != nil {
		return w, err
	}
	w.cache, err = field("/proc/self/io", "write_bytes:")
	return w, err
}

// bytesWritten is what this process has the kernel write for 100 plugs polled
// each second: a commit each second, and while the cloud is there one release.
func bytesWritten(ctx context.Context, b *bench) error {
	seconds := 400
	if b.long {
		seconds = 3600
	}
	for _, f := range []struct {
		name    string
		release bool
	}{{"written_steady", true}, {"written_outage", false}} {
		x, err := b.newBox(f.name, false)
		if err != nil {
			return err
		}
		l, err := newLoad(1, diskStart, 1e6)
		if err != nil {
			return err
		}
		before, err := written()
		if err != nil {
			return err
		}
		for range seconds {
			if err := fill(ctx, x.Outbox, l, floorPlugs, floorPlugs); err != nil {
				return err
			}
			if !f.release {
				continue
			}
			if _, err := x.release(64); err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		after, err := written()
		if err != nil {
			return err
		}
		readings := float64(floorPlugs * seconds)
		b.most(f.name, float64(after.calls-before.calls)/readings, 900, "B/reading")
		b.fact(f.name+"_cache_dirtied", float64(after.cache-before.cache)/readings, "B/reading")
		if err := x.Close(); err != nil {
			return err
		}
	}
	return nil
}

// secondOutage compares the file after two outages of the same length, with all
// drained between them.
func secondOutage(ctx context.Context, b *bench) error {
	readings := 300_000
	if b.long {
		readings = 5_000_000
	}
	x, err := b.newBox("outages", true)
	if err != nil {
		return err
	}
	defer x.Close()
	l, err := newLoad(1, diskStart, 1e6)
	if err != nil {
		return err
	}
	var sizes [2]int64
	for i := range sizes {
		if err := fill(ctx, x.Outbox, l, readings, 100); err != nil {
			return err
		}
		if sizes[i], err = x.size(); err != nil {
			return err
		}
		if err := x.drain(); err != nil {
			return err
		}
	}
	drained, err := x.size()
	if err != nil {
		return err
	}
	b.fact("disk_outage", float64(sizes[0])/1e6, "MB")
	b.fact("disk_drained", float64(drained)/1e6, "MB")
	b.most("disk_second_outage_ratio", float64(sizes[1])/float64(sizes[0]), 1, "x")
	return nil
}

// commitsAfterBacklog compares how fast commits of a second's readings are
// before a million readings waited, when half of them are drained, and after.
// A commit waits for the disk, whose mood changes: so a second outbox that never
// had a backlog commits in turns with it, and is the measure.
func commitsAfterBacklog(ctx context.Context, b *bench) error {
	const backlog = 1_000_000
	x, err := b.newBox("commits", false)
	if err != nil {
		return err
	}
	defer x.Close()
	fresh, err := b.newBox("commits-fresh", false)
	if err != nil {
		return err
	}
	defer fresh.Close()
	l, err := newLoad(1, diskStart, 1e6)
	if err != nil {
		return err
	}
	before, err := commitRatio(ctx, x, fresh, l)
	if err != nil {
		return err
	}
	if err := fill(ctx, x.Outbox, l, backlog, 1000); err != nil {
		return err
	}
	waiting, err := commitRatio(ctx, x, fresh, l)
	if err != nil {
		return err
	}
	for n := 0; n < backlog/1000/2; n += 64 {
		if _, err := x.release(64); err != nil {
			return err
		}
	}
	half, err := commitRatio(ctx, x, fresh, l)
	if err != nil {
		return err
	}
	if err := x.drain(); err != nil {
		return err
	}
	after, err := commitRatio(ctx, x, fresh, l)
	if err != nil {
		return err
	}
	b.fact("commits_before", before.perSecond, "1/s")
	b.fact("commits_waiting_ratio", waiting.ratio/before.ratio, "x")
	b.fact("commits_half_drained_ratio", half.ratio/before.ratio, "x")
	b.least("commits_after_ratio", after.ratio/before.ratio, 0.9, "x")
	return nil
}

type commits struct {
	perSecond float64
	ratio     float64 // of the fresh outbox's median time to this one's
}

func commitRatio(ctx context.Context, x, fresh *box, l *load) (c commits, err error) {
	var took [2][]time.Duration
	for range 250 {
		for i, o := range []*box{fresh, x} {
			begin := time.Now()
			if err := fill(ctx, o.Outbox, l, 100, 100); err != nil {
				return c, err
			}
			took[i] = append(took[i], time.Since(begin))
		}
	}
	ours := median(took[1])
	return commits{rate(1, ours), float64(median(took[0])) / float64(ours)}, nil
}
