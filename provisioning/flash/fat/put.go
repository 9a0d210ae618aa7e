package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Put writes a file into the root, in the place of one of the same name if there
// is one. The name is ASCII, 1 to 255 characters. Too little room gives
// [ErrFull] and has changed nothing on the disk.
func (v *Volume) Put(name string, content []byte, modified time.Time) error {
	if err := checkName(name); err != nil {
		return fmt.Errorf("put %q into the FAT partition: %w", name, err)
	}
	if err := v.put(name, content, modified); err != nil {
		return fmt.Errorf("put %s into the FAT partition: %w", name, err)
	}
	return nil
}

func (v *Volume) put(name string, content []byte, modified time.Time) error {
	d, err := v.root()
	if err != nil {
		return err
	}
	before, there := d.find(name)
	if there {
		if before.Dir {
			return errors.New("there is a folder of that name")
		}
		if err := v.release(before); err != nil {
			return err
		}
	}
	list, err := v.allocate((int64(len(content)) + v.clusterBytes - 1) / v.clusterBytes)
	if err != nil {
		return err
	}
	at := before.at
	if !there {
		if at, err = d.add(name); err != nil {
			return err
		}
	}
	for i, c := range list {
		block := make([]byte, v.clusterBytes)
		copy(block, content[int64(i)*v.clusterBytes:])
		if _, err := v.disk.WriteAt(block, v.clusterAt(c)); err != nil {
			return err
		}
	}
	first := uint32(0)
	if len(list) > 0 {
		first = list[0]
	}
	fill(d.slot(at), first, len(content), modified)
	if err := d.save(); err != nil {
		return err
	}
	return v.save()
}

// release gives up the clusters of a file.
func (v *Volume) release(e Entry) error {
	if e.cluster == 0 {
		return nil
	}
	list, err := v.chain(e.cluster)
	if err != nil {
		return err
	}
	for _, c := range list {
		v.link(c, 0)
	}
	return nil
}

func checkName(name string) error {
	if name == "" || len(name) > 255 || strings.Trim(name, ". ") != name {
		return errors.New("a name has 1 to 255 characters, and no blank or dot around it")
	}
	for _, r := range name {
		if r < ' ' || r > '~' || strings.ContainsRune(`"*/:<>?\|`, r) {
			return fmt.Errorf("%q is not allowed in a name", r)
		}
	}
	return nil
}

// fill sets what a slot says about its file.
func fill(s []byte, first uint32, size int, modified time.Time) {
	le := binary.LittleEndian
	day, clock := stamp(modified.UTC())
	s[11] = archive
	le.PutUint16(s[18:], day) // last access
	le.PutUint16(s[20:], uint16(first>>16))
	le.PutUint16(s[22:], clock) // last change
	le.PutUint16(s[24:], day)
	le.PutUint16(s[26:], uint16(first&0xFFFF))
	le.PutUint32(s[28:], uint32(size)) //nolint:gosec // it fits into clusters, fewer than 2^26 of them
}

// stamp is a time as FAT tells it: from 1980 on, in steps of two seconds.
func stamp(t time.Time) (day, clock uint16) {
	if t.Year() < 1980 {
		t = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	year := min(t.Year()-1980, 127)
	return uint16(year<<9 | int(t.Month())<<5 | t.Day()), uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2) //nolint:gosec // in 16 bits by construction
}

// add finds slots for a new name, writes the name there and gives the index of
// the slot with the 8.3 name. The root of a FAT32 grows where that is needed.
func (d *directory) add(name string) (int, error) {
	alias, err := d.alias(name)
	if err != nil {
		return 0, err
	}
	parts := (len(name) + perSlot - 1) / perSlot
	at, err := d.room(parts + 1)
	if err != nil {
		return 0, err
	}
	sum := checksum(alias[:])
	for i := range parts { // the last part of the name comes first
		d.writeLong(at+i, name, parts-i, i == 0, sum)
	}
	s := d.slot(at + parts)
	clear(s)
	copy(s, alias[:])
	return at + parts, nil
}

