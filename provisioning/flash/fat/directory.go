package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf16"
)

// A directory is slots of 32 bytes. A file has one slot with its 8.3 name, and
// before it the slots of its long name, the last part first.
const (
	slot      = 32
	perSlot   = 13   // characters of a long name in a slot
	freeSlot  = 0xE5 // first byte of a slot that was given up
	endSlot   = 0x00 // of the first slot that was never used
	longName  = 0x0F // attributes of a slot of a long name
	label     = 0x08 // of the volume's label
	subfolder = 0x10
	archive   = 0x20
)

// maxSlots bounds a directory, as the specification does: 2 MiB.
const maxSlots = 65536

// Entry is a file or folder in a directory.
type Entry struct {
	Name  string // the long name where it has one
	Short string // its 8.3 name, such as USER-D~1
	Size  int64  // in bytes, 0 of a folder
	Dir   bool

	cluster uint32
	at      int // slot with the 8.3 name
}

// directory is one that was read: its bytes, and where they lie.
type directory struct {
	v        *Volume
	clusters []uint32 // nil for the root of a FAT16
	data     []byte
}

func (v *Volume) root() (*directory, error) {
	if v.wide {
		return v.directory(v.rootCluster)
	}
	d := &directory{v: v, data: make([]byte, v.rootBytes)}
	if _, err := v.disk.ReadAt(d.data, v.start+v.rootAt); err != nil {
		return nil, fmt.Errorf("read the root directory: %w", err)
	}
	return d, nil
}

func (v *Volume) directory(first uint32) (*directory, error) {
	list, err := v.chain(first)
	if err != nil {
		return nil, fmt.Errorf("read a directory: %w", err)
	}
	if int64(len(list))*v.clusterBytes > maxSlots*slot {
		return nil, fmt.Errorf("%w: a directory of %d clusters", ErrNotFAT, len(list))
	}
	d := &directory{v: v, clusters: list, data: make([]byte, int64(len(list))*v.clusterBytes)}
	for i, c := range list {
		if _, err := v.disk.ReadAt(d.data[int64(i)*v.clusterBytes:][:v.clusterBytes], v.clusterAt(c)); err != nil {
			return nil, fmt.Errorf("read a directory: %w", err)
		}
	}
	return d, nil
}

// save writes the directory back.
func (d *directory) save() error {
	if d.clusters == nil {
		_, err := d.v.disk.WriteAt(d.data, d.v.start+d.v.rootAt)
		return err
	}
	for i, c := range d.clusters {
		if _, err := d.v.disk.WriteAt(d.data[int64(i)*d.v.clusterBytes:][:d.v.clusterBytes], d.v.clusterAt(c)); err != nil {
			return err
		}
	}
	return nil
}

func (d *directory) slot(i int) []byte { return d.data[i*slot : (i+1)*slot] }

// entries lists what the directory has. A long name whose parts do not fit its
// 8.3 name is passed over, as others do.
func (d *directory) entries() []Entry {
	var list []Entry
	var long []uint16
	var sum byte
	for i := range len(d.data) / slot {
		s := d.slot(i)
		switch {
		case s[0] == endSlot:
			return list
		case s[0] == freeSlot:
			long = nil
		case s[11]&0x3F == longName:
			if s[0]&0x40 != 0 {
				long, sum = nil, s[13]
			}
			if len(long) < 20*perSlot {
				long = append(longPart(s), long...)
			}
		case s[11]&label != 0:
			long = nil
		default:
			e := Entry{Short: short(s), Dir: s[11]&subfolder != 0, at: i, cluster: uint32(binary.LittleEndian.Uint16(s[26:]))}
			if d.v.wide {
				e.cluster |= uint32(binary.LittleEndian.Uint16(s[20:])) << 16
			}
			if !e.Dir {
				e.Size = int64(binary.LittleEndian.Uint32(s[28:]))
			}
			e.Name = e.Short
			if long != nil && sum == checksum(s[:11]) {
				e.Name = string(utf16.Decode(long))
			} else if long == nil {
				e.Name = lowered(s)
			}
			list, long = append(list, e), nil
		}
	}
	return list
}

