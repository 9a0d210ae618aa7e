package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// house is a site of two floors with a gateway and two places each.
type house struct {
	places map[device.ID]contract.Place
	gone   map[string]bool
	half   bool // not all was heard yet
}

func (h *house) Site() contract.Site {
	return contract.Site{Name: "Main Street", TimeZone: "Europe/Berlin"}
}

func (h *house) Place(id device.ID) (contract.Place, bool) {
	p, ok := h.places[id]
	return p, ok
}

func (h *house) Gateway(name string) (contract.GatewayInfo, bool) {
	if h.gone[name] {
		return contract.GatewayInfo{}, false
	}
	return contract.GatewayInfo{Gateway: name, Floor: 1}, strings.HasPrefix(name, "edge-f")
}

func (h *house) Whole() bool { return !h.half }

func (h *house) Devices(gateway string) (ids []device.ID) {
	for id, p := range h.places {
		if gateway == "" || p.Gateway == gateway {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, device.Compare)
	return ids
}

func id(t testing.TB, s string) device.ID {
	t.Helper()
	d, err := device.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// stage is an engine, a clock and what was told.
type stage struct {
	t     testing.TB
	house *house
	e     *engine.Engine
	now   time.Time
	told  []string
}

// begin is a Monday at noon in Berlin.
var begin = time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC)

func newStage(t testing.TB, rules string) *stage {
	t.Helper()
	h := &house{places: make(map[device.ID]contract.Place), gone: make(map[string]bool)}
	for _, p := range []string{"sp_f1.p0", "sp_f1.w.r0.c0", "sp_f2.p0", "sp_f2.g1"} {
		h.places[id(t, p)] = contract.Place{Device: id(t, p), Gateway: "edge-f" + p[4:5], Label: strings.ToUpper(p[6:]), MaxPower: 1000}
	}
	return &stage{t: t, house: h, e: engine.New(read(t, rules), h), now: begin}
}

func read(t testing.TB, rules string) rule.File {
	t.Helper()
	f, err := rule.Read([]byte(rules), "rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func at(t time.Time) device.Micros { return device.MicrosOf(t) }

func (s *stage) note(changes []engine.Change) {
	for _, c := range changes {
		since := c.Alert.Since
		s.told = append(s.told, fmt.Sprintf("%s %s %s %s", s.now.Sub(begin), c.Kind, c.Alert.Rule, c.Alert.Subject)+
			fmt.Sprintf(" since %s", time.UnixMicro(int64(since)).Sub(begin)))
	}
}

// wait lets time pass.
func (s *stage) wait(d time.Duration) {
	s.now = s.now.Add(d)
	s.note(s.e.Tick(at(s.now)))
}

// is hands in a value that was measured ago.
func (s *stage) is(subject, signal string, value float64, ago ...time.Duration) {
	s.t.Helper()
	sample := engine.Sample{Signal: signal, At: at(s.now), Value: value}
	for _, d := range ago {
		sample.At -= device.Micros(d.Microseconds())
	}
	switch {
	case strings.HasPrefix(subject, "edge"):
		sample.Subject.Gateway = subject
	case subject != engine.Site:
		sample.Subject.Device = id(s.t, subject)
		sample.Unit, sample.Gateway = "W", "edge-f"+subject[4:5]
	}
	s.note(s.e.Take(sample, at(s.now)))
}

// stays hands in a value every ten seconds for a time.
func (s *stage) stays(subject, signal string, value float64, d time.Duration) {
	s.t.Helper()
	for end := s.now.Add(d); s.now.Before(end); {
		s.wait(10 * time.Second)
		s.is(subject, signal, value)
	}
}

func (s *stage) want(lines ...string) {
	s.t.Helper()
	if d := cmp.Diff(lines, s.told); d != "" {
		s.t.Errorf("what was told (-want +got):\n%s", d)
	}
	s.told = nil
}

const high = `rules: [{name: high, severity: warning, signal: power, when: {above: 100, clear: 80}, for: 1m, summary: "{label} draws {value}, over {limit}, for {for}"}]`

func TestItFiresWhenItHasHeldForLongEnough(t *testing.T) {
	s := newStage(t, high)
	s.stays("sp_f1.p0", "power", 50, time.Minute)
	s.stays("sp_f1.p0", "power", 150, time.Minute)
	s.want()
	s.stays("sp_f1.p0", "power", 1234, 10*time.Second)
	s.want("2m10s raised high sp_f1.p0 since 1m10s")
	firing := s.e.Firing()
	if len(firing) != 1 {
		t.Fatalf("%d fire", len(firing))
	}
	if a := firing[0]; a.Summary != "P0 (sp_f1.p0) draws 1234 W, over 100 W, for 60 seconds" || a.Gateway != "edge-f1" || *a.Floor != 1 || a.State != contract.Firing {
		t.Errorf("%+v", a)
	}
	s.stays("sp_f1.p0", "power", 90, time.Minute) // under the limit, not yet clear
	s.want()
	s.stays("sp_f1.p0", "power", 80, 10*time.Second)
	s.want("3m20s ended high sp_f1.p0 since 1m10s")
	if n := len(s.e.Firing()); n != 0 {
		t.Errorf("%d fire", n)
	}
}

func TestWithoutATimeItFiresAtOnce(t *testing.T) {
	s := newStage(t, `rules: [{name: high, severity: warning, signal: power, when: {above_max_power: 0.5, clear: 0.4}, summary: x}]`)
	s.is("sp_f1.p0", "power", 501)
	s.is("sp_other7", "power", 9000) // nobody knows how much it may
	s.want("0s raised high sp_f1.p0 since 0s")
	s.wait(time.Second)
	s.is("sp_f1.p0", "power", 401)
	s.want()
	s.wait(time.Second)
	s.is("sp_f1.p0", "power", 400)
	s.want("2s ended high sp_f1.p0 since 0s")
}

func TestEachConditionHoldsWhereItSays(t *testing.T) {
	for when, cases := range map[string]map[float64]bool{
		"{above: 5}": {5: false, 5.1: true}, "{below: 5}": {5: false, 4.9: true},
		"{inside: [1, 2]}": {0.9: false, 1: true, 2: true, 2.1: false}, "{outside: [1, 2]}": {0.9: true, 1: false, 2: false, 2.1: true},
		"{equals: 0}": {0: true, 1: false},
	} {
		for value, want := range cases {
			s := newStage(t, `rules: [{name: x, severity: info, signal: power, when: `+when+`, summary: x}]`)
			s.is("sp_f1.p0", "power", value)
			if got := len(s.told) == 1; got != want {
				t.Errorf("%s of %v: %v", when, value, got)
			}
		}
	}
}

func TestABacklogRaisesNoAlarmAboutThePast(t *testing.T) {
	s := newStage(t, high)
	for ago := 24 * time.Hour; ago > 0; ago -= time.Minute {
		value := 50.0
		if ago <= 10*time.Hour && ago > 9*time.Hour {
			value = 500
		}
		s.is("sp_f1.p0", "power", value, ago)
	}
	s.want("0s late high sp_f1.p0 since -10h0m0s")
	if n := len(s.e.Firing()); n != 0 {
		t.Errorf("%d fire", n)
	}
}

func TestABacklogThatEndsInTroubleFiresSinceItBegan(t *testing.T) {
	s := newStage(t, high)
	for ago := 3 * time.Hour; ago >= 0; ago -= time.Minute {
		s.is("sp_f1.p0", "power", 500, ago)
	}
	s.want("0s raised high sp_f1.p0 since -3h0m0s")
}

func TestWhatIsOutOfOrderRaisesNothing(t *testing.T) {
	s := newStage(t, high)
	s.is("sp_f1.p0", "power", 50)
	s.wait(time.Minute)
	s.is("sp_f1.p0", "power", 500)
	for ago := 5 * time.Minute; ago > 0; ago -= 10 * time.Second {
		s.is("sp_f1.p0", "power", 500, ago) // of an old card
	}
	s.want()
	s.stays("sp_f1.p0", "power", 500, 50*time.Second)
	s.is("sp_f1.p0", "power", 10, 20*time.Second)  // it was not bad all the time
	s.want("1m50s late high sp_f1.p0 since -4m0s") // what the card says is history
	s.stays("sp_f1.p0", "power", 500, 50*time.Second)
	s.want()
	s.stays("sp_f1.p0", "power", 500, 10*time.Second)
	s.want("2m50s raised high sp_f1.p0 since 1m50s")
}

func TestAPauseSaysNothing(t *testing.T) {
	s := newStage(t, high)
	s.is("sp_f1.p0", "power", 500)
	s.wait(time.Hour)
	s.is("sp_f1.p0", "power", 500) // nobody knows what was between
	s.want()
	s.stays("sp_f1.p0", "power", 500, time.Minute)
	s.want("1h1m0s raised high sp_f1.p0 since 1h0m0s")
}

// An agent that reads a meter every quarter of an hour is no worse than others.
func TestSlowSourcesHoldToo(t *testing.T) {
	s := newStage(t, `rules: [{name: x, severity: info, signal: power, when: {above: 100}, for: 1h, summary: x}]`)
	for range 8 {
		s.wait(15 * time.Minute)
		s.is("sp_f1.p0", "power", 500)
	}
	if len(s.told) != 1 {
		t.Errorf("told %q", s.told)
	}
}

func TestHoursCountInTheZoneOfTheSite(t *testing.T) {
	s := newStage(t, `
calendars: {office: {days: [mon], from: "07:00", to: "19:00"}}
rules: [{name: left-on, severity: info, signal: power, when: {above: 30}, for: 10m, hours: outside office, summary: x}]`)
	s.stays("sp_f1.p0", "power", 100, 7*time.Hour) // noon to seven in Berlin
	s.want()
	s.stays("sp_f1.p0", "power", 100, 10*time.Minute)
	s.want("7h10m0s raised left-on sp_f1.p0 since 7h0m0s")
}

const family = `rules:
- {name: offline, severity: critical, signal: gateway.online, when: {equals: 0}, for: 1m, summary: x}
- {name: unreached, severity: warning, signal: plug.reached, when: {equals: 0}, for: 2m, covered_by: [offline], summary: x}`

func TestADeadGatewayIsOneAlert(t *testing.T) {
	s := newStage(t, family)
	trouble := func(d time.Duration) {
		for end := s.now.Add(d); s.now.Before(end); {
			s.wait(10 * time.Second)
			s.is("edge-f1", "gateway.online", 0)
			s.is("sp_f1.p0", "plug.reached", 0)
			s.is("sp_f1.w.r0.c0", "plug.reached", 0)
			s.is("sp_f2.p0", "plug.reached", 0)
		}
	}
	trouble(10 * time.Minute)
	s.told = slices.DeleteFunc(s.told, func(l string) bool { return strings.Contains(l, "updated") })
	s.want("1m10s raised offline edge-f1 since 10s", "2m10s raised unreached sp_f2.p0 since 10s")
	if a := s.e.Firing()[0]; !slices.Equal(a.Covers, []string{"sp_f1.p0", "sp_f1.w.r0.c0"}) {
		t.Errorf("covers %v", a.Covers)
	}
	// Back, and a plug with it; the other has to be away anew.
	for range 20 {
		s.wait(10 * time.Second)
		s.is("edge-f1", "gateway.online", 1)
		s.is("sp_f1.p0", "plug.reached", 1)
		s.is("sp_f1.w.r0.c0", "plug.reached", 0)
	}
	s.want("10m10s ended offline edge-f1 since 10s", "12m10s raised unreached sp_f1.w.r0.c0 since 10m10s")
}

// While nobody knows yet whether the gateway is dead, its plugs are not.
func TestAPendingParentIsWaitedFor(t *testing.T) {
	s := newStage(t, strings.Replace(family, "for: 1m", "for: 5m", 1))
	for range 30 {
		s.wait(10 * time.Second)
		s.is("edge-f1", "gateway.online", 0)
		s.is("sp_f1.p0", "plug.reached", 0)
	}
	s.want()
	s.wait(10 * time.Second)
	s.is("edge-f1", "gateway.online", 1)
	s.is("sp_f1.p0", "plug.reached", 0)
	s.want("5m10s raised unreached sp_f1.p0 since 10s")
}

func TestWhatComesAndGoesIsHeld(t *testing.T) {
	s := newStage(t, `rules: [{name: x, severity: info, signal: power, when: {above: 100}, summary: x}]`)
	for range 20 {
		s.stays("sp_f1.p0", "power", 500, time.Minute)
		s.stays("sp_f1.p0", "power", 0, time.Minute)
	}
	var raised, flapping int
	for _, l := range s.told {
		raised += strings.Count(l, " raised ")
		flapping += strings.Count(l, " flapping ")
	}
	if raised != 2 || flapping != 1 || len(s.told) != 5 {
		t.Errorf("%d raised, %d flapping: %q", raised, flapping, s.told)
	}
	s.told = nil
	s.stays("sp_f1.p0", "power", 0, 20*time.Minute)
	if len(s.told) != 1 || !strings.Contains(s.told[0], " ended ") {
		t.Errorf("%q", s.told)
	}
}

func TestChangesAndGrowthFireForATime(t *testing.T) {
	s := newStage(t, `rules:
- {name: firmware, severity: info, signal: plug.firmware, when: {changed: true}, for: 1h, summary: x}
- {name: dropped, severity: critical, signal: gateway.dropped, when: {changed: true}, for: 1h, summary: x}`)
	tell := func(text string) {
		s.wait(time.Minute)
		s.note(s.e.Take(engine.Sample{Subject: engine.Subject{Device: id(t, "sp_f1.p0")}, Signal: "plug.firmware", At: at(s.now), Text: text}, at(s.now)))
	}
	tell("1.0")
	tell("1.0")
	tell("1.1")
	tell("1.1")
	s.is("edge-f1", "gateway.dropped", 5)
	s.wait(time.Second)
	s.is("edge-f1", "gateway.dropped", 5)
	s.wait(time.Second)
	s.is("edge-f1", "gateway.dropped", 0) // it has started again
	s.wait(time.Second)
	s.is("edge-f1", "gateway.dropped", 3)
	s.wait(2 * time.Hour)
	s.want("3m0s raised firmware sp_f1.p0 since 3m0s", "4m3s raised dropped edge-f1 since 4m3s",
		"2h4m3s ended dropped edge-f1 since 4m3s", "2h4m3s ended firmware sp_f1.p0 since 3m0s")
}

func TestFlatRisingAndAbsentLookBack(t *testing.T) {
	s := newStage(t, `rules:
- {name: flat, severity: info, signal: voltage, when: {flat: true}, for: 1h, summary: x}
- {name: rising, severity: info, signal: plug.suspects, when: {rising: 60}, for: 10m, summary: x}
- {name: absent, severity: info, signal: current, when: {absent: true}, for: 10m, summary: x}`)
	s.is("sp_f1.p0", "current", 1)
	s.stays("sp_f1.p0", "voltage", 230.1, 70*time.Minute)
	s.want("10m0s raised absent sp_f1.p0 since 0s", "1h0m10s raised flat sp_f1.p0 since 10s")
	s.is("sp_f1.p0", "current", 1)
	s.stays("sp_f1.p0", "voltage", 0, 70*time.Minute) // off is not stuck
	s.want("1h10m0s ended absent sp_f1.p0 since 0s", "1h10m10s ended flat sp_f1.p0 since 10s", "1h20m0s raised absent sp_f1.p0 since 1h10m0s")
	for n := range 120 {
		s.wait(10 * time.Second)
		s.is("sp_f1.p0", "plug.suspects", float64(n)) // 360 an hour
	}
	s.want("2h30m10s raised rising sp_f1.p0 since 2h20m10s")
	s.stays("sp_f1.p0", "plug.suspects", 119, 21*time.Minute)
	s.want("2h50m10s ended rising sp_f1.p0 since 2h20m10s")
}

func TestPeopleCanHush(t *testing.T) {
	s := newStage(t, strings.Replace(high, "for: 1m", "remind: 1h", 1))
	s.e.Maintain([]engine.Maintenance{{From: at(begin), To: at(begin.Add(time.Hour)), Who: "ada", Reason: "new sockets", Select: rule.Select{Floors: []int{2}}}})
	s.is("sp_f2.p0", "power", 500)
	s.is("sp_f1.p0", "power", 500)
	firing := s.e.Firing()
	if firing[0].Hushed != nil || firing[1].Hushed == nil || firing[1].Hushed.Reason != "maintenance: new sockets" {
		t.Errorf("%+v", firing)
	}
	if _, err := s.e.Hush(firing[0].ID, contract.Hushed{Who: "bob", At: at(s.now)}, at(s.now)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.e.Hush("no/such/1", contract.Hushed{}, at(s.now)); err == nil {
		t.Error("hushed what does not fire")
	}
	s.told = nil
	s.wait(time.Hour)
	s.want("1h0m0s wakened high sp_f2.p0 since 0s")
	s.wait(time.Hour)
	s.want("2h0m0s reminder high sp_f2.p0 since 0s")
	if a := s.e.Firing()[0]; a.State != contract.Acknowledged {
		t.Errorf("state %s", a.State)
	}
	if _, err := s.e.Wake(firing[0].ID, at(s.now)); err != nil {
		t.Fatal(err)
	}
	s.wait(time.Hour)
	s.want("3h0m0s reminder high sp_f1.p0 since 0s", "3h0m0s reminder high sp_f2.p0 since 0s")
}

func TestARestartForgetsNothing(t *testing.T) {
	s := newStage(t, high)
	s.stays("sp_f1.p0", "power", 500, 2*time.Minute)
	s.stays("sp_f2.p0", "power", 500, 40*time.Second)
	s.want("1m10s raised high sp_f1.p0 since 10s")
	kept := s.e.Remember()
	s.e = engine.New(read(t, high), s.house)
	s.note(s.e.Recall(kept, at(s.now)))
	s.is("sp_f1.p0", "power", 500)
	s.want()
	s.stays("sp_f2.p0", "power", 500, 30*time.Second)
	s.want("3m10s raised high sp_f2.p0 since 2m10s")
	kept = s.e.Remember()
	s.e = engine.New(rule.File{}, s.house)
	s.note(s.e.Recall(kept, at(s.now)))
	s.want("3m10s ended high sp_f1.p0 since 10s", "3m10s ended high sp_f2.p0 since 2m10s")
}

// Whoever starts again hears measurements before it knows what each place may draw.
func TestAPlaceNotHeardYetIsNeitherBadNorGood(t *testing.T) {
	const rules = `rules: [{name: high, severity: warning, signal: power, when: {above_max_power: 0.5}, summary: x}]`
	s := newStage(t, rules)
	s.is("sp_f1.p0", "power", 1500)
	s.want("0s raised high sp_f1.p0 since 0s")
	kept, places := s.e.Remember(), s.house.places
	s.house.half, s.house.places = true, nil
	s.e = engine.New(read(t, rules), s.house)
	s.note(s.e.Recall(kept, at(s.now)))
	s.note(s.e.Rehouse(at(s.now)))
	s.stays("sp_f1.p0", "power", 1500, 10*time.Second)
	s.stays("sp_f1.p0", "power", 10, 10*time.Second)
	s.want()
	s.house.places = places
	s.note(s.e.Rehouse(at(s.now)))
	s.wait(time.Second)
	s.is("sp_f1.p0", "power", 10)
	s.want("21s ended high sp_f1.p0 since 0s")
}

func TestWhatStopsBeforeARestartIsMissedAfterIt(t *testing.T) {
	const absent = `rules: [{name: absent, severity: info, signal: power, when: {absent: true}, for: 10m, summary: x}]`
	s := newStage(t, absent)
	s.is("sp_f1.p0", "power", 1)
	s.wait(time.Minute)
	kept := s.e.Remember()
	s.e = engine.New(read(t, absent), s.house)
	s.note(s.e.Recall(kept, at(s.now)))
	s.wait(10 * time.Minute)
	s.want("11m0s raised absent sp_f1.p0 since 1m0s")
}

func TestWhatCouldNotBeKeptIsTakenBack(t *testing.T) {
	s := newStage(t, strings.Replace(high, "for: 1m, ", "", 1))
	s.is("sp_f1.p0", "power", 500)
	before := s.e.Firing()
	if _, err := s.e.Hush(before[0].ID, contract.Hushed{Who: "bob", At: at(s.now)}, at(s.now)); err != nil {
		t.Fatal(err)
	}
	s.e.TakeBack(before)
	if a := s.e.Firing()[0]; a.State != contract.Firing || a.Hushed != nil {
		t.Errorf("%s, hushed %+v", a.State, a.Hushed)
	}
}

func TestRulesAndPlacesChangeWhileItFires(t *testing.T) {
	s := newStage(t, strings.Replace(high, "for: 1m, ", "", 1))
	s.is("sp_f1.p0", "power", 500)
	s.is("sp_f2.p0", "power", 500)
	s.is("sp_f2.g1", "power", 500)
	s.told = nil
	s.note(s.e.SetRules(read(t, `rules: [{name: high, severity: info, signal: power, when: {above: 600}, select: {types: [p]}, summary: x}]`), at(s.now)))
	s.want("0s ended high sp_f2.g1 since 0s")
	delete(s.house.places, id(t, "sp_f2.p0"))
	s.note(s.e.Rehouse(at(s.now)))
	s.want("0s ended high sp_f2.p0 since 0s")
	s.wait(time.Second)
	s.is("sp_f1.p0", "power", 500)
	s.want("1s ended high sp_f1.p0 since 0s")
	s.stays("sp_f1.p0", "power", 700, 10*time.Second)
	s.want("11s raised high sp_f1.p0 since 11s")
	s.note(s.e.SetRules(read(t, `rules: [{name: high, off: true, severity: info, signal: power, when: {above: 600}, summary: x}]`), at(s.now)))
	s.want("11s ended high sp_f1.p0 since 11s")
}
