package registry

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/cloud/registry/inventory"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// vanished is the problem of a plug that a gateway does not see any more.
const vanished = "vanished"

// shownPlug is a plug as it is listed: Device is the place that the registry
// gives it, empty when it has none.
type shownPlug struct {
	plug

	Label string `json:"label,omitempty"` // of the place
}

func (s *state) showPlug(p *plug) *shownPlug {
	shown := &shownPlug{plug: *p}
	shown.Device = ""
	if at := s.placeOf(p); at != nil {
		shown.Device, shown.Label = at.Device.String(), at.Label
	}
	return shown
}

// findPlug finds a plug by deviceId or MAC.
func (s *Store) findPlug(name string) (*plug, error) {
	var at inventory.Place
	field := "mac"
	if len(name) == 40 {
		field = "device_id"
	}
	if at.Set(field, name) != nil || name == "" {
		return nil, problem(contract.Invalid, "%.60q is neither a deviceId (40 hex digits) nor a MAC address", name)
	}
	if p := s.state.plugNamed(at.DeviceID, at.MAC); p != nil {
		return p, nil
	}
	return nil, problem(contract.NotFound, "no gateway has found a plug %s", strings.ToUpper(name))
}

func getPlug(s *Store, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, err := s.findPlug(r.Key)
	if err != nil {
		return contract.RegistryAnswer{}, err
	}
	return content(s.state.showPlug(p), 0)
}

func listPlugs(s *Store, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	fits, err := compile(r.Filter, tests[*shownPlug]{
		"placed":   yesNo(func(p *shownPlug) bool { return p.Device != "" }),
		"device":   oneOf(func(p *shownPlug) string { return p.Device }),
		"gateway":  oneOf(func(p *shownPlug) string { return p.Gateway }),
		"model":    oneOf(func(p *shownPlug) string { return p.Model }),
		"firmware": oneOf(func(p *shownPlug) string { return p.Firmware }),
		"problem":  testProblem,
		"text": holds(func(p *shownPlug) []string {
			return []string{p.DeviceID, p.MAC, p.Alias, p.Address, p.Device, p.Label}
		}),
	})
	if err != nil {
		return contract.RegistryAnswer{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	keys := slices.Sorted(maps.Keys(s.state.plugs))
	page, next := pageOf(keys, r, func(key string) *shownPlug { return s.state.showPlug(s.state.plugs[key]) }, fits)
	answer, err := content(page, 0)
	answer.Next = next
	return answer, err
}

// testProblem asks for one of the words, or for any or none of them.
func testProblem(want string) (func(*shownPlug) bool, error) {
	switch want {
	case "any":
		return func(p *shownPlug) bool { return p.Problem != "" }, nil
	case "none":
		return func(p *shownPlug) bool { return p.Problem == "" }, nil
	}
	return oneOf(func(p *shownPlug) string { return p.Problem })(want)
}

func forgetPlug(s *Store, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	var none contract.RegistryAnswer
	p, err := s.findPlug(r.Key)
	if err != nil {
		return none, err
	}
	if at := s.state.placeOf(p); at != nil {
		return none, problem(contract.Conflict, "the plug %s is at %s: take it from there first", p.key(), at.Device)
	}
	d := s.state.draft(r)
	d.forgot = []string{p.key()}
	d.note("forget plug", p.key(), p.Model+" "+p.MAC+", last seen by "+p.Gateway+" at "+p.Address)
	if err := s.finish(d); err != nil {
		return none, err
	}
	return content(map[string]string{"plug": p.key(), "note": "a gateway that still sees it will list it again"}, 0)
}

// saveSeen writes when plugs were last seen, and forgets those without a place
// that nobody has seen for a month. It is called every minute or so: there is
// nothing in it that a gateway does not tell again.
func (s *Store) saveSeen() {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.RLock()
	unsaved := maps.Clone(s.unsaved)
	old := device.MicrosOf(time.Now().Add(-forgetAfter))
	var forget []string
	for key, p := range s.state.plugs {
		if p.Seen < old && s.state.placeOf(p) == nil {
			forget = append(forget, key)
		}
	}
	s.mu.RUnlock()
	if len(unsaved)+len(forget) == 0 {
		return
	}
	err := s.update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketPlugs)
		for key := range unsaved {
			if p := s.state.plugs[key]; p != nil {
				if err := b.Put([]byte(key), []byte(encode(p))); err != nil {
					return err
				}
			}
		}
		for _, key := range forget {
			if err := b.Delete([]byte(key)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		if s.said.May("seen") {
			s.log.Warn("registry not saved", slog.Any("err", err))
		}
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.unsaved)
	for _, key := range forget {
		s.state.setPlug(key, nil)
	}
}
