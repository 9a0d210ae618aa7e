package spcommand

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

const (
	maxShare  = 4096 // switches in one command to a gateway
	maxDetail = 300  // bytes of what a gateway says
)

// switches are the places that a command is about, in the order of people, and
// what is wrong with its targets.
type switches struct {
	results  []contract.Result // an empty Outcome is still open
	asked    map[device.ID]string
	mistakes []mistake

	mu sync.Mutex // protects results while gateways answer
}

// resolve finds the places of the targets. A place named by two targets is
// switched once.
func (c *Component) resolve(targets []target, mistakes []mistake) *switches {
	h := c.view.look(targets)
	s := &switches{asked: make(map[device.ID]string), mistakes: mistakes}
	seen := make(map[device.ID]bool)
	for _, t := range targets {
		if !t.group {
			s.one(h, t, seen)
			continue
		}
		found := false
		for id, p := range h.places {
			if !t.holds(id, h.defaultFloor) {
				continue
			}
			found = true
			s.add(p, seen, id)
		}
		if !found {
			s.mistakes = append(s.mistakes, mistake{t.text, "no such place"})
		}
	}
	slices.SortFunc(s.results, func(a, b contract.Result) int { return device.Compare(a.Device, b.Device) })
	return s
}

// one adds the place of a target that is an id, or that there is none.
func (s *switches) one(h house, t target, seen map[device.ID]bool) {
	id := t.id.On(h.defaultFloor)
	p, known := h.places[id]
	if known && t.holds(id, h.defaultFloor) {
		s.asked[p.Device] = t.id.String()
		s.add(p, seen, id)
		return
	}
	if !seen[id] {
		seen[id] = true
		s.results = append(s.results, contract.Result{Device: t.id, Outcome: contract.NoSuchPlace})
	}
}

func (s *switches) add(p contract.Place, seen map[device.ID]bool, id device.ID) {
	if seen[id] {
		return
	}
	seen[id] = true
	r := contract.Result{Device: p.Device, Gateway: p.Gateway}
	if p.Protected != "" {
		r.Outcome, r.Detail = contract.Refused, "protected: "+p.Protected
	}
	s.results = append(s.results, r)
}

// carryOut sends each gateway its share and waits for the results, until the
// deadline of each, reckoned from begin, and a little longer.
func (c *Component) carryOut(ctx context.Context, id string, o order, s *switches, begin time.Time) {
	stored := func(context.Context) {}
	if !o.DryRun {
		stored = c.audit.intent(id, o, s.audited())
	}
	shares := s.shares()
	var all sync.WaitGroup
	for gateway, open := range shares {
		allowed := o.allowed
		if o.DeadlineSeconds == 0 {
			allowed = c.view.allowed(gateway, allowed, len(open), o.On)
		}
		all.Go(func() { c.share(ctx, id, gateway, o, s, open, begin.Add(allowed)) })
	}
	all.Wait()
	stored(ctx)
	for i := range s.results {
		c.count.outcomes.With(string(s.results[i].Outcome)).Inc()
	}
	if !o.DryRun {
		c.audit.result(id, o, s.audited())
	}
}

// shares are the positions of what is open, by gateway.
func (s *switches) shares() map[string][]int {
	shares := make(map[string][]int)
	for i, r := range s.results {
		if r.Outcome == "" {
			shares[r.Gateway] = append(shares[r.Gateway], i)
		}
	}
	return shares
}

// audited are the results for places that there are: the ids of others are
// anybody's invention and would fill the index of the database.
func (s *switches) audited() []contract.Result {
	return slices.DeleteFunc(slices.Clone(s.results), func(r contract.Result) bool { return r.Outcome == contract.NoSuchPlace })
}

