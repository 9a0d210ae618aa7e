package discovery

import "net/netip"

// Hear feeds a datagram to a look, as if it had come from an address.
func (d *Discovery) Hear(from netip.AddrPort, datagrams ...[]byte) (toAsk []string) {
	a := d.newAnswers()
	for _, b := range datagrams {
		a.hear(from, b)
	}
	return a.toAsk()
}

// Entries is the number of plugs that are remembered.
func (d *Discovery) Entries() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.table.entries)
}

// MaxEntries bounds Entries where no plug has a place.
const MaxEntries = maxStrangers

// Clean is clean.
func Clean(s string, n int) string { return clean(s, n) }
