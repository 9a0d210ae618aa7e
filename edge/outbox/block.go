package outbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/wattline/wattline/shared/contract"
)

const (
	blockMagic = "WLB1"
	headerSize = 32
	// maxPayload bounds what a header may announce; a batch of 1,000 readings
	// takes some 40 kB.
	maxPayload = 8 << 20
)

var (
	errBlock   = errors.New("damaged block")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// appendBlock appends the block of a batch.
func appendBlock(dst []byte, b contract.Block) []byte {
	start := len(dst)
	dst = append(dst, blockMagic...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(b.ID.Epoch))
	dst = binary.BigEndian.AppendUint64(dst, b.ID.Sequence)
	dst = binary.BigEndian.AppendUint32(dst, uint32(b.Readings))     //nolint:gosec // at most batchReadings, or what a tombstone counts
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(b.Payload))) //nolint:gosec // below maxPayload
	sum := crc32.Update(crc32.Checksum(dst[start:], castagnoli), castagnoli, b.Payload)
	dst = binary.BigEndian.AppendUint32(dst, sum)
	return append(dst, b.Payload...)
}

// parseBlock reads the block at the start of data, which may go on behind it.
// The payload shares data's memory.
func parseBlock(data []byte) (contract.Block, error) {
	if len(data) < headerSize || !bytes.HasPrefix(data, []byte(blockMagic)) {
		return contract.Block{}, fmt.Errorf("%w: no header", errBlock)
	}
	b := contract.Block{
		ID:       contract.BatchID{Epoch: contract.Epoch(binary.BigEndian.Uint64(data[4:])), Sequence: binary.BigEndian.Uint64(data[12:])},
		Readings: int(binary.BigEndian.Uint32(data[20:])),
	}
	length := int(binary.BigEndian.Uint32(data[24:]))
	if length > maxPayload || length > len(data)-headerSize {
		return contract.Block{}, fmt.Errorf("%w: %v announces %d bytes, %d follow", errBlock, b.ID, length, len(data)-headerSize)
	}
	b.Payload = data[headerSize : headerSize+length]
	sum := crc32.Update(crc32.Checksum(data[:headerSize-4], castagnoli), castagnoli, b.Payload)
	if sum != binary.BigEndian.Uint32(data[headerSize-4:]) {
		return contract.Block{}, fmt.Errorf("%w: checksum of %v", errBlock, b.ID)
	}
	return b, nil
}

// readingsOf is the number of readings in a block, from its header alone.
func readingsOf(block []byte) int {
	if len(block) < headerSize {
		return 0
	}
	return int(binary.BigEndian.Uint32(block[20:]))
}
