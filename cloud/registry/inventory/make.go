package inventory

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// Plan is what an import would do.
type Plan struct {
	// Records are what would be, in order.
	Records Records
	Difference
}

// Make says what would be after the import of f into now. Nothing that f does
// not name is removed unless remove is set: then the places that it does not
// name go, and the gateways too where it has a list of them. Whatever is wrong
// is told at once, and no plan is made.
func Make(now Records, f *File, remove bool) (*Plan, *contract.Problem) {
	m := &maker{
		mistakes: f.wrong.clone(), now: now, plan: &Plan{}, gateways: map[string]*Gateway{}, places: map[device.ID]*Place{},
		origins: map[device.ID]origin{}, touched: map[device.ID]bool{},
	}
	m.site(f.site)
	for i := range now.Gateways {
		g := now.Gateways[i]
		m.gateways[g.ID] = &g
	}
	m.readGateways(f, remove)
	for i := range now.Places {
		p := now.Places[i]
		m.places[m.full(p.Device)] = &p
	}
	m.readPlaces(f, remove)
	m.findGateways()
	m.relate()
	if f.wrong.count > 0 {
		slices.SortStableFunc(m.list, func(a, b contract.Mistake) int { return a.Line - b.Line })
	}
	if p := m.problem(); p != nil {
		return nil, p
	}
	m.plan.Records = m.records()
	m.plan.Difference.find(now.sorted(), m.plan.Records)
	return m.plan, nil
}

// maker makes a plan and goes on after a mistake.
type maker struct {
	mistakes
	now          Records
	plan         *Plan
	whole        *Site // what the site would be, nil when nobody knows
	defaultFloor int
	gateways     map[string]*Gateway
	places       map[device.ID]*Place // by id with floor
	origins      map[device.ID]origin // of the places that the file names
	touched      map[device.ID]bool   // places that would change
}

// full is an id with its floor spelled out.
func (m *maker) full(id device.ID) device.ID { return id.On(m.defaultFloor) }

// site reads the site, and finds the default floor that everything hangs on.
func (m *maker) site(e *entry) {
	site := &Site{TimeZone: DefaultTimeZone}
	if m.now.Site != nil {
		*site = *m.now.Site
	}
	m.whole, m.defaultFloor = site, site.DefaultFloor
	if e == nil {
		if m.now.Site == nil {
			m.addAt(0, "site.default_floor", "the site has no default floor yet, the floor of ids that name none, such as sp_w.r1.c1: set the site up first, or import a YAML file that says it")
		}
		return
	}
	apply(&m.mistakes, e, siteFields, site)
	switch _, said := e.values["default_floor"]; {
	case m.now.Site == nil && !said:
		m.add(e.at, "default_floor", "required: the floor of ids that name none, such as sp_w.r1.c1")
	case m.now.Site != nil && site.DefaultFloor != m.now.Site.DefaultFloor:
		m.clash++
		m.add(e.at, "default_floor", "it is %d and is set once: another one would give every id without a floor another meaning", m.now.Site.DefaultFloor)
		site.DefaultFloor = m.now.Site.DefaultFloor
	}
	m.defaultFloor = site.DefaultFloor
}

// apply sets what an entry says in a record.
func apply[T any](m *mistakes, e *entry, fields []field[T], record *T) {
	for _, f := range fields {
		v, said := e.values[f.name]
		if !said || v == clean(f.get(record)) {
			continue // as it is, even where nobody would write it so today
		}
		if err := f.set(record, v); err != nil {
			m.add(e.at, f.name, "%v", err)
		}
	}
}

func (m *maker) readGateways(f *File, remove bool) {
	named := map[string]origin{}
	for i := range f.gateways {
		e := &f.gateways[i]
		var id string
		if err := setGateway(&id, e.key); err != nil {
			m.add(e.at, "id", "%v", err)
			id = ""
		}
		if before, twice := named[id]; twice && id != "" {
			m.add(e.at, "id", "%s is there twice, first at %v", id, before)
			id = ""
		}
		g, known := m.gateways[id]
		if !known {
			g = &Gateway{ID: id, Poll: DefaultPoll, Stagger: DefaultStagger, Database: DefaultDatabase}
			if _, said := e.values["floor"]; !said {
				m.add(e.at, "floor", "required")
			}
		}
		apply(&m.mistakes, e, gatewayFields, g)
		if id != "" {
			m.gateways[id], named[id] = g, e.at
		}
	}
	if remove && f.whole {
		maps.DeleteFunc(m.gateways, func(id string, _ *Gateway) bool { _, stays := named[id]; return !stays })
	}
}

func (m *maker) readPlaces(f *File, remove bool) {
	for i := range f.places {
		m.readPlace(&f.places[i])
	}
	if remove {
		maps.DeleteFunc(m.places, func(id device.ID, _ *Place) bool { _, stays := m.origins[id]; return !stays })
	}
}

