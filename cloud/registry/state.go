package registry

import (
	"maps"
	"slices"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// gateway is what the registry has of one; in JSON it is what is kept and what
// is answered.
type gateway struct {
	Gateway       string             `json:"gateway"`
	Label         string             `json:"label,omitempty"`
	Floor         int                `json:"floor"`
	PollSeconds   float64            `json:"poll_seconds"`
	StaggerMillis int                `json:"stagger_ms"`
	Database      string             `json:"database"`
	Discovery     contract.Discovery `json:"discovery,omitzero"`
	Revision      uint64             `json:"revision,omitempty"`
}

// plug is one that a gateway has found, or did once.
type plug struct {
	contract.FoundPlug

	Gateway string `json:"gateway"` // that saw it last
}

// key names a plug in the registry: its deviceId, or its MAC where that is all
// that is known.
func (p *plug) key() string {
	if p.DeviceID != "" {
		return p.DeviceID
	}
	return p.MAC
}

// gone remembers what was deleted: an id never means something else.
type gone struct {
	ID    string        `json:"id"` // as it was spelled
	Floor int           `json:"floor"`
	At    device.Micros `json:"at"`
}

// state is all that the registry knows, in memory. Records are never changed,
// only replaced, so that readers may keep them.
type state struct {
	site     *contract.Site // nil while nobody has set the site up
	gateways map[string]*gateway
	places   map[device.ID]*contract.Place // by id with the floor spelled out
	plugs    map[string]*plug
	gone     map[string]gone // by kind and id with floor, as in "place sp_f1.g0"
	revision uint64          // of the last change

	byMAC      map[string]device.ID // places, as everywhere by id with floor
	byDeviceID map[string]device.ID
	byAddress  map[string][]device.ID // by gateway and address
	plugOf     map[string]string      // MAC -> key of the plug
	encoded    map[device.ID][]byte   // places in JSON
	sorted     []device.ID            // places as people list them; nil when out of date

	rows, columns int // most workplaces of a floor either way; rows 0 when out of date
}

func newState() *state {
	return &state{
		gateways: make(map[string]*gateway), places: make(map[device.ID]*contract.Place), plugs: make(map[string]*plug), gone: make(map[string]gone),
		byMAC: make(map[string]device.ID), byDeviceID: make(map[string]device.ID), byAddress: make(map[string][]device.ID),
		plugOf: make(map[string]string), encoded: make(map[device.ID][]byte),
	}
}

// defaultFloor is the floor of ids that name none.
func (s *state) defaultFloor() int {
	if s.site == nil {
		return 0
	}
	return s.site.DefaultFloor
}

// full is an id with its floor spelled out.
func (s *state) full(id device.ID) device.ID { return id.On(s.defaultFloor()) }

// setPlace enters a place, or takes it out when p is nil.
func (s *state) setPlace(full device.ID, p *contract.Place, encoded []byte) {
	if before := s.places[full]; before != nil {
		drop(s.byMAC, before.MAC, full)
		drop(s.byDeviceID, before.DeviceID, full)
		at := addressOf(before)
		if rest := slices.DeleteFunc(s.byAddress[at], func(id device.ID) bool { return id == full }); len(rest) > 0 {
			s.byAddress[at] = rest
		} else {
			delete(s.byAddress, at)
		}
	}
	s.sort(full, p != nil)
	if p == nil {
		delete(s.places, full)
		delete(s.encoded, full)
		return
	}
	s.places[full], s.encoded[full] = p, encoded
	if p.MAC != "" {
		s.byMAC[p.MAC] = full
	}
	if p.DeviceID != "" {
		s.byDeviceID[p.DeviceID] = full
	}
	if p.Address != "" {
		s.byAddress[addressOf(p)] = append(s.byAddress[addressOf(p)], full)
	}
}

// sort keeps the order when a place comes or goes.
func (s *state) sort(full device.ID, stays bool) {
	if s.sorted == nil || stays == (s.places[full] != nil) {
		return
	}
	if at, known := slices.BinarySearchFunc(s.sorted, full, device.Compare); known {
		s.sorted = slices.Delete(s.sorted, at, at+1)
	} else {
		s.sorted = slices.Insert(s.sorted, at, full)
	}
	s.rows = 0 // to be counted
}

// drop takes an entry out of an index, unless it has become another's.
func drop(index map[string]device.ID, key string, full device.ID) {
	if index[key] == full {
		delete(index, key)
	}
}

func addressOf(p *contract.Place) string { return p.Gateway + " " + p.Address }

func (s *state) setPlug(key string, p *plug) {
	if before := s.plugs[key]; before != nil && s.plugOf[before.MAC] == key {
		delete(s.plugOf, before.MAC)
	}
	if p == nil {
		delete(s.plugs, key)
		return
	}
	s.plugs[key] = p
	if p.MAC != "" {
		s.plugOf[p.MAC] = key
	}
}

// plugNamed finds a plug by deviceId or MAC; nil when no gateway has seen it.
func (s *state) plugNamed(deviceID, mac string) *plug {
	if p := s.plugs[deviceID]; p != nil && deviceID != "" {
		return p
	}
	if mac == "" {
		return nil
	}
	if p := s.plugs[s.plugOf[mac]]; p != nil && (deviceID == "" || p.DeviceID == "") {
		return p
	}
	return nil
}

// placeOf is the place of a plug: by its identity, else by its address where
// nothing is known of the plug there.
func (s *state) placeOf(p *plug) *contract.Place {
	full, ok := s.byDeviceID[p.DeviceID]
	if !ok || p.DeviceID == "" {
		full, ok = s.byMAC[p.MAC]
	}
	if ok && (p.DeviceID != "" || p.MAC != "") {
		return s.places[full]
	}
	for _, full := range s.byAddress[p.Gateway+" "+p.Address] {
		if at := s.places[full]; at.MAC == "" && at.DeviceID == "" && p.Problem != vanished {
			return at
		}
	}
	return nil
}

// settle makes what readers need of all places together.
func (s *state) settle() {
	if s.sorted == nil {
		s.sorted = slices.SortedFunc(maps.Keys(s.places), device.Compare)
		s.rows = 0
	}
	if s.rows > 0 {
		return
	}
	s.rows, s.columns = 0, 0
	for _, id := range s.sorted {
		if row, column, grid := id.Grid(); grid && id.PlaceType() == "w" {
			s.rows, s.columns = max(s.rows, row+1), max(s.columns, column+1)
		}
	}
}

// shownSite is the site with its rows and columns counted.
func (s *state) shownSite() contract.Site {
	site := *s.site
	site.Rows, site.Columns = max(site.Rows, s.rows), max(site.Columns, s.columns)
	return site
}
