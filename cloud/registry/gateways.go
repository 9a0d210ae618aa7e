package registry

import (
	"encoding/json"
	"fmt"

	"github.com/wattline/wattline/cloud/registry/inventory"
	"github.com/wattline/wattline/shared/contract"
)

// keptGateway is the rule about a gateway's id, said when it goes.
const keptGateway = "what %s has sent stays in the ledger; the id may come back only as the gateway of floor %d, and must enrol again"

// shownGateway is a gateway as it is listed: what is registered, and how it is.
type shownGateway struct {
	gateway

	Trust        contract.Trust         `json:"trust,omitempty"`
	Certificates []contract.Certificate `json:"certificates,omitempty"`
	// ConfigVersion is that of the configuration it was given, Running that of the
	// one it runs.
	ConfigVersion uint64 `json:"config_version"`
	Running       uint64 `json:"config_running"`
	Online        bool   `json:"online"`
	Version       string `json:"version,omitempty"` // of its program
	Places        int    `json:"places"`
}

// show gathers what is known of gateways. The caller holds s.mu for reading.
func (s *Store) show(list []*gateway) ([]shownGateway, error) {
	infos := make([]contract.GatewayInfo, len(list))
	for i, g := range list {
		infos[i].Gateway = g.Gateway
	}
	if err := s.describe(infos); err != nil {
		return nil, err
	}
	places := make(map[string]int)
	for _, p := range s.state.places {
		places[p.Gateway]++
	}
	shown := make([]shownGateway, len(list))
	for i, g := range list {
		status := s.heard[g.Gateway]
		shown[i] = shownGateway{
			gateway: *g, Trust: infos[i].Trust, Certificates: infos[i].Certificates, ConfigVersion: s.versions[g.Gateway].Version,
			Running: status.ConfigVersion, Online: status.online(), Version: status.Version, Places: places[g.Gateway],
		}
	}
	return shown, nil
}

func (s *Store) findGateway(r contract.RegistryRequest) (*gateway, error) {
	if g := s.state.gateways[r.Key]; g != nil {
		return g, nil
	}
	if was, ok := s.state.gone["gateway "+r.Key]; ok {
		return nil, problem(contract.NotFound, "the gateway %s was deleted on %s", was.ID, was.At.Time().Format("2006-01-02 15:04 UTC"))
	}
	return nil, problem(contract.NotFound, "there is no gateway %.80q", r.Key)
}

func getGateway(s *Store, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	g, err := s.findGateway(r)
	if err != nil {
		return contract.RegistryAnswer{}, err
	}
	shown, err := s.show([]*gateway{g})
	if err != nil {
		return contract.RegistryAnswer{}, err
	}
	return content(shown[0], g.Revision)
}

func createGateway(s *Store, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	var none contract.RegistryAnswer
	if err := s.ready(); err != nil {
		return none, err
	}
	patch, p := object(r.Content)
	if p != nil {
		return none, p
	}
	id, err := keyIn(patch, "gateway", r.Key)
	if err != nil {
		return none, err
	}
	if s.state.gateways[id] != nil {
		return none, problem(contract.Conflict, "the gateway %s is registered already", id)
	}
	if err := (&inventory.Place{}).Set("gateway", id); err != nil {
		return none, problemOf([]contract.Mistake{{Field: "gateway", Detail: err.Error()}}, false)
	}
	if _, said := patch["floor"]; !said {
		return none, problemOf([]contract.Mistake{{Field: "floor", Detail: "required: the floor that the gateway looks after"}}, false)
	}
	d := s.state.draft(r)
	if err := d.mergeGateway(newGateway(id), nil, patch); err != nil {
		return none, err
	}
	return s.finishGateway(d, id)
}

// mergeGateway applies a request's content to a gateway.
func (d *draft) mergeGateway(record inventory.Gateway, before *gateway, patch map[string]json.RawMessage) error {
	where, asked := patch["discovery"]
	delete(patch, "discovery")
	mistakes := merge(&record, patch, gatewayMembers, map[string]string{"gateway": encode(record.ID), "revision": ""})
	g := fromGateway(record, before)
	if asked {
		discovery, err := readDiscovery(where)
		if err != nil {
			mistakes = append(mistakes, contract.Mistake{Field: "discovery", Detail: err.Error()})
		}
		g.Discovery = discovery
	}
	if p := problemOf(mistakes, false); p != nil {
		return p
	}
	d.putGateway(g)
	return nil
}

// readDiscovery reads where to look for plugs; null means in the gateway's own
// networks.
func readDiscovery(text json.RawMessage) (contract.Discovery, error) {
	discovery := contract.Discovery{Broadcast: true}
	if string(text) == "null" {
		return discovery, nil
	}
	discovery.Broadcast = false
	if err := json.Unmarshal(text, &discovery); err != nil {
		return discovery, fmt.Errorf(`want {"broadcast": true, "ranges": ["10.2.0.0/22"]}: %w`, err)
	}
	_, err := discovery.Addresses()
	return discovery, err
}

func (s *Store) finishGateway(d *draft, id string) (contract.RegistryAnswer, error) {
	if err := s.finish(d); err != nil {
		return contract.RegistryAnswer{}, err
	}
	g := d.gateway(id)
	return content(g, g.Revision)
}

func changeGateway(s *Store, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	var none contract.RegistryAnswer
	before, err := s.findGateway(r)
	if err == nil {
		err = unchanged(r, before.Gateway, before.Revision)
	}
	if err != nil {
		return none, err
	}
	patch, p := object(r.Content)
	if p != nil {
		return none, p
	}
	d := s.state.draft(r)
	if err := d.mergeGateway(toGateway(before), before, patch); err != nil {
		return none, err
	}
	return s.finishGateway(d, before.Gateway)
}

func deleteGateway(s *Store, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	var none contract.RegistryAnswer
	g, err := s.findGateway(r)
	if err == nil {
		err = unchanged(r, g.Gateway, g.Revision)
	}
	if err != nil {
		return none, err
	}
	history := fmt.Sprintf(keptGateway, g.Gateway, g.Floor)
	d := s.state.draft(r)
	d.gateways[g.Gateway] = nil
	d.retired = []string{g.Gateway}
	d.note("delete gateway", g.Gateway, history)
	if err := s.finish(d); err != nil {
		return none, err
	}
	return content(map[string]string{"gateway": g.Gateway, "history": history}, 0)
}
