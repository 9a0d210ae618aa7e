package registry

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// Entries of a page, and those that it has when nobody asks for a number.
const (
	maxLimit     = 1000
	defaultLimit = 100
)

func limitOf(r contract.RegistryRequest) int {
	if r.Limit <= 0 {
		return defaultLimit
	}
	return min(r.Limit, maxLimit)
}

// tests are what each filter of a list asks of a record.
type tests[T any] map[string]func(want string) (func(T) bool, error)

// compile makes one test of a filter; every mistake is named.
func compile[T any](filter map[string]string, known tests[T]) (func(T) bool, error) {
	var all []func(T) bool
	var mistakes []contract.Mistake
	for _, name := range slices.Sorted(maps.Keys(filter)) {
		build, ok := known[name]
		if !ok {
			mistakes = append(mistakes, contract.Mistake{Field: name, Detail: "no such filter; there are " + strings.Join(slices.Sorted(maps.Keys(known)), ", ")})
			continue
		}
		test, err := build(filter[name])
		if err != nil {
			mistakes = append(mistakes, contract.Mistake{Field: name, Detail: err.Error()})
		}
		all = append(all, test)
	}
	if p := problemOf(mistakes, false); p != nil {
		return nil, p
	}
	return func(record T) bool {
		for _, test := range all {
			if !test(record) {
				return false
			}
		}
		return true
	}, nil
}

// oneOf tests whether a text is one of a list, separated by commas.
func oneOf[T any](of func(T) string) func(string) (func(T) bool, error) {
	return func(want string) (func(T) bool, error) {
		list := strings.Split(want, ",")
		return func(record T) bool { return slices.Contains(list, of(record)) }, nil
	}
}

// numbers tests whether a number is one of a list; a record that has none is not.
func numbers[T any](of func(T) (int, bool)) func(string) (func(T) bool, error) {
	return func(want string) (func(T) bool, error) {
		var list []int
		for text := range strings.SplitSeq(want, ",") {
			n, err := strconv.Atoi(strings.TrimSpace(text))
			if err != nil {
				return nil, fmt.Errorf("%.40q is not a whole number", text)
			}
			list = append(list, n)
		}
		return func(record T) bool {
			n, ok := of(record)
			return ok && slices.Contains(list, n)
		}, nil
	}
}

// yesNo tests for a fact.
func yesNo[T any](of func(T) bool) func(string) (func(T) bool, error) {
	return func(want string) (func(T) bool, error) {
		var yes bool
		switch want {
		case "yes", "true", "1":
			yes = true
		case "no", "false", "0":
		default:
			return nil, fmt.Errorf("%.40q is neither yes nor no", want)
		}
		return func(record T) bool { return of(record) == yes }, nil
	}
}

// holds tests whether a text is somewhere in a record, in any case.
func holds[T any](of func(T) []string) func(string) (func(T) bool, error) {
	return func(want string) (func(T) bool, error) {
		want = strings.ToLower(want)
		return func(record T) bool {
			return slices.ContainsFunc(of(record), func(s string) bool { return strings.Contains(strings.ToLower(s), want) })
		}, nil
	}
}

func placeTests(floor int) tests[*contract.Place] {
	return tests[*contract.Place]{
		"id":        oneOf(func(p *contract.Place) string { return p.Device.String() }),
		"floor":     numbers(func(p *contract.Place) (int, bool) { return p.Device.On(floor).Floor() }),
		"row":       numbers(func(p *contract.Place) (int, bool) { row, _, ok := p.Device.Grid(); return row, ok }),
		"column":    numbers(func(p *contract.Place) (int, bool) { _, column, ok := p.Device.Grid(); return column, ok }),
		"type":      oneOf(func(p *contract.Place) string { return p.Device.PlaceType() }),
		"gateway":   oneOf(func(p *contract.Place) string { return p.Gateway }),
		"owner":     oneOf(func(p *contract.Place) string { return p.Owner }),
		"protected": yesNo(func(p *contract.Place) bool { return p.Protected != "" }),
		"plug":      yesNo(func(p *contract.Place) bool { return identified(p) || p.Address != "" }),
		"text": holds(func(p *contract.Place) []string {
			return []string{p.Device.String(), p.Label, p.Owner, p.MAC, p.DeviceID, p.Address}
		}),
	}
}

func listPlaces(s *Store, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	var none contract.RegistryAnswer
	s.mu.RLock()
	defer s.mu.RUnlock()
	fits, err := compile(r.Filter, placeTests(s.state.defaultFloor()))
	if err != nil {
		return none, err
	}
	begin := 0
	if r.Cursor != "" {
		after, err := device.Parse(r.Cursor)
		if err != nil {
			return none, wrongCursor(r.Cursor)
		}
		at, there := slices.BinarySearchFunc(s.state.sorted, after, device.Compare)
		if begin = at; there {
			begin++
		}
	}
	page, next := []*contract.Place{}, ""
	for i, full := range s.state.sorted[begin:] {
		p := s.state.places[full]
		if !fits(p) {
			continue
		}
		if len(page) == limitOf(r) {
			next = s.state.sorted[begin+i-1].String()
			break
		}
		page = append(page, p)
	}
	answer, err := content(page, s.state.revision)
	answer.Next = next
	return answer, err
}

func wrongCursor(cursor string) error {
	return problem(contract.Invalid, "%.60q is not the cursor of a page of this list", cursor)
}

// pageOf is the page of a list in the order of its keys.
func pageOf[T any](keys []string, r contract.RegistryRequest, record func(key string) T, fits func(T) bool) (page []T, next string) {
	page = []T{}
	begin, there := slices.BinarySearch(keys, r.Cursor)
	if there {
		begin++
	}
	last := ""
	for _, key := range keys[begin:] {
		one := record(key)
		if !fits(one) {
			continue
		}
		if len(page) == limitOf(r) {
			return page, last
		}
		page, last = append(page, one), key
	}
	return page, ""
}

func listGateways(s *Store, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	var none contract.RegistryAnswer
	fits, err := compile(r.Filter, tests[*shownGateway]{
		"gateway": oneOf(func(g *shownGateway) string { return g.Gateway }),
		"floor":   numbers(func(g *shownGateway) (int, bool) { return g.Floor, true }),
		"trust":   oneOf(func(g *shownGateway) string { return string(g.Trust) }),
		"online":  yesNo(func(g *shownGateway) bool { return g.Online }),
		"text":    holds(func(g *shownGateway) []string { return []string{g.Gateway, g.Label} }),
	})
	if err != nil {
		return none, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]*gateway, 0, len(s.state.gateways))
	keys := slices.Sorted(maps.Keys(s.state.gateways))
	for _, key := range keys {
		all = append(all, s.state.gateways[key])
	}
	shown, err := s.show(all)
	if err != nil {
		return none, err
	}
	byKey := make(map[string]*shownGateway, len(shown))
	for i := range shown {
		byKey[shown[i].Gateway] = &shown[i]
	}
	page, next := pageOf(keys, r, func(key string) *shownGateway { return byKey[key] }, fits)
	answer, err := content(page, s.state.revision)
	answer.Next = next
	return answer, err
}
