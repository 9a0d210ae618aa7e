package senml_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/wattline/wattline/shared/senml"
)

// A long base name before many short names would be copied for each of them:
// 3 MB of text would take 100 GB, or 60 MB where the name is just short enough.
func TestALongBaseNameIsNotMultiplied(t *testing.T) {
	for _, length := range []int{2 << 20, 1000} {
		pack := `[{"bn":"` + strings.Repeat("a", length) + `"}` + strings.Repeat(`,{"n":"a","v":1}`, 60_000) + `]`
		took := testing.Benchmark(func(b *testing.B) {
			for range b.N {
				if _, err := senml.Decode([]byte(pack), 100_000); !errors.Is(err, senml.ErrPack) {
					b.Fatalf("got %v, want a refusal", err)
				}
			}
		})
		if got := took.AllocedBytesPerOp(); got > 32<<20 {
			t.Errorf("%d bytes were taken for a pack of %d", got, len(pack))
		}
	}
	ok := `[{"bn":"` + strings.Repeat("a", 1000) + `","n":"/b","v":1}]`
	if _, err := senml.Decode([]byte(ok), 10); err != nil {
		t.Errorf("a long name: %v", err)
	}
}
