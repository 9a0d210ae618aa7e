// Package fat puts a few files into the root of a FAT16 or FAT32 volume that lies
// somewhere inside a disk image, without mounting it.
//
// It is made for boot partitions that somebody else has filled: nothing is
// rewritten that need not be. A new file takes free clusters and free directory
// slots; a file of the same name is replaced in its slot; every other byte of the
// volume stays what it was. Free clusters are counted by the size of the volume,
// not by the size of its table, whose last entries may name clusters behind the
// volume's end.
//
// Whatever the bytes are, nothing here panics, loops for ever or holds more than
// MaxTable bytes and one file: chains are followed for at most as many clusters
// as there are.
//
// The layout is that of Microsoft's FAT specification, version 1.03, and of the
// long names beside it.
package fat
