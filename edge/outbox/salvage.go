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
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/shared/contract"
)

// mend puts a new file in the place of one that turned out to be damaged and goes
// on, in the same epoch, with what could be salvaged. While that fails, for want
// of room say, the outbox takes nothing and the damaged file stays where it is;
// each commit tries again.
func (o *Outbox) mend(cause error) error {
	if o.broken == nil {
		o.broken = cause
		o.file.close()
	}
	f, err := o.replace(o.broken, o.carry)
	if err != nil {
		return err
	}
	o.broken = nil
	previous := o.previous
	o.adopt(f)
	o.previous = previous
	return nil
}

// carry tells a new file what was known of the one before while it was whole.
// This run's numbers are never given again, whatever the file has of them.
func (o *Outbox) carry(f *file) error {
	if err := f.remember(o.file.order); err != nil {
		return err
	}
	if o.current.last == 0 {
		return nil
	}
	reached := o.current
	ordinal, known := f.epochs[reached.id]
	if !known {
		ordinal = f.nextOrdinal()
	}
	reached.ordinal = ordinal
	return f.record(reached)
}

// replace salvages the damaged file's blocks into a new one, has it completed,
// and lets it take the place of the damaged one, which is kept beside it. A crash
// before leaves the damaged file for the next start. The ballast is freed when
// there is no room without.
func (o *Outbox) replace(cause error, complete func(*file) error) (*file, error) {
	f, err := o.rebuild(cause, complete)
	if isFull(err) && o.freeBallast() {
		f, err = o.rebuild(cause, complete)
	}
	if err != nil {
		return nil, fmt.Errorf("replace the damaged outbox: %w (it was damaged: %w)", err, cause)
	}
	return f, nil
}

func (o *Outbox) rebuild(cause error, complete func(*file) error) (*file, error) {
	path, fresh := o.options.Path, o.options.Path+".salvaged"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove what a salvage left: %w", err)
	}
	f, err := openFile(fresh, o.options.NoSync)
	if err != nil {
		return nil, err
	}
	batches, readings, lost := o.salvage(f, path)
	aside := fmt.Sprintf("%s.damaged-%s", path, time.Now().UTC().Format("20060102T150405.000000000"))
	err = complete(f)
	if err == nil {
		err = putInPlace(fresh, path, aside)
	}
	if err != nil {
		f.close()
		return nil, errors.Join(err, os.Remove(fresh))
	}
	f.path, o.damaged = path, filepath.Base(aside)
	attrs := []any{slog.String("file", aside), slog.Any("cause", cause), slog.Int("batches", batches), slog.Int("readings", readings)}
	if lost != nil {
		attrs = append(attrs, slog.Any("err", lost))
	}
	o.log.Error("outbox was damaged: moved aside, its readable batches taken over; keep the file until somebody has looked at it", attrs...)
	o.clearDamaged()
	return f, nil
}

// keptDamaged is how many damaged files stay for a look: a disk that damages
// every file would else be filled by them.
const keptDamaged = 3

// clearDamaged removes all but the newest. What could be read of them was taken
// over when they were moved aside.
func (o *Outbox) clearDamaged() {
	dir, prefix := filepath.Split(o.options.Path + ".damaged-")
	entries, _ := os.ReadDir(cmp.Or(dir, ".")) // sorted, and the names end in a time
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return !strings.HasPrefix(e.Name(), prefix) })
	for _, e := range entries[:max(0, len(entries)-keptDamaged)] {
		path := filepath.Join(dir, e.Name())
		o.log.Warn("damaged outbox of long ago removed, there are newer ones", slog.String("file", path), slog.Any("err", os.Remove(path)))
	}
}

// putInPlace gives fresh the name path, and what had it the name aside. There is
// a file at path all the time where the file system and its owner allow a second
// name.
func putInPlace(fresh, path, aside string) error {
	if os.Link(path, aside) != nil {
		if err := os.Rename(path, aside); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("move the damaged outbox aside: %w", err)
		}
	}
	if err := os.Rename(fresh, path); err != nil {
		return fmt.Errorf("put the salvaged outbox in place: %w", err)
	}
	return syncDir(filepath.Dir(path))
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
	if err := eachBlock(&skipper{in: in}, runs.note); err != nil {
		return 0, 0, err
	}
	f.order = runs.inOrder()
	var step []contract.Block
	flush := func() error {
		n, r, err := f.adopt(step)
		if isFull(err) && o.freeBallast() {
			n, r, err = f.adopt(step)
		}
		batches, readings, step = batches+n, readings+r, step[:0]
		return err
	}
	err = eachBlock(&skipper{in: in}, func(b contract.Block) error {
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
