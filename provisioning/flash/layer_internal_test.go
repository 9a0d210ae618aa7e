package flash // white-box: only here can a written image be damaged before it is checked

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestADamagedImageDoesNotPass(t *testing.T) {
	for name, at := range map[string]int64{"in what was changed": 5000, "in what was copied": 3 << 20, "in the last byte": 4<<20 + 99} {
		t.Run(name, func(t *testing.T) {
			f, err := os.Create(filepath.Join(t.TempDir(), "image"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			const size = 4<<20 + 100
			if err := f.Truncate(size); err != nil {
				t.Fatal(err)
			}
			var want sums
			zero := make([]byte, chunk)
			for range 4 {
				want = append(want, sha256.Sum256(zero))
			}
			want = append(want, sha256.Sum256(zero[:100]))
			l := newLayer(f, size)
			if _, err := l.WriteAt([]byte("the seed"), 4999); err != nil {
				t.Fatal(err)
			}
			if err := l.flush(); err != nil {
				t.Fatal(err)
			}
			ignore := func(int64, int64) {}
			if err := l.verify(t.Context(), want, ignore); err != nil {
				t.Fatalf("a whole image: %v", err)
			}
			if _, err := f.WriteAt([]byte{0x55}, at); err != nil {
				t.Fatal(err)
			}
			if err := l.verify(t.Context(), want, ignore); !errors.Is(err, errDiffers) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// FuzzPartitions reads tables that were made up.
func FuzzPartitions(f *testing.F) {
	mbr := make([]byte, 4096)
	copy(mbr[446:], []byte{0, 0, 0, 0, 0x0C, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0})
	mbr[510], mbr[511] = 0x55, 0xAA
	f.Add(mbr)
	gpt := bytes.Clone(mbr)
	gpt[450] = 0xEE
	copy(gpt[512:], "EFI PART")
	copy(gpt[512+72:], []byte{2, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 128})
	copy(gpt[1024:], bytes.Repeat([]byte{1}, 16))
	copy(gpt[1024+32:], []byte{4, 0, 0, 0, 0, 0, 0, 0, 5})
	f.Add(gpt)
	f.Fuzz(func(t *testing.T, disk []byte) {
		list, err := partitions(bytes.NewReader(disk), int64(len(disk)))
		for _, p := range list {
			if err == nil && (p.start < 0 || p.size <= 0 || p.start+p.size > int64(len(disk))) {
				t.Errorf("partition %+v of %d bytes", p, len(disk))
			}
		}
	})
}