// writeLong writes part n, counted from 1, of a long name.
func (d *directory) writeLong(at int, name string, n int, final bool, sum byte) {
	s := d.slot(at)
	clear(s)
	s[0], s[11], s[13] = byte(n), longName, sum //nolint:gosec // at most 20 parts
	if final {
		s[0] |= 0x40
	}
	i := (n - 1) * perSlot
	for _, span := range [][2]int{{1, 11}, {14, 26}, {28, 32}} {
		for to := span[0]; to < span[1]; to, i = to+2, i+1 {
			u := uint16(0xFFFF) // behind the zero that ends the name
			if i < len(name) {
				u = uint16(name[i])
			} else if i == len(name) {
				u = 0
			}
			binary.LittleEndian.PutUint16(s[to:], u)
		}
	}
}

// alias makes an 8.3 name that the directory has not.
func (d *directory) alias(name string) (alias [11]byte, err error) {
	stem, ext := name, ""
	if dot := strings.LastIndexByte(name, '.'); dot > 0 {
		stem, ext = name[:dot], name[dot+1:]
	}
	stem, ext = plain(stem), plain(ext)
	taken := map[string]bool{}
	for _, e := range d.entries() {
		taken[e.Short] = true
	}
	for n := 1; n < 1_000_000; n++ {
		tail := fmt.Sprintf("~%d", n)
		for i := range alias {
			alias[i] = ' '
		}
		copy(alias[:8], stem[:min(len(stem), 8-len(tail))]+tail)
		copy(alias[8:], ext[:min(len(ext), 3)])
		if !taken[short(alias[:])] {
			return alias, nil
		}
	}
	return alias, fmt.Errorf("%w: a million names like %s", ErrFull, name)
}

// plain is what of a name can stand in an 8.3 name.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return -1
	}, s)
}

// room finds n slots in a row, and sees to it that a directory ends where it
// ended.
func (d *directory) room(n int) (int, error) {
	run := 0
	total := len(d.data) / slot
	for i := range total {
		first := d.slot(i)[0]
		if first == endSlot {
			clear(d.data[i*slot:]) // never used, so it may be anything
			if i-run+n <= total {
				return i - run, nil
			}
			break
		}
		if first != freeSlot {
			run = 0
			continue
		}
		if run++; run == n {
			return i - n + 1, nil
		}
	}
	if err := d.grow(); err != nil {
		return 0, err
	}
	return d.room(n)
}

// grow adds an empty cluster.
func (d *directory) grow() error {
	if d.clusters == nil {
		return fmt.Errorf("%w: its root directory has %d slots and no more", ErrFull, len(d.data)/slot)
	}
	if (len(d.data)+int(d.v.clusterBytes))/slot > maxSlots {
		return fmt.Errorf("%w: its root directory has %d slots", ErrFull, len(d.data)/slot)
	}
	list, err := d.v.allocate(1)
	if err != nil {
		return err
	}
	d.v.link(d.clusters[len(d.clusters)-1], list[0])
	d.clusters = append(d.clusters, list[0])
	d.data = append(d.data, make([]byte, d.v.clusterBytes)...)
	return nil
}

// SetLabel gives the volume a label of 1 to 11 capital letters and digits, in the
// root directory and in the boot sector.
func (v *Volume) SetLabel(text string) error {
	if text == "" || len(text) > 11 || plain(text) != text {
		return fmt.Errorf("label %q: %w", text, errLabel)
	}
	padded := fmt.Sprintf("%-11s", text)
	d, err := v.root()
	if err != nil {
		return err
	}
	i := d.labelSlot()
	if i < 0 {
		if i, err = d.room(1); err != nil {
			return err
		}
		clear(d.slot(i))
		d.slot(i)[11] = label
	}
	copy(d.slot(i), padded)
	if err := d.save(); err != nil {
		return err
	}
	for _, boot := range []int64{0, v.backupAt} { // the same one twice where there is no copy
		if _, err := v.disk.WriteAt([]byte(padded), v.start+boot+int64(v.labelOffset())); err != nil {
			return fmt.Errorf("write the label: %w", err)
		}
	}
	return v.save()
}
