package gateway_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
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

// Who sees a version confirmed relies on what it protects, also after a restart.
func TestAConfigurationIsConfirmedOnceItIsKept(t *testing.T) {
	s := newSite(t)
	file := filepath.Join(s.config.Data, "floor.json")
	if err := os.MkdirAll(filepath.Join(file, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.configure(1)
	s.start()
	s.eventually("the configuration is applied", func() bool { return s.pageView().Status.Plugs.Reachable == 3 })
	if got := s.pageView().Status.ConfigVersion; got != 0 {
		t.Errorf("version %d is confirmed and not kept", got)
	}
	if err := os.RemoveAll(file); err != nil {
		t.Fatal(err)
	}
	s.eventually("it is confirmed", func() bool { return s.pageView().Status.ConfigVersion == 1 })
	if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), `"a server"`) {
		t.Errorf("kept: %s, %v", text, err)
	}
}

func TestWhatACrashLeftOfWritingIsRemoved(t *testing.T) {
	s := newSite(t)
	left := filepath.Join(s.config.Data, "floor.json.123")
	if err := os.WriteFile(left, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.eventually("it is gone", func() bool { _, err := os.Stat(left); return os.IsNotExist(err) })
}
