package inventory

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wattline/wattline/shared/contract"
)

// The words of [DiscoveryText] beside address ranges.
const (
	broadcast = "broadcast"
	nowhere   = "none"
)

// DiscoveryText is where a gateway looks for plugs, as an inventory has it:
// "broadcast, 10.2.0.0/22, 10.3.0.10-10.3.0.90", or "none"; "" for broadcast
// alone, which is the usual.
func DiscoveryText(d contract.Discovery) string {
	var items []string
	if d.Broadcast {
		items = append(items, broadcast)
	}
	items = append(items, d.Ranges...)
	switch {
	case len(items) == 0:
		return nowhere
	case d.Broadcast && len(items) == 1:
		return ""
	default:
		return strings.Join(items, ", ")
	}
}

// ParseDiscovery reads what [DiscoveryText] writes; the order is free, and
// spaces do for commas.
func ParseDiscovery(text string) (contract.Discovery, error) {
	items := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == ';' })
	if len(items) == 0 {
		return contract.Discovery{Broadcast: true}, nil
	}
	if len(items) == 1 && items[0] == nowhere {
		return contract.Discovery{}, nil
	}
	d := contract.Discovery{Broadcast: slices.Contains(items, broadcast)}
	d.Ranges = slices.DeleteFunc(items, func(item string) bool { return item == broadcast })
	if len(d.Ranges) == 0 {
		d.Ranges = nil
	}
	if _, err := d.Addresses(); err != nil {
		return contract.Discovery{}, fmt.Errorf("%.200q is not none, or broadcast and address ranges such as 10.2.0.0/22: %w", text, err)
	}
	return d, nil
}

func setDiscovery(to *string, v string) error {
	d, err := ParseDiscovery(v)
	if err == nil {
		*to = DiscoveryText(d)
	}
	return err
}
