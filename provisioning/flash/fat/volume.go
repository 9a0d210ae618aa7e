package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MaxTable is the longest file allocation table that is read, in bytes. A boot
// partition of 512 MiB has 1 MiB at most.
const MaxTable = 64 << 20

// ErrNotFAT says that there is no FAT16 or FAT32 volume, or one that contradicts
// itself.
var ErrNotFAT = errors.New("not a FAT16 or FAT32 file system")

// ErrFull says that the volume has too little room for a file or its name.
var ErrFull = errors.New("the FAT partition is full")

// Disk is where the volume lies: a file, or a layer above one.
type Disk interface {
	io.ReaderAt
	io.WriterAt
}

// A Volume is one FAT volume. Its methods change the disk at once; after an error
// of one of them the volume is in an unknown state and must be thrown away. Not
// safe for concurrent use.
type Volume struct {
	disk  Disk
	start int64 // of the volume on the disk, in bytes

	wide                 bool // FAT32
	sector, clusterBytes int64
	tableAt, tableBytes  int64 // within the volume; copies follow each other
	copies               int64
	rootAt, rootBytes    int64  // FAT16 only
	rootCluster          uint32 // FAT32 only
	dataAt               int64
	clusters             uint32 // usable ones are 2..clusters+1
	infoAt               int64  // sector with the count of free clusters; 0 where there is none
	backupAt             int64  // copy of the boot sector; 0 where there is none

	table []byte
}

// Open reads the volume of size bytes that begins at byte start of disk.
// Anything else there gives [ErrNotFAT].
func Open(disk Disk, start, size int64) (*Volume, error) {
	var boot [512]byte
	if _, err := disk.ReadAt(boot[:], start); err != nil {
		return nil, fmt.Errorf("read the boot sector at byte %d: %w", start, err)
	}
	v := &Volume{disk: disk, start: start}
	if err := v.layout(boot[:], size); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotFAT, err)
	}
	v.table = make([]byte, v.tableBytes)
	if _, err := disk.ReadAt(v.table, start+v.tableAt); err != nil {
		return nil, fmt.Errorf("read the file allocation table: %w", err)
	}
	return v, nil
}

// layout takes the volume's measures from its boot sector and holds them against
// its size.
func (v *Volume) layout(boot []byte, size int64) error {
	le := binary.LittleEndian
	v.sector = int64(le.Uint16(boot[11:]))
	perCluster, reserved := int64(boot[13]), int64(le.Uint16(boot[14:]))
	v.copies = int64(boot[16])
	rootEntries := int64(le.Uint16(boot[17:]))
	total := int64(le.Uint16(boot[19:]))
	tableSectors := int64(le.Uint16(boot[22:]))
	if total == 0 {
		total = int64(le.Uint32(boot[32:]))
	}
	if v.wide = tableSectors == 0; v.wide {
		tableSectors = int64(le.Uint32(boot[36:]))
	}
	switch {
	case boot[510] != 0x55 || boot[511] != 0xAA:
		return errors.New("no signature 55 AA in the boot sector")
	case v.sector != 512 && v.sector != 1024 && v.sector != 2048 && v.sector != 4096:
		return fmt.Errorf("sectors of %d bytes", v.sector)
	case perCluster == 0 || perCluster&(perCluster-1) != 0:
		return fmt.Errorf("clusters of %d sectors", perCluster)
	case reserved == 0 || v.copies == 0 || v.copies > 4 || tableSectors == 0:
		return fmt.Errorf("%d reserved sectors, %d tables of %d sectors", reserved, v.copies, tableSectors)
	case total*v.sector > size:
		return fmt.Errorf("it claims %d bytes, the partition has %d", total*v.sector, size)
	case tableSectors*v.sector > MaxTable:
		return fmt.Errorf("a table of %d bytes, limit %d", tableSectors*v.sector, MaxTable)
	}
	v.clusterBytes = perCluster * v.sector
	v.tableAt, v.tableBytes = reserved*v.sector, tableSectors*v.sector
	v.rootAt, v.rootBytes = v.tableAt+v.copies*v.tableBytes, rootEntries*slot
	v.dataAt = v.rootAt + (v.rootBytes+v.sector-1)/v.sector*v.sector
	count := (total*v.sector - v.dataAt) / v.clusterBytes
	entry := int64(2)
	if v.wide {
		entry = 4
		v.rootCluster = le.Uint32(boot[44:])
		if at := int64(le.Uint16(boot[48:])); at > 0 && at < reserved {
			v.infoAt = at * v.sector
		}
		if at := int64(le.Uint16(boot[50:])); at > 0 && at < reserved {
			v.backupAt = at * v.sector
		}
	}
	switch {
	case count <= 0:
		return errors.New("no room for data")
	case count < 4085 || !v.wide && count >= 65525:
		return fmt.Errorf("%d clusters do not make a FAT16 or FAT32", count)
	case (count+2)*entry > v.tableBytes:
		return fmt.Errorf("a table of %d bytes for %d clusters", v.tableBytes, count)
	case v.wide && rootEntries != 0 || !v.wide && rootEntries == 0:
		return fmt.Errorf("a root directory of %d entries", rootEntries)
	}
	v.clusters = uint32(count) //nolint:gosec // the table, 64 MiB at most, has an entry for each
	if v.wide && !v.usable(v.rootCluster) {
		return fmt.Errorf("the root directory begins in cluster %d of %d", v.rootCluster, count)
	}
	return nil
}

