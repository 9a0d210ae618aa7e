package contract_test

import (
	"strings"
	"testing"

	"github.com/wattline/wattline/shared/contract"
)

func TestRangesOfAddresses(t *testing.T) {
	for text, want := range map[string]struct {
		first, last string
		n           int
	}{
		"10.2.0.0/22":         {"10.2.0.1", "10.2.3.254", 1022},
		"10.2.0.9/30":         {"10.2.0.9", "10.2.0.10", 2},
		"10.2.0.8/31":         {"10.2.0.8", "10.2.0.9", 2},
		"10.2.0.7/32":         {"10.2.0.7", "10.2.0.7", 1},
		"10.2.0.7":            {"10.2.0.7", "10.2.0.7", 1},
		"10.2.0.250-10.2.1.4": {"10.2.0.250", "10.2.1.4", 11},
		"10.2.0.1 - 10.2.0.2": {"10.2.0.1", "10.2.0.2", 2},
	} {
		ranges, err := contract.Discovery{Ranges: []string{text}}.Addresses()
		if err != nil || len(ranges) != 1 {
			t.Errorf("%s: %v, %v", text, ranges, err)
			continue
		}
		r := ranges[0]
		if r.First.String() != want.first || r.Last.String() != want.last || r.Len() != want.n || r.At(r.Len()-1) != r.Last || r.At(0) != r.First {
			t.Errorf("%s: %v to %v, %d; want %+v", text, r.First, r.Last, r.Len(), want)
		}
	}
}

func TestEveryMistakeInRangesIsNamed(t *testing.T) {
	d := contract.Discovery{Ranges: []string{"10.0.0.0/8", "10.2.0.0/22", "", "a-b", "10.0.0.9-10.0.0.1", "::1/128", "10.0.0.1-::2", "0.0.0.0/0", "10.0.0.1/33", "10.3.0.0/18"}}
	_, err := d.Addresses()
	for _, part := range []string{"ranges[0]", "ranges[2]", "ranges[3]", "ranges[4]", "ranges[5]", "ranges[6]", "ranges[7]", "ranges[8]", "17404 addresses in all"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s is not named in: %v", part, err)
		}
	}
	if _, err := (contract.Discovery{Ranges: make([]string, 65)}).Addresses(); err == nil {
		t.Error("65 ranges are accepted")
	}
}

func FuzzRanges(f *testing.F) {
	f.Add("10.2.0.0/22")
	f.Add("255.255.255.255/31")
	f.Add("0.0.0.0-255.255.255.255")
	f.Fuzz(func(t *testing.T, text string) {
		ranges, err := contract.Discovery{Ranges: []string{text}}.Addresses()
		if err != nil {
			return
		}
		for _, r := range ranges {
			if n := r.Len(); n < 1 || n > contract.MaxRangeAddresses || r.At(n-1) != r.Last {
				t.Errorf("%q: %v", text, r)
			}
		}
	})
}
