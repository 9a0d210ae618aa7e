package directory

import (
	"slices"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
)

// stateRecords bounds the records of one newest reading.
const stateRecords = 100

// Site is the site; ok is false until the registry was heard.
func (d *Directory) Site() (site contract.Site, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep()
	if d.site == nil {
		return contract.Site{}, false
	}
	return d.site.value, true
}

// Places lists the places in the order of [device.Compare]. The slice is shared
// and must not be changed.
func (d *Directory) Places() []contract.Place {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.list()
}

func (d *Directory) list() []contract.Place {
	d.sweep()
	if d.sorted == nil {
		d.sorted = make([]contract.Place, 0, len(d.places))
		for _, p := range d.places {
			d.sorted = append(d.sorted, p.value)
		}
		slices.SortFunc(d.sorted, func(a, b contract.Place) int { return device.Compare(a.Device, b.Device) })
	}
	return d.sorted
}

// Place finds a place by either spelling of its id.
func (d *Directory) Place(id device.ID) (place contract.Place, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep()
	for _, spelling := range id.Spellings(d.defaultFloor()) {
		if p, ok := d.places[spelling]; ok {
			return p.value, true
		}
	}
	return contract.Place{}, false
}

func (d *Directory) defaultFloor() int {
	if d.site == nil {
		return 0
	}
	return d.site.value.DefaultFloor
}

// Floors lists the floors that have places, in ascending order.
func (d *Directory) Floors() []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	var floors []int
	for _, p := range d.list() {
		floor, _ := p.Device.On(d.defaultFloor()).Floor()
		if !slices.Contains(floors, floor) {
			floors = append(floors, floor)
		}
	}
	slices.Sort(floors)
	return floors
}

// State is the newest reading of a place.
type State struct {
	Gateway string
	Time    device.Micros // of the newest record
	Records []senml.Record
	Pack    []byte // as it was published
}

// State gives the newest reading, by measurement time, that any gateway has
// published of a device; ok is false when there is none that can be read. id
// may be either spelling.
func (d *Directory) State(id device.ID) (newest State, ok bool) {
	for gateway, pack := range d.packs(id) {
		records, err := senml.Decode(pack, stateRecords)
		if err != nil || len(records) == 0 {
			continue
		}
		s := State{Gateway: gateway, Records: records, Pack: pack}
		for _, r := range records {
			s.Time = max(s.Time, r.Time)
		}
		if !ok || s.Time > newest.Time {
			newest, ok = s, true
		}
	}
	return newest, ok
}

// packs lists the states of a device by gateway, still encoded: most states are
// overwritten before anybody asks for them.
func (d *Directory) packs(id device.ID) map[string][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	packs := map[string][]byte{}
	for _, spelling := range id.Spellings(d.defaultFloor()) {
		for _, gateway := range d.sources[spelling] {
			packs[gateway] = d.states[stateKey{spelling, gateway}].value
		}
	}
	return packs
}
