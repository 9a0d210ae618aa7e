package gateway_test

import (
	"encoding/json"
	"testing"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// One plug of a generation that this gateway does not know must not keep the
// others of its floor from being read.
func TestAPlugThatIsNotSupportedIsToldOfAndTheOthersAreRead(t *testing.T) {
	s := newSite(t)
	odd, err := device.Parse("sp_f1.g9")
	if err != nil {
		t.Fatal(err)
	}
	good := s.fleet.Plugs[0]
	payload, err := json.Marshal(contract.GatewayConfig{Version: 1, Gateway: "edge-f1", Floor: 1, PollSeconds: 1, Plugs: []contract.Plug{
		{Device: odd, Driver: "hs999", Address: "127.0.0.1"},
		{Device: good.ID, Driver: "hs110", Address: good.Address(), DeviceID: good.DeviceID()},
	}})
	if err != nil {
		t.Fatal(err)
	}
	s.publish(bus.ConfigTopic("edge-f1"), true, payload)
	s.start()
	s.awaitBatch()
	var plugs contract.PlugsStatus
	s.eventually("the plug is a problem", func() bool { plugs = s.pageView().Status.Plugs; return len(plugs.Problems) > 0 })
	if p := plugs.Problems[0]; p.Device != odd || p.Reason != "unsupported" || p.Detail == "" || plugs.Reachable != 1 {
		t.Errorf("plugs %+v", plugs)
	}
}
