package gateway_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

// astray gives every plug an address where nothing answers.
func (s *site) astray(c *contract.GatewayConfig) {
	for i := range c.Plugs {
		c.Plugs[i].Address = s.spare(i)
	}
}

// wellUnder waits until all plugs are read with a version in force.
func (s *site) wellUnder(version uint64) (status contract.Status) {
	s.t.Helper()
	s.eventually("all plugs with the version", func() bool {
		status = s.pageView().Status
		return status.ConfigVersion == version && status.Plugs.Reachable == 3 && status.Plugs.Problems == nil
	})
	return status
}

// switching asks for plugs to be switched off and gives how that ended.
func (s *site) switching(id string, version uint64, places ...string) map[string]contract.Outcome {
	s.t.Helper()
	status := s.pageView().Status
	cmd := contract.GatewayCommand{
		ID: id, Who: "test", ConfigVersion: version, Deadline: contract.Deadline{BootID: status.BootID, Monotonic: status.Monotonic + 10},
	}
	for _, place := range places {
		parsed, err := device.Parse(place)
		if err != nil {
			s.t.Fatal(err)
		}
		cmd.Switches = append(cmd.Switches, contract.Switch{Device: parsed})
	}
	data, err := json.Marshal(cmd)
	if err != nil {
		s.t.Fatal(err)
	}
	topic := "responses/sp_command/x/edge-f1/" + id
	payload, _ := bus.Envelope{ID: id, ResponseTopic: topic, Data: data}.Encode()
	s.publish(bus.CommandTopic("edge-f1"), false, payload)
	outcomes := map[string]contract.Outcome{}
	for len(outcomes) < len(places) {
		e, err := bus.Decode(s.await("results", func(m bus.Message) bool { return m.Topic == topic }).Payload)
		var results contract.Results
		if err != nil || json.Unmarshal(e.Data, &results) != nil {
			s.t.Fatalf("%+v: %v", e, err)
		}
		for _, r := range results.Results {
			outcomes[r.Device.String()] = r.Outcome
		}
	}
	return outcomes
}

func TestAConfigurationThatLosesThePlugsIsGoneBackFrom(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.option.Probation = time.Second // four polls are longer
	s.configure(1)
	stop := s.start()
	s.wellUnder(1)
	protect := func(c *contract.GatewayConfig) { c.Plugs[0].Protected, c.Plugs[1].Protected = "a fridge", "" } // it was the other one
	s.configure(2, s.astray, protect)
	s.eventually("version 2 is tried", func() bool { return s.pageView().Status.ConfigVersion == 2 })
	status := s.wellUnder(1)
	if r := status.ConfigRefused; r == nil || r.Version != 2 || !strings.Contains(r.Reason, "of 3 plugs") {
		t.Errorf("refused: %+v", r)
	}
	got := s.switching("c1", 1, "sp_f1.g0", "sp_f1.g1", "sp_f1.p0")
	if got["sp_f1.g0"] != contract.Refused || got["sp_f1.g1"] != contract.Refused || got["sp_f1.p0"] != contract.Confirmed {
		t.Errorf("what either version protects stays so: %v", got)
	}
	waiting := status.Outbox.Readings
	stop()
	s.start() // the broker still has version 2
	s.awaitBatch()
	if status := s.wellUnder(1); status.ConfigRefused == nil || status.Outbox.Readings < waiting {
		t.Errorf("after a restart: refused %+v, %d readings, there were %d", status.ConfigRefused, status.Outbox.Readings, waiting)
	}
	s.configure(3)
	if status := s.wellUnder(3); status.ConfigRefused != nil {
		t.Errorf("refused: %+v", status.ConfigRefused)
	}
}

// Where the plugs are away under either, the cause is elsewhere.
func TestTheNewestConfigurationStaysWhereNeitherReachesThePlugs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.option.Probation = time.Second
	s.configure(1)
	s.start()
	s.wellUnder(1)
	for _, p := range s.fleet.Plugs {
		if err := p.SetFault(hs110test.Fault{Refuse: true}); err != nil {
			t.Fatal(err)
		}
	}
	s.configure(2, s.astray)
	s.eventually("version 2 is tried", func() bool { return s.pageView().Status.ConfigVersion == 2 })
	s.eventually("version 1 is gone back to", func() bool { return s.pageView().Status.ConfigVersion == 1 })
	s.eventually("version 2 again", func() bool { v := s.pageView().Status; return v.ConfigVersion == 2 && v.ConfigRefused == nil })
	for i, p := range s.fleet.Plugs {
		if err := p.Move(s.spare(i)); err != nil {
			t.Fatal(err)
		}
		if err := p.SetFault(hs110test.Fault{}); err != nil {
			t.Fatal(err)
		}
	}
	s.wellUnder(2)
}

// Discovery makes good what a configuration has wrong: no reason to go back.
func TestWrongAddressesAreMadeGoodByLooking(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.configure(1)
	s.start()
	s.wellUnder(1)
	s.configure(2, s.astray, s.nearby)
	if status := s.wellUnder(2); status.ConfigRefused != nil {
		t.Errorf("refused: %+v", status.ConfigRefused)
	}
}

// A configuration that makes the gateway crash again and again never gets to the
// end of its time.
func TestAConfigurationUnderWhichTheGatewayKeepsStartingIsGoneBackFrom(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.option.Probation = time.Hour
	s.configure(1)
	stop := s.start()
	s.wellUnder(1)
	s.configure(2, s.astray)
	s.eventually("version 2 is tried", func() bool { return s.pageView().Status.ConfigVersion == 2 })
	for n := range 3 {
		stop()
		stop = s.start()
		s.eventually("it runs", func() bool { return s.pageView().Status.BootID != "" })
		if got := s.pageView().Status.ConfigVersion; got != 2 {
			t.Fatalf("start %d: version %d", n+1, got)
		}
	}
	stop()
	s.start()
	if r := s.wellUnder(1).ConfigRefused; r == nil || r.Version != 2 || !strings.Contains(r.Reason, "started") {
		t.Errorf("refused: %+v", r)
	}
}

func TestMistakesOfAConfigurationAreToldInTheStatus(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.configure(1)
	s.start()
	s.wellUnder(1)
	s.configure(2, func(c *contract.GatewayConfig) {
		c.PollSeconds, c.StaggerMillis, c.Database, c.Discovery.Ranges = 0.5, -1, "wattline", []string{"10.0.0.0/8"}
		c.Plugs[1].DeviceID = strings.ToLower(c.Plugs[0].DeviceID)
		c.Plugs[2].Device = c.Plugs[0].Device
		c.Plugs[2].DeviceID, c.Plugs[2].Address, c.Plugs[2].PollSeconds, c.Plugs[2].MaxPower = "", c.Plugs[0].Address, 0.1, -1
	})
	var refused *contract.ConfigRefused
	s.eventually("it is refused", func() bool { refused = s.pageView().Status.ConfigRefused; return refused != nil })
	for _, part := range []string{
		"poll_seconds: 0.5", "stagger_ms", "database", "discovery.ranges[0]", "device_id", "plugs[2].device", "address", "plugs[2].poll_seconds", "max_power_w",
	} {
		if refused.Version != 2 || !strings.Contains(refused.Reason, part) {
			t.Errorf("%s is not named in version %d: %s", part, refused.Version, refused.Reason)
		}
	}
	s.wellUnder(1)
	s.configure(3)
	s.eventually("the next one is run", func() bool { v := s.pageView().Status; return v.ConfigVersion == 3 && v.ConfigRefused == nil })
}
