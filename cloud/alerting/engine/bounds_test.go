package engine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

const atOnce = `rules: [{name: high, severity: warning, signal: power, when: {above: 100}, summary: x}]`

// from hands in a value that a source says of a device.
func (s *stage) from(source, subject string, value float64, ahead ...time.Duration) {
	s.t.Helper()
	sample := engine.Sample{Subject: engine.Subject{Device: id(s.t, subject)}, Signal: "power", Gateway: source, At: at(s.now), Value: value}
	for _, d := range ahead {
		sample.At += device.Micros(d.Microseconds())
	}
	s.note(s.e.Take(sample, at(s.now)))
}

func TestNoSourceBlindsTheRulesForOthers(t *testing.T) {
	s := newStage(t, atOnce)
	sources := engine.MaxStrangers/engine.MaxOfSource + 1
	for source := range sources {
		for n := range engine.MaxOfSource + 10 {
			s.from(fmt.Sprintf("agent%d", source), fmt.Sprintf("sp_f%d.x%d", 10+source, n), 1)
		}
	}
	if got, want := s.e.Watched(), engine.MaxStrangers; got != want {
		t.Errorf("%d series of strangers, want %d", got, want)
	}
	if got, want := s.e.Dropped(), engine.MaxOfSource+10*sources; got != want {
		t.Errorf("%d samples dropped, want %d", got, want)
	}
	for n := range engine.MaxOfSource + 10 { // a gateway that invents devices
		s.from("edge-f1", fmt.Sprintf("sp_f1.x%d", n), 1)
	}
	s.is("sp_f2.p0", "power", 150)
	s.want("0s raised high sp_f2.p0 since 0s")
	if got, want := s.e.Watched(), engine.MaxStrangers+engine.MaxOfSource+1; got != want {
		t.Errorf("%d series, want %d", got, want)
	}
}

func TestAPlaceCountsFromItsOwnGatewayOnly(t *testing.T) {
	s := newStage(t, atOnce)
	s.from("edge-f2", "sp_f1.p0", 150) // before its own, and after
	s.from("edge-f1", "sp_f1.p0", 50)
	s.wait(time.Second)
	s.from("edge-f2", "sp_f1.p0", 150)
	s.from("stranger", "sp_f1.p0", 150)
	s.want()
	if got := s.e.Foreign(); got != 3 {
		t.Errorf("%d foreign samples, want 3", got)
	}
	s.from("edge-f1", "sp_f1.p0", 150)
	s.want("1s raised high sp_f1.p0 since 1s")

	// It goes by the newest that the registry says.
	s.house.places[id(t, "sp_f1.p0")] = contract.Place{Device: id(t, "sp_f1.p0"), Gateway: "edge-f2"}
	s.note(s.e.Rehouse(at(s.now)))
	s.wait(time.Second)
	s.from("edge-f1", "sp_f1.p0", 50)
	s.want()
	s.from("edge-f2", "sp_f1.p0", 50)
	s.want("2s ended high sp_f1.p0 since 1s")

	// A place that no gateway has is told of by whoever does.
	s.house.places[id(t, "sp_f1.p9")] = contract.Place{Device: id(t, "sp_f1.p9")}
	s.from("agent", "sp_f1.p9", 150)
	s.want("2s raised high sp_f1.p9 since 2s")
}

func TestAClockThatGoesFastFreezesNothing(t *testing.T) {
	s := newStage(t, atOnce)
	s.from("edge-f1", "sp_f1.p0", 50, time.Hour)
	s.wait(time.Second)
	s.from("edge-f1", "sp_f1.p0", 150) // it was set
	s.want("1s raised high sp_f1.p0 since 1s")
	s.wait(time.Second)
	s.from("edge-f1", "sp_f1.p0", 50, time.Minute)
	s.want("2s ended high sp_f1.p0 since 1s")
}

