package registry

import (
	"cmp"
	"encoding/json"
	"fmt"

	"github.com/wattline/wattline/cloud/registry/inventory"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// kept is the rule about history, said whenever a place goes.
const kept = "the readings of %s stay where they are; the id may come back only as the same place, which goes on with them"

// parsePlace reads the id of a request's key.
func parsePlace(key string) (device.ID, error) {
	id, err := device.Parse(key)
	if err != nil {
		return id, &contract.Problem{Kind: contract.Invalid, Detail: err.Error(), Mistakes: []contract.Mistake{{Field: "device", Detail: err.Error()}}}
	}
	return id, nil
}

// find is the place that a request's key names in either spelling.
func (s *Store) find(r contract.RegistryRequest) (*contract.Place, error) {
	id, err := parsePlace(r.Key)
	if err != nil {
		return nil, err
	}
	full := s.state.full(id)
	if p := s.state.places[full]; p != nil {
		return p, nil
	}
	if was, ok := s.state.gone["place "+full.String()]; ok {
		return nil, problem(contract.NotFound, "%s was deleted on %s; %s", was.ID, was.At.Time().Format("2006-01-02 15:04 UTC"), fmt.Sprintf(kept, was.ID))
	}
	return nil, problem(contract.NotFound, "there is no place %s", id)
}

// findFor is find for a command, which may be about another revision.
func (s *Store) findFor(r contract.RegistryRequest) (*contract.Place, error) {
	p, err := s.find(r)
	if err == nil {
		err = unchanged(r, p.Device.String(), p.Revision)
	}
	return p, err
}

func getPlace(s *Store, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, err := s.find(r)
	if err != nil {
		return contract.RegistryAnswer{}, err
	}
	return content(p, p.Revision)
}

func createPlace(s *Store, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	var none contract.RegistryAnswer
	if err := s.ready(); err != nil {
		return none, err
	}
	patch, p := object(r.Content)
	if p != nil {
		return none, p
	}
	key, err := keyIn(patch, "device", r.Key)
	if err != nil {
		return none, err
	}
	id, err := parsePlace(key)
	if err != nil {
		return none, err
	}
	if there := s.state.places[s.state.full(id)]; there != nil {
		if there.Device != id {
			return none, problem(contract.Conflict, "%s is registered already, as %s: floor %d is the site's default floor", id, there.Device, s.state.defaultFloor())
		}
		return none, problem(contract.Conflict, "%s is registered already", id)
	}
	record := newPlace(id)
	d := s.state.draft(r)
	mistakes := merge(&record, patch, placeMembers, placeFixed(id))
	mistakes = append(mistakes, d.chooseGateway(&record)...)
	if p := problemOf(mistakes, false); p != nil {
		return none, p
	}
	d.putPlace(fromPlace(record), "create place")
	return s.finishPlace(d, id)
}

// placeFixed are the members of a place that nobody sets.
func placeFixed(id device.ID) map[string]string {
	return map[string]string{"device": encode(id), "revision": ""}
}

// keyIn is the key of what is to be created: in its content, in the request, or
// in both.
func keyIn(patch map[string]json.RawMessage, member, key string) (string, error) {
	if _, said := patch[member]; !said {
		return key, nil
	}
	text, err := textOf(patch[member], false)
	if err != nil {
		return "", problem(contract.Invalid, "%s: %v", member, err)
	}
	return cmp.Or(text, key), nil
}

// chooseGateway gives a place that names none the only gateway on its floor.
func (d *draft) chooseGateway(p *inventory.Place) []contract.Mistake {
	if p.Gateway != "" {
		return nil
	}
	floor, _ := d.full(p.Device).Floor()
	var here []string
	for _, g := range d.everyGateway() {
		if g.Floor == floor {
			here = append(here, g.Gateway)
		}
	}
	switch len(here) {
	case 1:
		p.Gateway = here[0]
		return nil
	case 0:
		return []contract.Mistake{{Field: "gateway", Detail: fmt.Sprintf("there is no gateway on floor %d, where %s is", floor, p.Device)}}
	default:
		return []contract.Mistake{{Field: "gateway", Detail: fmt.Sprintf("required: floor %d has the gateways %s", floor, few(here))}}
	}
}

// finishPlace finishes a draft about a place and answers with it.
func (s *Store) finishPlace(d *draft, id device.ID) (contract.RegistryAnswer, error) {
	if err := s.finish(d); err != nil {
		return contract.RegistryAnswer{}, err
	}
	p := d.place(d.full(id))
	return content(p, p.Revision)
}

func changePlace(s *Store, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	var none contract.RegistryAnswer
	before, err := s.findFor(r)
	if err != nil {
		return none, err
	}
	patch, p := object(r.Content)
	if p != nil {
		return none, p
	}
	record := toPlace(before)
	d := s.state.draft(r)
	mistakes := merge(&record, patch, placeMembers, placeFixed(before.Device))
	mistakes = append(mistakes, d.chooseGateway(&record)...)
	if p := problemOf(mistakes, false); p != nil {
		return none, p
	}
	// Of a plug that is another one nothing is kept that told the old one.
	newMAC, newID := before.MAC != "" && record.MAC != before.MAC, before.DeviceID != "" && record.DeviceID != before.DeviceID
	if newMAC && !newID {
		record.DeviceID = ""
	}
	if newID && !newMAC {
		record.MAC = ""
	}
	d.putPlace(fromPlace(record), "change place")
	return s.finishPlace(d, before.Device)
}

func deletePlace(s *Store, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	p, err := s.findFor(r)
	if err != nil {
		return contract.RegistryAnswer{}, err
	}
	d := s.state.draft(r)
	d.places[s.state.full(p.Device)] = nil
	history := fmt.Sprintf(kept, p.Device)
	d.note("delete place", p.Device.String(), differences(p, &contract.Place{Device: p.Device})+"; "+history)
	if err := s.finish(d); err != nil {
		return contract.RegistryAnswer{}, err
	}
	return content(map[string]string{"device": p.Device.String(), "history": history}, 0)
}

// plugged is a place that was given another plug, and what became of others.
type plugged struct {
	contract.Place

	// PlugBefore is the identity of the plug that was here, PlaceBefore where the
	// plug that is here now was.
	PlugBefore  string `json:"plug_before,omitempty"`
	PlaceBefore string `json:"place_before,omitempty"`
}

func putPlug(s *Store, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	var none contract.RegistryAnswer
	before, err := s.findFor(r)
	if err != nil {
		return none, err
	}
	var want struct {
		Plug    string  `json:"plug"`
		Address *string `json:"address"`
	}
	if err := json.Unmarshal(r.Content, &want); err != nil || want.Plug == "" {
		return none, problem(contract.Invalid, `the content must be {"plug": "<deviceId or MAC>"}, with "address" if no gateway has found it`)
	}
	record := toPlace(before)
	if p := problemOf(s.identify(&record, want.Plug, want.Address), false); p != nil {
		return none, p
	}
	d := s.state.draft(r)
	answer := plugged{PlugBefore: identity(before)}
	if from := s.holder(&record); from != nil && from.Device != before.Device {
		// The plug was elsewhere: its readings are this place's from now on.
		left := *from
		left.DeviceID, left.MAC, left.Address = "", "", ""
		answer.PlaceBefore = from.Device.String()
		d.putPlace(left, "unplug")
	}
	d.putPlace(fromPlace(record), "plug")
	if answer.PlugBefore == identity(d.place(d.full(before.Device))) {
		answer.PlugBefore = ""
	}
	if err := s.finish(d); err != nil {
		return none, err
	}
	answer.Place = *d.place(d.full(before.Device))
	return content(answer, answer.Revision)
}

// identify makes a place have the plug that a deviceId or MAC names, and what a
// gateway has told of it.
func (s *Store) identify(p *inventory.Place, name string, address *string) []contract.Mistake {
	was := *p
	p.DeviceID, p.MAC = "", ""
	field := "mac"
	if len(name) == 40 {
		field = "device_id"
	}
	if p.Set(field, name) != nil {
		return []contract.Mistake{{Field: "plug", Detail: fmt.Sprintf("%.60q is neither a deviceId (40 hex digits) nor a MAC address", name)}}
	}
	same := p.DeviceID != "" && p.DeviceID == was.DeviceID || p.MAC != "" && p.MAC == was.MAC
	if same {
		p.DeviceID, p.MAC = was.DeviceID, was.MAC
	} else {
		p.Address = ""
	}
	if found := s.state.plugNamed(p.DeviceID, p.MAC); found != nil {
		p.DeviceID, p.MAC = cmp.Or(p.DeviceID, found.DeviceID), cmp.Or(p.MAC, found.MAC)
		p.Driver = cmp.Or(found.Driver, p.Driver)
		if found.Gateway == p.Gateway && found.Problem != vanished {
			p.Address = found.Address
		}
	}
	if address != nil {
		if err := p.Set("address", *address); err != nil {
			return []contract.Mistake{{Field: "address", Detail: err.Error()}}
		}
	}
	return nil
}

// holder is the place that has the plug of p now.
func (s *Store) holder(p *inventory.Place) *contract.Place {
	if full, ok := s.state.byDeviceID[p.DeviceID]; ok && p.DeviceID != "" {
		return s.state.places[full]
	}
	if full, ok := s.state.byMAC[p.MAC]; ok && p.MAC != "" {
		return s.state.places[full]
	}
	return nil
}

// identity is what a place's plug is told by.
func identity(p *contract.Place) string { return cmp.Or(p.DeviceID, p.MAC) }

func takePlug(s *Store, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	before, err := s.findFor(r)
	if err != nil {
		return contract.RegistryAnswer{}, err
	}
	left := *before
	left.DeviceID, left.MAC, left.Address = "", "", ""
	d := s.state.draft(r)
	d.putPlace(left, "unplug")
	return s.finishPlace(d, before.Device)
}
