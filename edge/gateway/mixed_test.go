package gateway_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wattline/wattline/edge/drivers/shelly/shellytest"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

func mustID(t *testing.T, text string) device.ID {
	t.Helper()
	id, err := device.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// command switches places and waits for their outcomes.
func (s *site) command(id string, version uint64, switches ...contract.Switch) map[string]contract.Outcome {
	s.t.Helper()
	status := s.pageView().Status
	data, err := json.Marshal(contract.GatewayCommand{
		ID: id, Who: "test", Reason: "why", ConfigVersion: version, Switches: switches,
		Deadline: contract.Deadline{BootID: status.BootID, Monotonic: status.Monotonic + 10},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	topic := "responses/sp_command/x/edge-f1/" + id
	payload, _ := bus.Envelope{ID: id, ResponseTopic: topic, Data: data}.Encode()
	s.publish(bus.CommandTopic("edge-f1"), false, payload)
	outcomes := map[string]contract.Outcome{}
	for len(outcomes) < len(switches) {
		m := s.await("results", func(m bus.Message) bool { return m.Topic == topic })
		e, err := bus.Decode(m.Payload)
		var results contract.Results
		if err != nil || json.Unmarshal(e.Data, &results) != nil {
			s.t.Fatalf("%s: %v", m.Payload, err)
		}
		for _, r := range results.Results {
			outcomes[r.Device.String()] = r.Outcome
		}
	}
	return outcomes
}

// kept is what the gateway has written down of its floor.
func (s *site) kept() string {
	text, _ := os.ReadFile(filepath.Join(s.config.Data, "floor.json"))
	return string(text)
}

func TestAFloorMixesGenerationsOfPlugs(t *testing.T) {
	s := newSiteOf(t, hs110test.FleetOptions{Rooms: 1, NoBroadcast: true})
	desk := shellytest.New(t, shellytest.Options{Load: 61})
	server := shellytest.New(t, shellytest.Options{Load: 300})
	s.configure(1, func(c *contract.GatewayConfig) {
		c.Plugs = append(c.Plugs,
			contract.Plug{Device: mustID(t, "sp_f1.w.r0.c0"), Driver: "shelly", Address: desk.Address(), MAC: desk.MAC()},
			contract.Plug{Device: mustID(t, "sp_f1.w.r0.c1"), Driver: "shelly", Address: server.Address(), Protected: "a server"})
	})
	s.start()
	power := map[string]float64{}
	for len(power) < 3 {
		_, records := s.awaitBatch()
		for _, r := range records {
			if id, ok := strings.CutSuffix(r.Name, "/power"); ok {
				power[id] = r.Value
			}
		}
	}
	if power["sp_f1.w.r0.c0"] != 61 || power["sp_f1.w.r0.c1"] != 300 || power["sp_f1.g0"] <= 0 {
		t.Errorf("power %v", power)
	}
	outcomes := s.command("c1", 1, contract.Switch{Device: mustID(t, "sp_f1.g0")},
		contract.Switch{Device: mustID(t, "sp_f1.w.r0.c0")}, contract.Switch{Device: mustID(t, "sp_f1.w.r0.c1")})
	if outcomes["sp_f1.g0"] != contract.Confirmed || outcomes["sp_f1.w.r0.c0"] != contract.Confirmed || outcomes["sp_f1.w.r0.c1"] != contract.Refused {
		t.Errorf("outcomes %v", outcomes)
	}
	if s.fleet.Find(mustID(t, "sp_f1.g0")).On() || desk.On() || !server.On() {
		t.Error("the relays are not as they should be")
	}
	if err := desk.SetFault(shellytest.Fault{Stuck: true}); err != nil {
		t.Fatal(err)
	}
	if got := s.command("c2", 1, contract.Switch{Device: mustID(t, "sp_f1.w.r0.c0"), On: true}); got["sp_f1.w.r0.c0"] != contract.Mismatch {
		t.Errorf("a relay that sticks: %v", got)
	}
}

// Where only its address is configured, which plug it is must outlive the gateway.
func TestAnotherShellyAtAnAddressIsNotReadAfterARestartEither(t *testing.T) {
	s := newSiteOf(t, hs110test.FleetOptions{Rooms: 1, NoBroadcast: true})
	first, err := shellytest.Start("127.0.0.1:0", shellytest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(first.Close)
	place := mustID(t, "sp_f1.w.r0.c0")
	s.configure(1, func(c *contract.GatewayConfig) {
		c.Plugs = append(c.Plugs, contract.Plug{Device: place, Driver: "shelly", Address: first.Address()})
	})
	stop := s.start()
	s.eventually("both are read", func() bool { return s.pageView().Status.Plugs.Reachable == 2 })
	s.eventually("which plug it is is kept", func() bool {
		return strings.Contains(s.kept(), first.MAC())
	})
	stop()
	first.Close()
	other, err := shellytest.Start(first.Address(), shellytest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	s.start()
	var problems []contract.PlugProblem
	s.eventually("it is a problem", func() bool { problems = s.pageView().Status.Plugs.Problems; return len(problems) > 0 })
	if p := problems[0]; p.Device != place || p.Reason != "wrong plug" {
		t.Errorf("problem %+v", p)
	}
	if got := s.command("c1", 1, contract.Switch{Device: place}); got[place.String()] != contract.Unreachable || !other.On() {
		t.Errorf("switched another plug: %v, its relay %v", got, other.On())
	}
}
