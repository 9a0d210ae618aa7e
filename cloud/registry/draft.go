package registry

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/cloud/registry/audit"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// draft is a change that is being made: records that replace those of the state,
// nil for one that goes. It is checked as a whole, committed as a whole, or
// forgotten.
type draft struct {
	*state

	request  contract.RegistryRequest
	newSite  *contract.Site
	gateways map[string]*gateway
	places   map[device.ID]*contract.Place // by id with the floor spelled out
	entries  []contract.Audited
	retired  []string // gateways
	forgot   []string // keys of plugs
	meta     map[string][]byte
}

func (s *state) draft(r contract.RegistryRequest) *draft {
	return &draft{state: s, request: r, gateways: make(map[string]*gateway), places: make(map[device.ID]*contract.Place), meta: make(map[string][]byte)}
}

// site is the site as it would be.
func (d *draft) theSite() *contract.Site {
	if d.newSite != nil {
		return d.newSite
	}
	return d.state.site
}

func (d *draft) full(id device.ID) device.ID {
	if site := d.theSite(); site != nil {
		return id.On(site.DefaultFloor)
	}
	return id
}

func (d *draft) place(full device.ID) *contract.Place {
	if p, ok := d.places[full]; ok {
		return p
	}
	return d.state.places[full]
}

func (d *draft) gateway(id string) *gateway {
	if g, ok := d.gateways[id]; ok {
		return g
	}
	return d.state.gateways[id]
}

// everyGateway lists the gateways as they would be, by id.
func (d *draft) everyGateway() []*gateway {
	all := maps.Clone(d.state.gateways)
	maps.Copy(all, d.gateways)
	maps.DeleteFunc(all, func(_ string, g *gateway) bool { return g == nil })
	list := make([]*gateway, 0, len(all))
	for _, id := range slices.Sorted(maps.Keys(all)) {
		list = append(list, all[id])
	}
	return list
}

// isEmpty reports whether the draft changes no record.
func (d *draft) isEmpty() bool {
	return d.newSite == nil && len(d.gateways)+len(d.places)+len(d.forgot)+len(d.meta) == 0
}

// note enters what the draft does to one object.
func (d *draft) note(what, object, detail string) {
	d.entries = append(d.entries, contract.Audited{
		At: micros(), Who: d.request.Who, What: what, Object: object, Reason: d.request.Reason, From: d.request.From, Result: audit.Done, Detail: detail,
	})
}

// putSite, putGateway and putPlace replace a record, unless it stays the same,
// and note how it differs.
func (d *draft) putSite(site contract.Site) {
	what := "create site"
	if before := d.state.site; before != nil {
		if site.Revision = before.Revision; site == *before {
			return
		}
		what = "change site"
	}
	d.note(what, site.Name, differences(d.state.site, &site))
	d.newSite = &site
}

func (d *draft) putGateway(g gateway) {
	what, before := "create gateway", d.gateway(g.Gateway)
	if before != nil {
		if g.Revision = before.Revision; encode(g) == encode(*before) {
			return
		}
		what = "change gateway"
	}
	d.note(what, g.Gateway, differences(before, &g))
	d.gateways[g.Gateway] = &g
}

func (d *draft) putPlace(p contract.Place, what string) {
	full := d.full(p.Device)
	d.locate(&p)
	before := d.place(full)
	if before != nil {
		if p.Revision = before.Revision; p == *before {
			return
		}
	}
	d.note(what, p.Device.String(), differences(before, &p))
	d.places[full] = &p
}

// locate gives a place whose plug is known, but not where it is, the address at
// which the place's gateway has found it.
func (d *draft) locate(p *contract.Place) {
	if p.Address != "" || !identified(p) {
		return
	}
	found := d.plugNamed(p.DeviceID, p.MAC)
	if found == nil || found.Gateway != p.Gateway || found.Problem == vanished {
		return
	}
	at := *p
	at.Address = found.Address
	for _, other := range d.byAddress[addressOf(&at)] {
		if o := d.place(other); o != nil && !identified(o) {
			return // what is there is taken for another plug
		}
	}
	p.Address = found.Address
}

