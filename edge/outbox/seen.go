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
// some; but in a set too small for the backlog nearly all bits are set, and no
// free time would be found for hours.
type seen struct {
	bits []uint64
}

// The size of a set: four bits for each reading, 512 kB at least and 32 MB at
// most, where a hundred million readings still leave two bits of three free.
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
	return &seen{bits: make([]uint64, size/64)}
}

func (s *seen) place(id string, at device.Micros) (word int, bit uint64) {
	h := fnv.New64a()                                                     // the same in every run, so that a simulation replays
	_, _ = h.Write(binary.BigEndian.AppendUint64([]byte(id), uint64(at))) //nolint:gosec // bits
	n := h.Sum64() % uint64(64*len(s.bits))
	return int(n / 64), 1 << (n % 64) //nolint:gosec // below len(s.bits)
}

func (s *seen) add(id string, at device.Micros) {
	word, bit := s.place(id, at)
	s.bits[word] |= bit
}

func (s *seen) has(id string, at device.Micros) bool {
	word, bit := s.place(id, at)
	return s.bits[word]&bit != 0
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
