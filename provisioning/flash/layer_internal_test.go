package flash // white-box: only here can a written image be damaged before it is checked

import (
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