func TestACloudWhoseClockIsSetBackGoesOn(t *testing.T) {
	s := newStage(t, high)
	s.stays("sp_f1.p0", "power", 50, time.Minute)
	s.now = s.now.Add(-time.Hour)
	s.stays("sp_f1.p0", "power", 150, 2*time.Minute)
	s.want("-57m40s raised high sp_f1.p0 since -58m40s")
	s.now = s.now.Add(-time.Hour)
	s.stays("sp_f1.p0", "power", 50, time.Minute)
	s.want("-1h56m40s ended high sp_f1.p0 since -58m40s")
}

const andAbsent = `rules:
- {name: high, severity: warning, signal: power, when: {above: 100}, summary: x}
- {name: gone, severity: warning, signal: power, when: {absent: true}, for: 47h, select: {devices: [sp_f9.x2]}, summary: x}`

func TestStrangersThatSayNothingAreForgotten(t *testing.T) {
	s := newStage(t, andAbsent)
	s.from("agent", "sp_f9.x1", 1)
	s.from("agent", "sp_f9.x2", 1)   // which is waited for
	s.from("agent", "sp_f9.x3", 150) // which fires
	s.from("edge-f1", "sp_f1.p0", 1) // which is a place
	s.want("0s raised high sp_f9.x3 since 0s")
	watched := func(want int) {
		t.Helper()
		if got := s.e.Watched(); got != want {
			t.Errorf("after %v %d series are watched, want %d", s.now.Sub(begin), got, want)
		}
	}
	hours := func(n int) {
		for range n {
			s.wait(time.Hour)
		}
	}
	hours(23)
	watched(4)
	hours(2)
	watched(3)
	hours(23)
	watched(3)
	s.want("47h0m0s raised gone sp_f9.x2 since 0s")
	s.from("agent", "sp_f9.x3", 1)
	s.from("agent", "sp_f9.x2", 1)
	s.want("48h0m0s ended high sp_f9.x3 since 0s", "48h0m0s ended gone sp_f9.x2 since 0s")
	hours(100)
	s.want("95h0m0s raised gone sp_f9.x2 since 48h0m0s")
	watched(2)
	if n := len(s.e.Remember()); n != 1 {
		t.Errorf("%d are remembered, want 1", n)
	}
}

// Seen to fail where the place is only looked for while its gateway stands.
func TestPlacesThatAreGoneAreForgotten(t *testing.T) {
	s := newStage(t, atOnce)
	s.from("edge-f1", "sp_f1.p0", 150)
	s.from("edge-f2", "sp_f2.p0", 150)
	s.want("0s raised high sp_f1.p0 since 0s", "0s raised high sp_f2.p0 since 0s")
	delete(s.house.places, id(t, "sp_f1.p0"))
	delete(s.house.places, id(t, "sp_f2.p0"))
	s.house.gone["edge-f2"] = true // at the same moment
	s.note(s.e.Rehouse(at(s.now)))
	s.want("0s ended high sp_f1.p0 since 0s", "0s ended high sp_f2.p0 since 0s")
	if got := s.e.Watched(); got != 0 {
		t.Errorf("%d series of places that are gone are watched", got)
	}
}

// A restart knows what had a place, before the registry is heard and after.
func TestPlacesThatAreGoneAfterARestartAreForgotten(t *testing.T) {
	s := newStage(t, atOnce)
	s.from("edge-f2", "sp_f2.p0", 150)
	s.told = nil
	remembered := s.e.Remember()
	s.house.half = true
	delete(s.house.places, id(t, "sp_f2.p0"))
	s.house.gone["edge-f2"] = true
	s.e = engine.New(read(t, atOnce), s.house)
	s.note(s.e.Recall(remembered, at(s.now)))
	s.note(s.e.Rehouse(at(s.now)))
	s.want()
	s.house.half = false
	s.note(s.e.Rehouse(at(s.now)))
	s.want("0s ended high sp_f2.p0 since 0s")
}
