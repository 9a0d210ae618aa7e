package outbox

import (
	"encoding/binary"
	"hash/fnv"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
)

// seen remembers which device was read at which time: a bit for each hash. A
// false memory only moves a reading by one microsecond more, so there may be
// some; but in a set too small for what it holds nearly all bits are set, and no
// free time would be found for hours. So when one is full another, twice as
// large, stands beside it: a clock may stay behind for long.
type seen struct {
	sets  [][]uint64
	bits  int64 // of all sets
	room  int64 // readings that the last set still takes
	added int64 // readings, ever
}

// The size of a set: four bits for each reading, 512 kB at least; all of them
// take 32 MB at most, where a hundred million readings still leave two bits of
// three free.
const (
	leastBits      = 1 << 22
	mostBits       = 1 << 28
	bitsPerReading = 4
)

func newSeen(readings int64) *seen {
	size := int64(leastBits)
	for size < mostBits && size < bitsPerReading*readings {
		size *= 2
	}
	s := &seen{}
	s.grow(size)
	return s
}

func (s *seen) grow(size int64) {
	s.sets = append(s.sets, make([]uint64, size/64))
	s.bits += size
	s.room = size / bitsPerReading
}

// outlived reports whether most of what the sets hold is not waiting any more,
// so that new ones are worth the reading of what is.
func (s *seen) outlived(waiting int64) bool {
	return s.added > 2*waiting+leastBits/bitsPerReading
}

func hash(id string, at device.Micros) uint64 {
	h := fnv.New64a()                                                     // the same in every run, so that a simulation replays
	_, _ = h.Write(binary.BigEndian.AppendUint64([]byte(id), uint64(at))) //nolint:gosec // bits
	return h.Sum64()
}

func place(set []uint64, hash uint64) (word int, bit uint64) {
	n := hash % uint64(64*len(set))
	return int(n / 64), 1 << (n % 64) //nolint:gosec // below len(set)
}

func (s *seen) add(id string, at device.Micros) {
	last := s.sets[len(s.sets)-1]
	if size := 128 * int64(len(last)); s.room <= 0 && s.bits+size <= mostBits {
		s.grow(size)
		last = s.sets[len(s.sets)-1]
	}
	word, bit := place(last, hash(id, at))
	last[word] |= bit
	s.room--
	s.added++
}

func (s *seen) has(id string, at device.Micros) bool {
	h := hash(id, at)
	for _, set := range s.sets {
		if word, bit := place(set, h); set[word]&bit != 0 {
			return true
		}
	}
	return false
}

// collectSeen reads the times of everything that waits. It takes as long as
// reading the backlog, and only a clock that went back asks for it. A batch that
// is whole but can't be understood must not keep others from being committed.
func (o *Outbox) collectSeen() (*seen, error) {
	s := newSeen(o.file.counts.Readings)
	err := o.file.view(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketBatches).ForEach(func(_, v []byte) error {
			b, err := parseBlock(v)
			if err != nil {
				return errDamaged
			}
			e, err := bus.Decode(b.Payload)
			if err != nil {
				return nil //nolint:nilerr // see above
			}
			records, err := senml.Decode(e.Data, bus.MaxRecords)
			if err != nil {
				return nil //nolint:nilerr // see above
			}
			for _, r := range records {
				id, _, _ := strings.Cut(r.Name, "/")
				s.add(id, r.Time)
			}
			return nil
		})
	})
	return s, err
}
