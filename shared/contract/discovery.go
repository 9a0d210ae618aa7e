package contract

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Discovery says where a gateway looks for plugs beside those that it is told of.
type Discovery struct {
	// Broadcast asks each network that the gateway is in itself.
	Broadcast bool `json:"broadcast"`
	// Ranges are asked address by address, for networks behind a router, where no
	// broadcast comes: "10.2.0.0/22", "10.2.0.10-10.2.0.250" or "10.2.0.7".
	Ranges []string `json:"ranges,omitempty"`
}

// Bounds of [Discovery.Ranges].
const (
	MaxRanges         = 64
	MaxRangeAddresses = 16384 // in all ranges together, a /18
)

// AddressRange is the addresses First to Last, both included; they are IPv4, as
// plugs are.
type AddressRange struct{ First, Last netip.Addr }

// Len is the number of addresses.
func (r AddressRange) Len() int { return int(number(r.Last)) - int(number(r.First)) + 1 }

// At is the n-th address, from 0.
func (r AddressRange) At(n int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], number(r.First)+uint32(n)) //nolint:gosec // below Len
	return netip.AddrFrom4(b)
}

// Addresses reads Ranges. The error names every one that makes no sense, by its
// number in the list.
func (d Discovery) Addresses() ([]AddressRange, error) {
	var errs []error
	var ranges []AddressRange
	if len(d.Ranges) > MaxRanges {
		return nil, fmt.Errorf("ranges: %d of them, at most %d", len(d.Ranges), MaxRanges)
	}
	total := 0
	for n, text := range d.Ranges {
		r, err := parseRange(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("ranges[%d]: %w", n, err))
			continue
		}
		if total += r.Len(); r.Len() > MaxRangeAddresses {
			errs = append(errs, fmt.Errorf("ranges[%d]: %.40q has %d addresses, at most %d are asked", n, text, r.Len(), MaxRangeAddresses))
			total -= r.Len()
			continue
		}
		ranges = append(ranges, r)
	}
	if total > MaxRangeAddresses {
		errs = append(errs, fmt.Errorf("ranges: %d addresses in all, at most %d are asked", total, MaxRangeAddresses))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return ranges, nil
}

var errRange = errors.New(`no IPv4 range such as "10.2.0.0/22", "10.2.0.10-10.2.0.250" or "10.2.0.7"`)

// parseRange reads one range. Of a network of more than two addresses the first
// and the last are nobody's and left out.
func parseRange(text string) (r AddressRange, err error) {
	wrong := func() (AddressRange, error) { return AddressRange{}, fmt.Errorf("%.40q is %w", text, errRange) }
	if prefix, err := netip.ParsePrefix(text); err == nil {
		if !prefix.Addr().Is4() {
			return wrong()
		}
		const bits, pair = 32, 31
		r.First = prefix.Masked().Addr()
		r.Last = AddressRange{First: r.First}.At(1<<(bits-prefix.Bits()) - 1)
		if prefix.Bits() < pair {
			r.First, r.Last = r.First.Next(), r.Last.Prev()
		}
		return r, nil
	}
	first, last, found := strings.Cut(text, "-")
	if !found {
		last = first
	}
	r.First, err = netip.ParseAddr(strings.TrimSpace(first))
	if err != nil {
		return wrong()
	}
	if r.Last, err = netip.ParseAddr(strings.TrimSpace(last)); err != nil || !r.First.Is4() || !r.Last.Is4() || r.Last.Less(r.First) {
		return wrong()
	}
	return r, nil
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}