// share has one gateway carry out its part.
func (c *Component) share(ctx context.Context, id, gateway string, o order, s *switches, open []int, until time.Time) {
	ctx, cancel := context.WithDeadline(ctx, until.Add(slack))
	defer cancel()
	beat, stop := context.WithDeadline(ctx, until)
	defer stop()
	deadline, version, err := c.view.reach(beat, gateway, until)
	switch {
	case err != nil:
		s.close(open, contract.Unreachable, err.Error())
		return
	case o.DryRun:
		s.close(open, contract.DryRun, "")
		return
	}
	var all sync.WaitGroup
	for part := range slices.Chunk(open, maxShare) {
		command := contract.GatewayCommand{ID: id, Who: o.Who, Reason: o.Reason, ConfigVersion: version, Deadline: deadline}
		for _, i := range part {
			command.Switches = append(command.Switches, contract.Switch{Device: s.results[i].Device, On: o.On})
		}
		if len(part) < len(open) {
			command.ID = fmt.Sprintf("%s.%d", id, part[0]) // a gateway obeys an id once
		}
		all.Go(func() { c.ask(ctx, gateway, command, s, part) })
	}
	all.Wait()
}

// ask sends a command and takes the results in as they come.
func (c *Component) ask(ctx context.Context, gateway string, command contract.GatewayCommand, s *switches, part []int) {
	data, err := encode(command)
	if err != nil {
		s.close(part, contract.Unreachable, "the command could not be encoded")
		return
	}
	open := make(map[device.ID]int, len(part))
	for _, i := range part {
		open[s.results[i].Device] = i
	}
	detail := fmt.Sprintf("no answer from gateway %s in time", gateway)
	err = c.asker.Ask(ctx, bus.CommandTopic(gateway), gateway, bus.Envelope{ID: command.ID, Data: data}, func(answer bus.Envelope) (bool, error) {
		var results contract.Results
		if text := answer.ErrorText(); text != "" {
			detail = clip("gateway " + gateway + ": " + text)
			return false, nil
		}
		if err := json.Unmarshal(answer.Data, &results); err != nil {
			return true, nil //nolint:nilerr // an answer that is none; the next may be one
		}
		s.take(results.Results, open)
		return len(open) > 0, nil
	})
	if err != nil {
		c.log.DebugContext(ctx, "gateway did not answer", slog.String("gateway", gateway), slog.Any("err", err))
	}
	left := make([]int, 0, len(open))
	for _, i := range open {
		left = append(left, i)
	}
	s.close(left, contract.Unknown, detail)
}

// outcomes are those that a gateway may report.
var outcomes = []contract.Outcome{
	contract.Confirmed, contract.Refused, contract.Expired, contract.Stale, contract.Superseded,
	contract.Unreachable, contract.Mismatch, contract.Unknown, contract.NoSuchPlace,
}

// take enters the results of places that are open; the first one of a place
// counts, and nobody answers for another's.
func (s *switches) take(results []contract.Result, open map[device.ID]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range results {
		i, asked := open[r.Device]
		if !asked {
			continue
		}
		delete(open, r.Device)
		if !slices.Contains(outcomes, r.Outcome) {
			r.Detail, r.Outcome = fmt.Sprintf("the gateway says %q", r.Outcome), contract.Unknown
		}
		s.results[i].Outcome, s.results[i].Detail, s.results[i].On = r.Outcome, clip(r.Detail), r.On
	}
}

// close ends what is open.
func (s *switches) close(open []int, outcome contract.Outcome, detail string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range open {
		s.results[i].Outcome, s.results[i].Detail = outcome, detail
	}
}

func clip(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxDetail)], "")
}

// answer gives the results the form of the question.
func (s *switches) answer(id string, ioToad bool) (data, failure json.RawMessage, err error) {
	if !ioToad {
		if s.results == nil {
			s.results = []contract.Result{}
		}
		data, err = encode(contract.SwitchAnswer{ID: id, Results: s.results})
		return data, nil, err
	}
	good := ioToadAnswer{Successful: []string{}}
	bad := make(map[string]string)
	for _, m := range s.mistakes {
		bad[m.target] = m.reason
	}
	for _, r := range s.results {
		name := r.Device.String()
		if asked := s.asked[r.Device]; asked != "" {
			name = asked // in the spelling of the one who asks
		}
		switch {
		case r.Outcome == contract.Confirmed:
			good.Successful = append(good.Successful, name)
		case r.Detail == "":
			bad[name] = string(r.Outcome)
		default:
			bad[name] = string(r.Outcome) + ": " + r.Detail
		}
	}
	if data, err = encode(good); err == nil && len(bad) > 0 {
		failure, err = encode(bad)
	}
	return data, failure, err
}