// longPart gives the characters of one slot of a long name, up to the zero that
// ends it.
func longPart(s []byte) []uint16 {
	var part []uint16
	for _, span := range [][2]int{{1, 11}, {14, 26}, {28, 32}} {
		for at := span[0]; at < span[1]; at += 2 {
			u := binary.LittleEndian.Uint16(s[at:])
			if u == 0 {
				return part
			}
			part = append(part, u)
		}
	}
	return part
}

func short(s []byte) string {
	name, ext := strings.TrimRight(string(s[:8]), " "), strings.TrimRight(string(s[8:11]), " ")
	if ext != "" {
		name += "." + ext
	}
	return name
}

// lowered is an 8.3 name in the case that byte 12 tells, in which systems since
// Windows NT keep names of one case without a long one.
func lowered(s []byte) string {
	name, ext, dot := strings.Cut(short(s), ".")
	if s[12]&0x08 != 0 {
		name = strings.ToLower(name)
	}
	if s[12]&0x10 != 0 {
		ext = strings.ToLower(ext)
	}
	if dot {
		name += "." + ext
	}
	return name
}

func checksum(name []byte) (sum byte) {
	for _, c := range name {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}

// find looks for a name, in either form and any case.
func (d *directory) find(name string) (Entry, bool) {
	for _, e := range d.entries() {
		if strings.EqualFold(e.Name, name) || strings.EqualFold(e.Short, name) {
			return e, true
		}
	}
	return Entry{}, false
}

// List gives the files and folders of the root.
func (v *Volume) List() ([]Entry, error) {
	d, err := v.root()
	if err != nil {
		return nil, err
	}
	return d.entries(), nil
}

// Stat finds a file or folder by its path with slashes, in any case; one that is
// not there gives [fs.ErrNotExist].
func (v *Volume) Stat(path string) (Entry, error) {
	d, err := v.root()
	var e Entry
	for i, name := range strings.Split(path, "/") {
		if i > 0 {
			if !e.Dir {
				return e, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
			}
			d, err = v.directory(e.cluster)
		}
		if err != nil {
			return e, err
		}
		var ok bool
		if e, ok = d.find(name); !ok {
			return e, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
		}
	}
	return e, nil
}

// ReadFile reads a file of at most limit bytes.
func (v *Volume) ReadFile(path string, limit int64) ([]byte, error) {
	e, err := v.Stat(path)
	if err != nil {
		return nil, err
	}
	switch {
	case e.Dir:
		return nil, fmt.Errorf("read %s: it is a folder", path)
	case e.Size > limit:
		return nil, fmt.Errorf("read %s: %d bytes, limit %d", path, e.Size, limit)
	case e.Size == 0:
		return nil, nil
	}
	list, err := v.chain(e.cluster)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(list))*v.clusterBytes < e.Size {
		return nil, fmt.Errorf("read %s: %w: %d clusters for %d bytes", path, ErrNotFAT, len(list), e.Size)
	}
	data := make([]byte, e.Size)
	for i, rest := 0, data; len(rest) > 0; i++ {
		n := min(int64(len(rest)), v.clusterBytes)
		if _, err := v.disk.ReadAt(rest[:n], v.clusterAt(list[i])); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		rest = rest[n:]
	}
	return data, nil
}

// Label is the volume's label: that of the root directory, or where it has none
// that of the boot sector.
func (v *Volume) Label() (string, error) {
	d, err := v.root()
	if err != nil {
		return "", err
	}
	if i := d.labelSlot(); i >= 0 {
		return strings.TrimRight(string(d.slot(i)[:11]), " "), nil
	}
	var boot [512]byte
	if _, err := v.disk.ReadAt(boot[:], v.start); err != nil {
		return "", fmt.Errorf("read the boot sector: %w", err)
	}
	return strings.TrimRight(string(boot[v.labelOffset():][:11]), " "), nil
}

func (v *Volume) labelOffset() int {
	if v.wide {
		return 71
	}
	return 43
}

func (d *directory) labelSlot() int {
	for i := range len(d.data) / slot {
		switch s := d.slot(i); {
		case s[0] == endSlot:
			return -1
		case s[0] != freeSlot && s[11]&0x3F != longName && s[11]&label != 0:
			return i
		}
	}
	return -1
}

var errLabel = errors.New("a label has 1 to 11 capital letters and digits")
