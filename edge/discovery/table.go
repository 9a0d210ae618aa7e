package discovery

import (
	"cmp"
	"encoding/hex"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110"
)

// Problems of a found plug.
const (
	locked      = "locked"
	unsupported = "unsupported"
	vanished    = "vanished"
)

const (
	// maxStrangers bounds the plugs of no place that are remembered. Those beyond
	// [contract.MaxFound] are only counted.
	maxStrangers = 2 * contract.MaxFound
	// forgetAfter is when a plug of no place that vanished is no longer listed.
	forgetAfter = 24 * time.Hour
	// goneAfter is the number of rounds that a plug may miss.
	goneAfter = 3
)

// way is how a plug was seen.
type way int

const (
	byPoll way = iota
	byBroadcast
	byScan
)

// entry is a plug that was seen.
type entry struct {
	info    hs110.Info // texts bounded
	address string
	seen    time.Time
	way     way
	before  string // firmware
	problem string // locked or vanished
	gone    time.Time
	missed  int // rounds
	// other is an address where the plug answered by UDP while it was read well at
	// address: it may be on its way there.
	other     string
	otherSeen time.Time
}

// table is the plugs that were seen, by MAC, or deviceId where they sent none.
type table struct {
	entries map[string]*entry
	byID    map[string]string // deviceId -> key
}

func newTable() table { return table{entries: map[string]*entry{}, byID: map[string]string{}} }

func (t *table) find(i *hs110.Info) *entry {
	if e := t.entries[keyOf(i)]; e != nil {
		return e
	}
	return t.entries[t.byID[canonicalID(i.DeviceID)]]
}

func (t *table) remove(key string) {
	if e := t.entries[key]; e != nil {
		if id := canonicalID(e.info.DeviceID); t.byID[id] == key {
			delete(t.byID, id)
		}
		delete(t.entries, key)
	}
}

func keyOf(i *hs110.Info) string { return cmp.Or(i.MAC, canonicalID(i.DeviceID)) }

// canonicalID is a deviceId of 40 hexadecimal digits in upper case, "" for any
// other text.
func canonicalID(s string) string {
	const digits = 40
	if _, err := hex.DecodeString(s); err != nil || len(s) != digits {
		return ""
	}
	return strings.ToUpper(s)
}

// bounded is what a plug told with texts that can be kept and shown; false where
// it tells no identity.
func bounded(i hs110.Info) (hs110.Info, bool) {
	i.DeviceID = canonicalID(i.DeviceID)
	i.Model, i.Hardware, i.Firmware = clean(i.Model, 32), clean(i.Hardware, 16), clean(i.Firmware, 64)
	i.Alias, i.Feature = clean(i.Alias, 64), clean(i.Feature, 32)
	return i, keyOf(&i) != ""
}

// clean is a text of at most n bytes, in one line of valid UTF-8.
func clean(s string, n int) string {
	s = strings.ToValidUTF8(s[:min(len(s), 4*n)], "")
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, s))
	for len(s) > n {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}

// sighted enters that a plug told of itself at an address; the caller holds the
// lock. It gives nil where there is no room or no identity.
func (d *Discovery) sighted(told *hs110.Info, address string, at time.Time, how way) *entry {
	e := d.table.find(told)
	if e != nil && at.Before(e.seen) {
		return e
	}
	i, ok := bounded(*told)
	if !ok {
		return nil
	}
	if e != nil && keyOf(&e.info) != keyOf(&i) { // it was locked, and known by its MAC only, or the like
		d.table.remove(keyOf(&e.info))
		d.table.entries[keyOf(&i)] = e
	}
	if e == nil {
		stranger := d.owner(&i) == nil
		if stranger && len(d.table.entries) >= maxStrangers+len(d.known) && !d.table.makeRoom() {
			d.count.ignored.Inc()
			return nil
		}
		e = &entry{info: i}
		d.table.entries[keyOf(&i)] = e
		if stranger {
			d.tellOf("plug found that has no place on this floor", &i, address, "")
		}
	}
	if i.DeviceID != "" {
		d.table.byID[i.DeviceID] = keyOf(&i)
	}
	if e.info.Firmware != "" && i.Firmware != "" && e.info.Firmware != i.Firmware {
		e.before = e.info.Firmware
		d.count.firmware.Inc()
		d.tellOf("firmware of a plug changed", &i, address, e.before)
	}
	e.info, e.address, e.seen, e.problem, e.missed = i, address, at, "", 0
	if how != byPoll {
		e.way = how
	}
	return e
}