// Free is the room for further files, in bytes of whole clusters.
func (v *Volume) Free() int64 { return v.freeClusters() * v.clusterBytes }

// Size is the room that a file of size bytes takes.
func (v *Volume) Size(size int64) int64 {
	return (size + v.clusterBytes - 1) / v.clusterBytes * v.clusterBytes
}

func (v *Volume) freeClusters() (n int64) {
	for c := uint32(2); c < v.clusters+2; c++ {
		if v.next(c) == 0 {
			n++
		}
	}
	return n
}

func (v *Volume) usable(c uint32) bool { return c >= 2 && c < v.clusters+2 }

// next is the table's entry for cluster c, which must be usable.
func (v *Volume) next(c uint32) uint32 {
	if v.wide {
		return binary.LittleEndian.Uint32(v.table[4*c:]) & 0x0FFFFFFF
	}
	return uint32(binary.LittleEndian.Uint16(v.table[2*c:]))
}

// link sets the table's entry for cluster c; the upper four bits of a FAT32 entry
// are not ours.
func (v *Volume) link(c, next uint32) {
	if v.wide {
		at := v.table[4*c:]
		binary.LittleEndian.PutUint32(at, binary.LittleEndian.Uint32(at)&0xF0000000|next&0x0FFFFFFF)
		return
	}
	binary.LittleEndian.PutUint16(v.table[2*c:], uint16(next)) //nolint:gosec // a FAT16 has fewer clusters
}

// last marks the end of a chain.
const last = 0x0FFFFFFF

func (v *Volume) ends(entry uint32) bool {
	if v.wide {
		return entry >= 0x0FFFFFF8
	}
	return entry >= 0xFFF8
}

// chain lists the clusters from first on. One that leaves the volume, runs into
// a free cluster or in a circle gives ErrNotFAT.
func (v *Volume) chain(first uint32) ([]uint32, error) {
	var list []uint32
	for c := first; ; {
		if !v.usable(c) || uint32(len(list)) > v.clusters { //nolint:gosec // bounded by clusters
			return nil, fmt.Errorf("%w: the chain from cluster %d breaks after %d", ErrNotFAT, first, len(list))
		}
		list = append(list, c)
		if c = v.next(c); v.ends(c) {
			return list, nil
		}
	}
}

// allocate takes n free clusters and chains them; none for 0.
func (v *Volume) allocate(n int64) ([]uint32, error) {
	free := v.freeClusters()
	if n > free {
		return nil, fmt.Errorf("%w: %d bytes are needed, %d are free", ErrFull, n*v.clusterBytes, free*v.clusterBytes)
	}
	list := make([]uint32, 0, n)
	for c := uint32(2); int64(len(list)) < n; c++ {
		if v.next(c) == 0 {
			list = append(list, c)
		}
	}
	for i, c := range list {
		if i+1 < len(list) {
			v.link(c, list[i+1])
		} else {
			v.link(c, last)
		}
	}
	return list, nil
}

// save writes the table to all its copies, and how many clusters are free to
// where FAT32 tells it.
func (v *Volume) save() error {
	for i := range v.copies {
		if _, err := v.disk.WriteAt(v.table, v.start+v.tableAt+i*v.tableBytes); err != nil {
			return fmt.Errorf("write the file allocation table: %w", err)
		}
	}
	if v.infoAt == 0 {
		return nil
	}
	var info [512]byte
	if _, err := v.disk.ReadAt(info[:], v.start+v.infoAt); err != nil {
		return fmt.Errorf("read the count of free clusters: %w", err)
	}
	le := binary.LittleEndian
	if le.Uint32(info[0:]) != 0x41615252 || le.Uint32(info[484:]) != 0x61417272 {
		return nil // it is advice; whoever reads it looks for these words too
	}
	le.PutUint32(info[488:], uint32(v.freeClusters())) //nolint:gosec // at most clusters
	if _, err := v.disk.WriteAt(info[:], v.start+v.infoAt); err != nil {
		return fmt.Errorf("write the count of free clusters: %w", err)
	}
	return nil
}

func (v *Volume) clusterAt(c uint32) int64 {
	return v.start + v.dataAt + int64(c-2)*v.clusterBytes
}
