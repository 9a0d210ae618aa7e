package flash

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// partition is a part of a disk, in bytes.
type partition struct {
	number      int
	start, size int64
}

const diskSector = 512

// partitions reads the partition table: the old one (MBR), or a GPT behind a
// protective one.
func partitions(disk io.ReaderAt, size int64) ([]partition, error) {
	var mbr [diskSector]byte
	if size < 2*diskSector {
		return nil, fmt.Errorf("%w: it has %d bytes", ErrNotImage, size)
	}
	if _, err := disk.ReadAt(mbr[:], 0); err != nil {
		return nil, fmt.Errorf("read the partition table: %w", err)
	}
	if mbr[510] != 0x55 || mbr[511] != 0xAA {
		return nil, fmt.Errorf("%w: it has no partition table; give the .img of Raspberry Pi OS or a raw Debian cloud image, as downloaded", ErrNotImage)
	}
	var list []partition
	for i := range 4 {
		e := mbr[446+16*i:][:16]
		if e[4] == 0xEE {
			return guidPartitions(disk, size)
		}
		p := partition{number: i + 1, start: int64(binary.LittleEndian.Uint32(e[8:])) * diskSector, size: int64(binary.LittleEndian.Uint32(e[12:])) * diskSector}
		if e[4] != 0 && p.size > 0 {
			list = append(list, p)
		}
	}
	return list, whole(list, size)
}

// guidPartitions reads a GPT (UEFI 2.10, chapter 5).
func guidPartitions(disk io.ReaderAt, size int64) ([]partition, error) {
	var head [diskSector]byte
	if _, err := disk.ReadAt(head[:], diskSector); err != nil {
		return nil, fmt.Errorf("read the partition table: %w", err)
	}
	le := binary.LittleEndian
	at, count, length := le.Uint64(head[72:]), le.Uint32(head[80:]), le.Uint32(head[84:])
	const most = 1024
	switch {
	case !bytes.HasPrefix(head[:], []byte("EFI PART")):
		return nil, fmt.Errorf("%w: a protective partition table without a GPT", ErrNotImage)
	case count == 0 || count > most || length < 128 || length > 4096 || at < 2 || at > uint64(size)/diskSector: //nolint:gosec // a file's size
		return nil, fmt.Errorf("%w: a partition table of %d entries of %d bytes", ErrNotImage, count, length)
	}
	table := make([]byte, int64(count)*int64(length))
	if _, err := disk.ReadAt(table, int64(at)*diskSector); err != nil { //nolint:gosec // bounded by size above
		return nil, fmt.Errorf("%w: its partition table is cut short: fetch it again", ErrNotImage)
	}
	var list []partition
	for i := range int(count) {
		e := table[i*int(length):]
		first, last := le.Uint64(e[32:]), le.Uint64(e[40:])
		if isZero(e[:16]) {
			continue
		}
		if last < first || last > 1<<40 {
			return nil, fmt.Errorf("%w: partition %d ends before it begins", ErrNotImage, i+1)
		}
		list = append(list, partition{number: i + 1, start: int64(first) * diskSector, size: int64(last-first+1) * diskSector}) //nolint:gosec // bounded above
	}
	return list, whole(list, size)
}

// whole sees to it that the partitions lie in the image: one that was cut short
// has the table all the same.
func whole(list []partition, size int64) error {
	if len(list) == 0 {
		return fmt.Errorf("%w: its partition table is empty", ErrNotImage)
	}
	for _, p := range list {
		if p.start+p.size > size {
			return fmt.Errorf("%w: it is too small: partition %d ends at byte %d, the image at %d; it was cut short, fetch it again", ErrNotImage, p.number, p.start+p.size, size)
		}
	}
	return nil
}
