package outbox

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/shared/contract"
)

// mend moves a file that turned out to be damaged aside and goes on, in the same
// epoch, with what could be salvaged of it.
func (o *Outbox) mend(cause error) error {
	o.file.close()
	before := o.file.order
	f, err := o.replace(cause)
	if err != nil {
		return err
	}
	reached, previous := o.current, o.previous
	o.adopt(f)
	o.previous = previous
	if err := f.remember(before); err != nil {
		return err
	}
	if reached.last == 0 {
		return nil
	}
	// This run's numbers are never given again, whatever the file has of them.
	o.current = reached
	ordinal, known := f.epochs[reached.id]
	if !known {
		o.current.ordinal = 0
		ordinal = o.nextEpoch().ordinal
	}
	o.current.ordinal = ordinal
	return f.record(o.current)
}

// replace moves the file aside, opens a new one and salvages the old one's
// blocks into it.
func (o *Outbox) replace(cause error) (*file, error) {
	aside := fmt.Sprintf("%s.damaged-%s", o.options.Path, time.Now().UTC().Format("20060102T150405.000000000"))
	if err := os.Rename(o.options.Path, aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("move the damaged outbox aside: %w (it was damaged: %w)", err, cause)
	}
	f, err := openFile(o.options.Path, o.options.NoSync)
	if err != nil {
		return nil, err
	}
	o.damaged = filepath.Base(aside)
	batches, readings, err := o.salvage(f, aside)
	attrs := []any{slog.String("file", aside), slog.Any("cause", cause), slog.Int("batches", batches), slog.Int("readings", readings)}
	if err != nil {
		attrs = append(attrs, slog.Any("err", err))
	}
	o.log.Error("outbox was damaged: moved aside, its readable batches taken over; keep the file until somebody has looked at it", attrs...)
	return f, nil
}

// salvageStep bounds the memory of a salvage.
const salvageStep = 256

// salvage puts every whole block of the file at path into f. Deleted blocks
// linger in free pages and come back; sending them again is harmless.
func (o *Outbox) salvage(f *file, path string) (batches, readings int, err error) {
	in, err := os.Open(path)
	if err != nil {
		return 0, 0, fmt.Errorf("open the damaged outbox: %w", err)
	}
	defer in.Close()
	runs := make(runs)
	if err := eachBlock(in, runs.note); err != nil {
		return 0, 0, err
	}
	f.order = runs.inOrder()
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return 0, 0, fmt.Errorf("read the damaged outbox again: %w", err)
	}
	var step []contract.Block
	flush := func() error {
		n, r, err := f.adopt(step)
		batches, readings, step = batches+n, readings+r, step[:0]
		return err
	}
	err = eachBlock(in, func(b contract.Block) error {
		b.Payload = bytes.Clone(b.Payload)
		if step = append(step, b); len(step) < salvageStep {
			return nil
		}
		return flush()
	})
	return batches, readings, errors.Join(err, flush())
}

// runs are the epochs found in a broken file, with the head of one batch each.
type runs map[contract.Epoch]contract.BatchHead

func (r runs) note(b contract.Block) error {
	if _, known := r[b.ID.Epoch]; !known {
		if head, err := headOf(b.Payload); err == nil {
			r[b.ID.Epoch] = head
		}
	}
	return nil
}

// inOrder gives the epochs as they followed each other: each batch names the
// epoch before its own; where that is not there, time decides.
func (r runs) inOrder() []epoch {
	depth := func(id contract.Epoch) (n int) {
		for head, ok := r[id]; ok && head.Previous != nil && n < len(r); n++ {
			head, ok = r[head.Previous.Epoch]
		}
		return n
	}
	ids := slices.SortedFunc(maps.Keys(r), func(a, b contract.Epoch) int {
		return cmp.Or(cmp.Compare(depth(a), depth(b)), cmp.Compare(r[a].From, r[b].From), cmp.Compare(a, b))
	})
	order := make([]epoch, len(ids))
	for i, id := range ids {
		order[i] = epoch{ordinal: uint32(i) + 1, id: id, torn: true}
	}
	return order
}

// eachBlock finds the blocks in any bytes, without more memory than one block.
func eachBlock(r io.Reader, each func(contract.Block) error) error {
	in := bufio.NewReaderSize(r, headerSize+maxPayload)
	for {
		window, err := in.Peek(headerSize + maxPayload)
		if len(window) < headerSize {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		at := bytes.Index(window, []byte(blockMagic))
		if at < 0 {
			at = len(window) - len(blockMagic) + 1
		} else if at == 0 {
			at = 1
			if b, err := parseBlock(window); err == nil {
				if err := each(b); err != nil {
					return err
				}
				at = headerSize + len(b.Payload)
			}
		}
		if _, err := in.Discard(at); err != nil {
			return err
		}
	}
}

// adopt puts blocks of known epochs that are not there yet.
func (f *file) adopt(blocks []contract.Block) (batches, readings int, err error) {
	order := slices.Clone(f.order)
	err = f.update(func(tx *bbolt.Tx) error {
		batches, readings = 0, 0
		for _, b := range blocks {
			i := slices.IndexFunc(order, func(e epoch) bool { return e.id == b.ID.Epoch })
			if i < 0 || tx.Bucket(bucketBatches).Get(batchKey(order[i].ordinal, b.ID.Sequence)) != nil {
				continue
			}
			head, _ := headOf(b.Payload)
			if err := f.put(tx, order[i], b, head); err != nil {
				return err
			}
			order[i].last = max(order[i].last, b.ID.Sequence)
			batches++
			readings += b.Readings
		}
		return nil
	})
	if err != nil {
		return 0, 0, fmt.Errorf("take over salvaged batches: %w", err)
	}
	f.order = order
	for _, e := range order {
		f.epochs[e.id] = e.ordinal
	}
	return batches, readings, nil
}

// remember sets how far epochs came to what was known while the file was whole.
func (f *file) remember(before []epoch) error {
	for _, salvaged := range slices.Clone(f.order) {
		i := slices.IndexFunc(before, func(e epoch) bool { return e.id == salvaged.id })
		if i < 0 {
			continue
		}
		salvaged.last, salvaged.torn = before[i].last, before[i].torn
		if err := f.record(salvaged); err != nil {
			return err
		}
	}
	return nil
}

// record keeps how far an epoch came, though none of its batches may be here.
func (f *file) record(e epoch) error {
	err := f.update(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketEpochs).Put(ordinalKey(e.ordinal), e.marshal())
	})
	if err != nil {
		return fmt.Errorf("record epoch %v: %w", e.id, err)
	}
	f.epochs[e.id] = e.ordinal
	i := slices.IndexFunc(f.order, func(known epoch) bool { return known.id == e.id })
	if i < 0 {
		f.order = append(f.order, e)
	} else {
		f.order[i] = e
	}
	return nil
}
