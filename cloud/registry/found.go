package registry

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/cloud/registry/audit"
	"github.com/wattline/wattline/cloud/registry/inventory"
	"github.com/wattline/wattline/shared/contract"
)

const (
	maxPlugs    = 50_000              // that are remembered
	forgetAfter = 30 * 24 * time.Hour // a plug without a place that nobody sees any more
	maxWord     = 64                  // bytes of what a plug says of itself
	plugPort    = "9999"              // of an address without one
)

// silence is how long a gateway may be silent before it counts as offline.
const silence = 30 * time.Second

// beat is a gateway's status, and when it was heard.
type beat struct {
	contract.Status

	heard time.Time
}

func (b *beat) online() bool { return b.Online && time.Since(b.heard) < silence }

// Hear notes how a gateway is. Gateways that are not registered are not
// remembered.
func (s *Store) Hear(gateway string, status contract.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.gateways[gateway] == nil {
		return
	}
	if !status.Online { // a will, which says nothing else
		before := s.heard[gateway].Status
		if before.Epoch != status.Epoch {
			return
		}
		before.Online = false
		status = before
	}
	s.heard[gateway] = beat{status, time.Now()}
}

// Found takes in what a gateway sees: plugs are remembered, an address that has
// changed is followed into the place that the plug is at, and a change of
// firmware is entered into the audit log. changed tells whether a place has.
//
// What is only seen again is not written at once; see [Store.saveSeen].
func (s *Store) Found(gateway string, f contract.Found) (changed bool, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.state.gateways[gateway] == nil {
		return false, nil
	}
	finder := &finder{
		Store: s, gateway: gateway, draft: s.state.draft(contract.RegistryRequest{Who: "gateway " + gateway, Reason: "found by its gateway"}),
		write: make(map[string]*plug), seen: make(map[string]*plug), budget: s.budgetOf(gateway),
	}
	for i := range f.Plugs[:min(len(f.Plugs), contract.MaxFound)] {
		finder.find(f.Plugs[i])
	}
	return len(finder.draft.places) > 0, finder.save()
}

// finder takes in one look round of one gateway.
type finder struct {
	*Store

	gateway string
	draft   *draft
	write   map[string]*plug // that differ from what is on the disk
	seen    map[string]*plug // that were only seen again
	budget  *budget
}

// find takes in one plug.
func (f *finder) find(found contract.FoundPlug) {
	now := clean(found)
	if now.DeviceID == "" && now.MAC == "" || now.Seen == 0 {
		return
	}
	p := &plug{now, f.gateway}
	before := f.state.plugNamed(p.DeviceID, p.MAC)
	switch {
	case before == nil && len(f.state.plugs)+len(f.write) >= maxPlugs:
		return
	case before != nil && before.Gateway != f.gateway && (before.Seen >= p.Seen || p.Problem == vanished):
		return // another gateway has seen it since
	case before != nil:
		// A plug that is locked or has vanished says less of itself.
		p.DeviceID, p.MAC = cmp.Or(p.DeviceID, before.DeviceID), cmp.Or(p.MAC, before.MAC)
		p.Model, p.Hardware, p.Firmware = cmp.Or(p.Model, before.Model), cmp.Or(p.Hardware, before.Hardware), cmp.Or(p.Firmware, before.Firmware)
	}
	if before != nil && same(before, p) {
		if before.Seen < p.Seen {
			f.seen[p.key()] = p
		}
		f.follow(p)
		return
	}
	if before != nil && before.Seen > p.Seen {
		return // told late
	}
	if !f.budget.take(time.Now()) {
		return // a later look tells it again
	}
	f.write[p.key()] = p
	if before != nil && before.key() != p.key() {
		f.draft.forgot = append(f.draft.forgot, before.key())
	}
	f.firmware(before, p)
	f.follow(p)
}

