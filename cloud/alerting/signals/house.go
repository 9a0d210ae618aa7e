package signals

import (
	"fmt"
	"slices"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// Bounds of what is kept. The largest site that anybody plans has some ten
// thousand places.
const (
	maxPlaces   = 100_000
	maxGateways = 10_000
	maxDocument = 64 << 10 // bytes of one message of the registry
)

// house is the building as the registry tells it. It is an engine.House.
type house struct {
	site     contract.Site
	places   map[device.ID]kept[contract.Place]
	gateways map[string]kept[contract.GatewayInfo]
	fleets   map[string]*fleet
	all      []device.ID // sorted; nil when out of date

	// connection counts connections; what was heard on an earlier one may have
	// been deleted unheard.
	connection int
	here       device.Micros // when the site was first heard on this connection; 0: not yet
	swept      bool
	whole      bool // all of it must have been heard once
	changed    bool
}

type kept[T any] struct {
	value      T
	connection int
}

// fleet are the places of a gateway.
type fleet struct {
	places map[device.ID]struct{}
	sorted []device.ID // nil when out of date
}

func newHouse() *house {
	return &house{
		places: make(map[device.ID]kept[contract.Place]), gateways: make(map[string]kept[contract.GatewayInfo]), fleets: make(map[string]*fleet),
	}
}

// Site is the zero Site until the registry was heard.
func (h *house) Site() contract.Site { return h.site }

// Place finds a place by either spelling of its id.
func (h *house) Place(id device.ID) (contract.Place, bool) {
	p, ok := h.places[h.spell(id)]
	return p.value, ok
}

// spell gives the registry's spelling of an id; ids that it does not know stay as
// they are.
func (h *house) spell(id device.ID) device.ID {
	if _, known := h.places[id]; known {
		return id
	}
	for _, other := range id.Spellings(h.site.DefaultFloor) {
		if _, known := h.places[other]; known {
			return other
		}
	}
	return id
}

// Gateway finds a registered gateway. Its certificates are left out.
func (h *house) Gateway(name string) (contract.GatewayInfo, bool) {
	g, ok := h.gateways[name]
	return g.value, ok
}

// Devices are the places of a gateway, or with "" all, in the order of
// [device.Compare]. The slice must not be changed.
func (h *house) Devices(gateway string) []device.ID {
	if gateway == "" {
		h.all = sorted(h.all, h.places)
		return h.all
	}
	f := h.fleets[gateway]
	if f == nil {
		return nil
	}
	f.sorted = sorted(f.sorted, f.places)
	return f.sorted
}

func sorted[T any](list []device.ID, of map[device.ID]T) []device.ID {
	if list != nil || len(of) == 0 {
		return list
	}
	list = make([]device.ID, 0, len(of))
	for id := range of {
		list = append(list, id)
	}
	slices.SortFunc(list, device.Compare)
	return list
}

// connected begins a new connection.
func (h *house) connected() {
	h.connection++
	h.here, h.swept = 0, h.connection == 1
}

// sweep forgets what was deleted while there was no connection, once the registry
// has had time to repeat the rest; it gives the gateways that are gone.
func (h *house) sweep(now device.Micros) (gone []string) {
	if h.swept || h.here == 0 || now-h.here < micros(settle) {
		return nil
	}
	h.swept = true
	for id, p := range h.places {
		if p.connection != h.connection {
			h.removePlace(id)
		}
	}
	for name, g := range h.gateways {
		if g.connection != h.connection {
			gone = append(gone, name)
		}
	}
	slices.Sort(gone)
	return gone
}

// settled notes when the registry has had time to tell all for the first time, on
// one connection; call it while there is one.
func (h *house) settled(now device.Micros) {
	if h.whole || h.here == 0 || now-h.here < micros(settle) {
		return
	}
	h.whole, h.changed = true, true
}

// Whole reports whether all that is retained has surely come.
func (h *house) Whole() bool { return h.whole }

func (h *house) hearSite(payload []byte, now device.Micros) error {
	if len(payload) == 0 {
		return nil // a house without a site is one whose registry is being made
	}
	site, err := decode[contract.Site](payload)
	if err != nil {
		return err
	}
	if h.here == 0 {
		h.here = now
	}
	site.Revision = 0 // what alerts do not depend on is no change
	h.changed = h.changed || site != h.site
	h.site = site
	return nil
}

func (h *house) hearPlace(name string, payload []byte) error {
	id, err := device.Parse(name)
	if err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	if len(payload) == 0 {
		h.removePlace(id)
		return nil
	}
	place, err := decode[contract.Place](payload)
	if err != nil {
		return err
	}
	if place.Device != id || place.Gateway != "" && !contract.IsGatewayID(place.Gateway) {
		return fmt.Errorf("%w: it is about %v of gateway %.60q", errMalformed, place.Device, place.Gateway)
	}
	before, known := h.places[id]
	if !known && len(h.places) >= maxPlaces {
		return errFull
	}
	if !known || before.value.Gateway != place.Gateway {
		h.removePlace(id)
		h.enter(id, place.Gateway)
	}
	h.changed = h.changed || !known || before.value.Gateway != place.Gateway || before.value.Label != place.Label || before.value.MaxPower != place.MaxPower
	h.places[id] = kept[contract.Place]{place, h.connection}
	return nil
}

// enter adds a place to those of its gateway.
func (h *house) enter(id device.ID, gateway string) {
	f := h.fleets[gateway]
	if f == nil {
		f = &fleet{places: make(map[device.ID]struct{})}
		h.fleets[gateway] = f
	}
	f.places[id] = struct{}{}
	f.sorted, h.all = nil, nil
}

func (h *house) removePlace(id device.ID) {
	p, known := h.places[id]
	if !known {
		return
	}
	delete(h.places, id)
	f := h.fleets[p.value.Gateway]
	delete(f.places, id)
	if f.sorted = nil; len(f.places) == 0 {
		delete(h.fleets, p.value.Gateway)
	}
	h.all, h.changed = nil, true
}

func (h *house) putGateway(info contract.GatewayInfo) error {
	before, known := h.gateways[info.Gateway]
	if !known && len(h.gateways) >= maxGateways {
		return errFull
	}
	h.changed = h.changed || !known || before.value.Floor != info.Floor || before.value.Label != info.Label
	h.gateways[info.Gateway] = kept[contract.GatewayInfo]{info, h.connection}
	return nil
}

func (h *house) removeGateway(name string) {
	if _, known := h.gateways[name]; known {
		delete(h.gateways, name)
		h.changed = true
	}
}