// readPlace takes in what the file says of one place.
func (m *maker) readPlace(e *entry) {
	id, ok := m.idOf(e, "device")
	if !ok {
		var p Place
		apply(&m.mistakes, e, placeFields, &p) // its other mistakes are told as well
		if p.Gateway != "" && m.gateways[p.Gateway] == nil {
			m.add(e.at, "gateway", "%.80q is not in gateways", p.Gateway)
		}
		return
	}
	full := m.full(id)
	if before, twice := m.origins[full]; twice {
		m.add(e.at, "device", "%s is there twice, first at %v%s", id, before, m.spelling(full, id))
		return
	}
	m.origins[full] = e.at
	p, known := m.places[full]
	if !known {
		p = &Place{Device: id, Driver: DefaultDriver}
		m.places[full] = p
	} else if p.Device != id {
		m.clash++
		m.add(e.at, "device", "%s is registered as %s%s: write it so", id, p.Device, m.spelling(full, id))
	}
	before := *p
	m.merge(e, p)
	m.touched[full] = !known || *p != before
}

// spelling explains how two ids name one place.
func (m *maker) spelling(full, id device.ID) string {
	if p := m.places[full]; p == nil || p.Device == id {
		return ""
	}
	return fmt.Sprintf(", the same place: floor %d is the site's default floor", m.defaultFloor)
}

// merge applies an entry to a place. Of a plug that is another one nothing is
// kept that told the old one.
func (m *maker) merge(e *entry, p *Place) {
	if at := e.values["address"]; e.hints && at != "" && e.values["mac"] == "" && p.MAC == "" && p.DeviceID == "" {
		m.plan.Notes = append(m.plan.Notes, fmt.Sprintf("%s: the address %s is left out, because no plug is known there to tell by it", p.Device, at))
		e = &entry{values: maps.Clone(e.values), at: e.at}
		delete(e.values, "address")
	}
	before := *p
	apply(&m.mistakes, e, placeFields, p)
	newMAC := p.MAC != before.MAC && p.MAC != "" && before.MAC != ""
	newID := p.DeviceID != before.DeviceID && p.DeviceID != "" && before.DeviceID != ""
	if newMAC && !newID {
		p.DeviceID = ""
	}
	if newID && !newMAC {
		p.MAC = ""
	}
	if p.Predecessor == p.Device && !p.Predecessor.IsZero() {
		m.add(e.at, "predecessor", "%s cannot have been there before itself", p.Device)
	}
}

// findGateways gives the places that name none the only gateway on their floor.
func (m *maker) findGateways() {
	byFloor := map[int][]string{}
	for _, id := range slices.Sorted(maps.Keys(m.gateways)) {
		g := m.gateways[id]
		byFloor[g.Floor] = append(byFloor[g.Floor], id)
	}
	changed := m.changedGateways()
	for _, full := range m.order() {
		p := m.places[full]
		floor, _ := full.Floor()
		at, here := m.origins[full], byFloor[floor]
		g := m.gateways[p.Gateway]
		switch {
		case p.Gateway == "" && len(here) == 1:
			p.Gateway = here[0]
		case p.Gateway == "" && len(here) == 0:
			m.add(at, "gateway", "%s is on floor %d, and there is no gateway on floor %d", p.Device, floor, floor)
		case p.Gateway == "":
			m.add(at, "gateway", "required: floor %d has the gateways %s", floor, strings.Join(here, ", "))
		case !m.touched[full] && !changed[p.Gateway]: // as it was
		case g == nil:
			m.add(at, "gateway", "%.80q of %s is not in gateways", p.Gateway, p.Device)
		case g.Floor != floor:
			m.add(at, "gateway", "%s is on floor %d, the place %s on floor %d", p.Gateway, g.Floor, p.Device, floor)
		}
	}
}

// changedGateways are those that are no more, or whose floor would change.
func (m *maker) changedGateways() map[string]bool {
	changed := map[string]bool{}
	for _, g := range m.now.Gateways {
		if after := m.gateways[g.ID]; after == nil || after.Floor != g.Floor {
			changed[g.ID] = true
		}
	}
	return changed
}

// order lists the places as people do.
func (m *maker) order() []device.ID {
	return slices.SortedFunc(maps.Keys(m.places), device.Compare)
}

// records gathers what would be.
func (m *maker) records() Records {
	r := Records{Site: m.whole}
	for _, id := range slices.Sorted(maps.Keys(m.gateways)) {
		r.Gateways = append(r.Gateways, *m.gateways[id])
	}
	for _, full := range m.order() {
		r.Places = append(r.Places, *m.places[full])
	}
	return r.sorted()
}