// makeRoom drops the plug that vanished first.
func (t *table) makeRoom() bool {
	oldest := ""
	for key, e := range t.entries {
		if e.problem == vanished && (oldest == "" || e.gone.Before(t.entries[oldest].gone)) {
			oldest = key
		}
	}
	t.remove(oldest)
	return oldest != ""
}

// list is what there is to tell; the caller holds the lock. Plugs of places come
// first where not all can be told of.
func (d *Discovery) list(now time.Time) contract.Found {
	at, _ := d.o.Clock()
	f := contract.Found{Gateway: d.o.Gateway, At: at, Plugs: []contract.FoundPlug{}}
	for _, key := range slices.Sorted(maps.Keys(d.table.entries)) {
		e := d.table.entries[key]
		p := contract.FoundPlug{
			DeviceID: e.info.DeviceID, MAC: e.info.MAC, Driver: "hs110", Model: e.info.Model, Hardware: e.info.Hardware,
			Firmware: e.info.Firmware, FirmwareBefore: e.before, Alias: e.info.Alias, Address: d.shown(e.address),
			Problem: e.problem, Seen: at.Add(e.seen.Sub(now)),
		}
		if k := d.owner(&e.info); k != nil {
			p.Device, p.Problem = k.Device.String(), d.trouble(k, e)
		} else if p.Problem == "" && !e.info.HasMeter() {
			p.Problem = unsupported
		}
		f.Plugs = append(f.Plugs, p)
	}
	if n := len(f.Plugs); n > contract.MaxFound {
		placed := func(p contract.FoundPlug) int {
			if p.Device != "" {
				return 0
			}
			return 1
		}
		slices.SortStableFunc(f.Plugs, func(a, b contract.FoundPlug) int { return placed(a) - placed(b) })
		f.Plugs, f.More = f.Plugs[:contract.MaxFound], n-contract.MaxFound
		slices.SortFunc(f.Plugs, func(a, b contract.FoundPlug) int {
			return cmp.Compare(cmp.Or(a.MAC, a.DeviceID), cmp.Or(b.MAC, b.DeviceID))
		})
	}
	return f
}

// trouble is the problem of a plug that has a place: the poller knows best.
func (d *Discovery) trouble(k *Known, e *entry) string {
	switch {
	case k.Reason == hs110.ReasonLocked || e.problem == locked:
		return locked
	case k.Reason == hs110.ReasonUnsupported:
		return unsupported
	case k.Offline && (e.missed >= goneAfter || d.nowhere()):
		return vanished
	}
	return ""
}

// same reports whether two lists differ in times only.
func same(a, b contract.Found) bool {
	return a.More == b.More && slices.EqualFunc(a.Plugs, b.Plugs, func(p, q contract.FoundPlug) bool {
		p.Seen, q.Seen = 0, 0
		return p == q
	})
}

// forget drops plugs of no place that vanished long ago; the caller holds the
// lock.
func (d *Discovery) forget(now time.Time) {
	for key, e := range d.table.entries {
		if e.problem == vanished && now.Sub(e.gone) > forgetAfter && d.owner(&e.info) == nil {
			d.table.remove(key)
		}
	}
	live := make(map[device.ID]bool, len(d.known))
	for i := range d.known {
		live[d.known[i].Device] = true
	}
	maps.DeleteFunc(d.chased, func(id device.ID, _ time.Time) bool { return !live[id] })
	maps.DeleteFunc(d.sought, func(id device.ID, _ looks) bool { return !live[id] })
}

// shown is an address without the port that every plug has.
func (d *Discovery) shown(address string) string {
	if host, port, err := net.SplitHostPort(address); err == nil && port == strconv.Itoa(hs110.Port) {
		return host
	}
	return address
}

// full is an address with its port.
func (d *Discovery) full(address string) string {
	if a, err := netip.ParseAddr(address); err == nil {
		return netip.AddrPortFrom(a, uint16(d.o.Port)).String() //nolint:gosec // a port
	}
	if _, _, err := net.SplitHostPort(address); err != nil && address != "" {
		return net.JoinHostPort(address, strconv.Itoa(d.o.Port))
	}
	return address
}