// commit writes the draft and, when it is on the disk, makes it the state. The
// caller holds s.writing.
func (s *Store) commit(d *draft) error {
	if d.isEmpty() {
		return nil
	}
	revision := s.state.revision + 1
	encoded := make(map[device.ID][]byte, len(d.places))
	err := s.update(func(tx *bbolt.Tx) error {
		if err := d.write(tx, revision, encoded); err != nil {
			return err
		}
		for _, id := range d.retired {
			if err := s.trust.Retire(tx, id, d.request); err != nil {
				return err
			}
		}
		for _, e := range d.entries {
			if err := audit.Append(tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	d.apply(revision, encoded)
	for _, id := range d.retired {
		delete(s.heard, id)
		delete(s.budgets, id)
	}
	s.mu.Unlock()
	if len(d.retired) > 0 {
		return s.trust.Listed()
	}
	return nil
}

// write puts the draft's records into the file, each with the new revision.
func (d *draft) write(tx *bbolt.Tx, revision uint64, encoded map[device.ID][]byte) error {
	meta, graves := tx.Bucket(bucketMeta), tx.Bucket(bucketGone)
	err := meta.Put(keyRevision, binary.BigEndian.AppendUint64(nil, revision))
	put := func(b *bbolt.Bucket, key string, value []byte) {
		switch {
		case err != nil:
		case value == nil:
			err = b.Delete([]byte(key))
		default:
			err = b.Put([]byte(key), value)
		}
	}
	if d.newSite != nil {
		d.newSite.Revision = revision
		put(meta, string(keySite), []byte(encode(d.newSite)))
	}
	for key, value := range d.meta {
		put(meta, key, value)
	}
	for id, g := range d.gateways {
		grave := "gateway " + id
		if g == nil {
			put(tx.Bucket(bucketGateways), id, nil)
			put(graves, grave, []byte(encode(d.grave(grave))))
			continue
		}
		g.Revision = revision
		put(tx.Bucket(bucketGateways), id, []byte(encode(g)))
		put(graves, grave, nil)
	}
	// In the order of the keys, which is what a B+ tree likes.
	for _, full := range slices.SortedFunc(maps.Keys(d.places), func(a, b device.ID) int { return cmp.Compare(a.String(), b.String()) }) {
		p, key := d.places[full], full.String()
		if p == nil {
			put(tx.Bucket(bucketPlaces), key, nil)
			put(graves, "place "+key, []byte(encode(d.grave("place "+key))))
			continue
		}
		p.Revision = revision
		encoded[full] = []byte(encode(p))
		put(tx.Bucket(bucketPlaces), key, encoded[full])
		if _, was := d.state.gone["place "+key]; was {
			put(graves, "place "+key, nil)
		}
	}
	for _, key := range d.forgot {
		put(tx.Bucket(bucketPlugs), key, nil)
	}
	if err != nil {
		return fmt.Errorf("write the registry: %w", err)
	}
	return nil
}

// grave is what is remembered of a record that goes.
func (d *draft) grave(key string) gone {
	kind, id, _ := strings.Cut(key, " ")
	if kind == "gateway" {
		return gone{ID: id, Floor: d.state.gateways[id].Floor, At: micros()}
	}
	full, _ := device.Parse(id) // a key of the registry
	floor, _ := full.Floor()
	return gone{ID: d.state.places[full].Device.String(), Floor: floor, At: micros()}
}

// apply makes the draft the state. The caller holds the lock.
func (d *draft) apply(revision uint64, encoded map[device.ID][]byte) {
	s := d.state
	s.revision = revision
	if d.newSite != nil {
		s.site = d.newSite
	}
	for id, g := range d.gateways {
		if g == nil {
			s.gone["gateway "+id] = d.grave("gateway " + id)
			delete(s.gateways, id)
		} else {
			delete(s.gone, "gateway "+id)
			s.gateways[id] = g
		}
	}
	if len(d.places) > 50 {
		s.sorted = nil // cheaper to sort again
	}
	for full, p := range d.places {
		key := "place " + full.String()
		if p == nil {
			s.gone[key] = d.grave(key)
		} else {
			delete(s.gone, key)
		}
	}
	// Those that let go of something come before those that take it.
	for full := range d.places {
		s.setPlace(full, nil, nil)
	}
	for full, p := range d.places {
		if p != nil {
			s.setPlace(full, p, encoded[full])
		}
	}
	for _, key := range d.forgot {
		s.setPlug(key, nil)
	}
	s.settle()
}
