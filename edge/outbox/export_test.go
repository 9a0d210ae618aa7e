package outbox

import (
	"io"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// BlocksOf gives the blocks that a salvage finds on a disk of which not every
// place can be read.
func BlocksOf(in io.ReaderAt) (ids []contract.BatchID, err error) {
	err = eachBlock(&skipper{in: in}, func(b contract.Block) error { ids = append(ids, b.ID); return nil })
	return ids, err
}

// BlockOf is a batch as it lies in the file.
func BlockOf(b contract.Block) []byte { return appendBlock(nil, b) }

// SeenCollisions puts so many readings into a set made for expected ones and
// counts how many of as many others it takes for seen: a backlog of that size
// would take an hour to make.
func SeenCollisions(expected, readings int) (collisions int) {
	s := newSeen(int64(expected))
	for i := range readings {
		s.add("sp_f1.g1", device.Micros(i))
	}
	for i := range readings {
		if s.has("sp_f1.g2", device.Micros(i)) {
			collisions++
		}
	}
	return collisions
}