// clean is what a gateway says of a plug, as far as it can be believed.
func clean(found contract.FoundPlug) contract.FoundPlug {
	var at inventory.Place
	if at.Set("device_id", found.DeviceID) != nil {
		found.DeviceID = ""
	}
	if at.Set("mac", found.MAC) != nil {
		found.MAC = ""
	}
	if at.Set("address", found.Address) != nil {
		found.Address = ""
	}
	if at.Set("driver", found.Driver) != nil {
		found.Driver = ""
	}
	found.DeviceID, found.MAC, found.Device, found.FirmwareBefore = at.DeviceID, at.MAC, "", ""
	for _, word := range []*string{&found.Model, &found.Hardware, &found.Firmware, &found.Alias, &found.Problem} {
		*word = strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f || r == '\ufffd' {
				return -1
			}
			return r
		}, strings.ToValidUTF8((*word)[:min(len(*word), maxWord)], ""))
	}
	if host, port, err := net.SplitHostPort(found.Address); err == nil && port == plugPort {
		found.Address = host
	}
	found.Seen = max(0, min(found.Seen, micros()))
	return found
}

// same tells whether a plug was only seen again.
func same(before, now *plug) bool {
	then := *before
	then.Seen = now.Seen
	return then == *now
}

// firmware enters that a plug runs another program than before.
func (f *finder) firmware(before, p *plug) {
	if before == nil || before.Firmware == "" || p.Firmware == "" || before.Firmware == p.Firmware {
		return
	}
	detail := fmt.Sprintf("%s → %s", before.Firmware, p.Firmware)
	if at := f.state.placeOf(p); at != nil {
		detail += ", at " + at.Device.String()
	}
	f.draft.note("firmware changed", p.key(), detail)
}

// follow gives a place the address at which its own gateway has found its plug,
// and the rest of the plug's identity.
func (f *finder) follow(p *plug) {
	full, ok := f.state.byDeviceID[p.DeviceID]
	if !ok || p.DeviceID == "" {
		if full, ok = f.state.byMAC[p.MAC]; !ok || p.MAC == "" {
			return
		}
	}
	at := f.state.places[full]
	if at.Gateway != f.gateway || p.Address == "" || p.Problem == vanished || at.MAC != "" && p.MAC != "" && at.MAC != p.MAC {
		return
	}
	next := *at
	next.MAC, next.DeviceID = cmp.Or(at.MAC, p.MAC), cmp.Or(at.DeviceID, p.DeviceID)
	if !sameAddress(at.Address, p.Address) {
		next.Address = p.Address
	}
	if next == *at || !f.budget.take(time.Now()) {
		return
	}
	trial := f.state.draft(f.draft.request)
	trial.putPlace(next, "follow plug")
	if problem := trial.check(); problem != nil {
		if f.said.May(at.Device.String()) {
			f.log.Warn("plug not followed", slog.String("device", at.Device.String()), slog.String("gateway", f.gateway), slog.Any("err", problem))
		}
		return
	}
	f.draft.putPlace(next, "follow plug")
}

// sameAddress compares addresses, of which the plugs' own port may be left out.
func sameAddress(a, b string) bool { return bare(a) == bare(b) }

func bare(address string) string {
	if host, port, err := net.SplitHostPort(address); err == nil && port == plugPort {
		return host
	}
	return address
}

// save writes what differs and remembers the rest.
func (f *finder) save() error {
	err := f.writePlugs()
	if err == nil {
		err = f.commit(f.draft)
	}
	if err != nil {
		return fmt.Errorf("take in what %s has found: %w", f.gateway, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, p := range f.seen {
		f.state.setPlug(key, p)
		f.unsaved[key] = true
	}
	return nil
}

// writePlugs writes the plugs that have changed, with what the audit log is to
// say of them when no place changes.
func (f *finder) writePlugs() error {
	if len(f.write) == 0 {
		return nil
	}
	alone := len(f.draft.places) == 0
	err := f.update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketPlugs)
		for _, key := range f.draft.forgot {
			if err := b.Delete([]byte(key)); err != nil {
				return err
			}
		}
		for key, p := range f.write {
			if err := b.Put([]byte(key), []byte(encode(p))); err != nil {
				return err
			}
		}
		for _, e := range f.draft.entries {
			if !alone {
				break // with the places
			}
			if err := audit.Append(tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, key := range f.draft.forgot {
		f.state.setPlug(key, nil)
	}
	f.draft.forgot = nil
	for key, p := range f.write {
		f.state.setPlug(key, p)
		delete(f.unsaved, key)
	}
	return nil
}
