package interop_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

func showsPower(t *testing.T, f *former) {
	for _, id := range f.ids() {
		f.polled(t, "power", id, f.watts[id])
	}
}

func showsStatus(t *testing.T, f *former) {
	for _, on := range []bool{true, false} {
		f.plugs.press(on)
		for _, id := range f.ids() {
			f.polled(t, "status", id, map[bool]float64{true: 1, false: 0}[on])
		}
	}
}

func showsScan(t *testing.T, f *former) {
	f.polled(t, "power", scanned, f.watts[scanned])
	_, mac := hs110test.Identity(f.ranged[newcomer].Address())
	eventually(t, 30*time.Second, "a plug that nobody knows is listed", func() bool {
		return strings.Contains(f.wattline(t, "plugs", "found"), mac)
	})
}

func showsMACs(t *testing.T, f *former) {
	for _, id := range []string{scanned, cached} {
		f.polled(t, "power", id, f.watts[id])
		_, mac := hs110test.Identity(f.ranged[id].Address())
		if a := f.rest("/api/v1/devices/" + id); !strings.Contains(a.body, mac) {
			t.Errorf("%s is not at %s: %v", mac, id, a)
		}
	}
}

// The controller reaches what the collector has found, at an address that nobody
// ever wrote down; and the address is known after a restart, at once.
func showsAddresses(t *testing.T, f *former) {
	plug := f.ranged[scanned]
	plug.Press(true)
	a := f.do(http.MethodPut, "/api/in/sp_command/"+scanned, stringOff)
	sameJSON(t, a.body, one("sp_command/"+scanned, scanned))
	if plug.On() {
		t.Error("the plug is still on")
	}
	_, mac := hs110test.Identity(plug.Address())
	if a := f.rest("/api/v1/plugs/" + mac); !strings.Contains(a.body, `"`+strings.TrimSuffix(plug.Address(), ":9999")) {
		t.Errorf("the registry does not know that it is at %s: %v", plug.Address(), a)
	}
	f.edge.stop()
	before := plug.Requests()
	f.edge = run(f.t, "wattline-edge", filepath.Join(f.logs, "edge.log"), program("wattline-edge"), "-config", f.file("edge.yaml"))
	eventually(t, 3*time.Second, "it is polled after a restart, sooner than a scan takes", func() bool { return plug.Requests() > before })
	eventually(t, 30*time.Second, "the gateway polls all", func() bool {
		v, err := f.page()
		return err == nil && v.Status.Plugs.Reachable == len(f.plugs)+len(f.bare)+2
	})
}

func showsPace(t *testing.T, f *former) {
	unknown, known := f.ranged[newcomer].Requests(), f.ranged[scanned].Requests()
	eventually(t, 30*time.Second, "a known plug was polled six times", func() bool { return f.ranged[scanned].Requests() >= known+6 })
	if n := f.ranged[newcomer].Requests() - unknown; n > 2 {
		t.Errorf("an unknown one was asked %d times meanwhile, want a third at most", n)
	}
}

func showsSpellings(t *testing.T, f *former) {
	for id, p := range f.bare {
		f.polled(t, "power", id, p.watts)
	}
}

func showsProtocol(t *testing.T, f *former) {
	for id, p := range f.bare {
		asked, wrong := p.questions()
		if len(asked) == 0 || len(wrong) > 0 {
			t.Errorf("%s was asked %d questions, and could not read %q", id, len(asked), wrong)
		}
		for _, on := range []bool{true, false} {
			p.press(!on)
			a := f.do(http.MethodPut, "/api/in/sp_command/"+id, fmt.Sprintf(`{"payload": {"status": %d}}`, map[bool]int{true: 1}[on]))
			sameJSON(t, a.body, one("sp_command/"+id, id))
			if p.isOn() != on {
				t.Errorf("%s is %v, want %v", id, p.isOn(), on)
			}
		}
	}
}

// collected is a channel of what comes on some filters; what nobody takes is lost.
func (s *site) collected(t *testing.T, name string, filters ...string) <-chan bus.Message {
	t.Helper()
	heard := make(chan bus.Message, 1000)
	s.client(name, func(ctx context.Context, session *bus.Session) error {
		for _, filter := range filters {
			err := session.Subscribe(ctx, filter, func(m bus.Message) {
				select {
				case heard <- m:
				default:
				}
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return heard
}

// await gives the first message that is meant.
func await(t *testing.T, heard <-chan bus.Message, what string, meant func(bus.Message) bool) bus.Message {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case m := <-heard:
			if meant(m) {
				return m
			}
		case <-deadline:
			t.Fatalf("not heard: %s", what)
		}
	}
}

func showsReadings(t *testing.T, f *former) {
	heard := f.collected(t, "old-hook", "data/+/influx_data/#")
	m := await(t, heard, "a batch with a complete reading", func(m bus.Message) bool {
		text := string(m.Payload)
		return strings.HasPrefix(m.Topic, "data/"+gatewayName+"/influx_data/sp/") && (strings.Contains(text, "sp_g3/") || strings.Contains(text, "sp_w.r0.c0/"))
	})
	checkBatch(t, m.Topic, string(m.Payload))
}

func showsCopies(t *testing.T, f *former) {
	from := time.Now().Unix()
	for _, database := range []string{"sp", "other"} {
		eventually(t, 20*time.Second, "a new reading is in "+database, func() bool {
			a := f.rest(fmt.Sprintf("/api/out/influx_query/%s/power?operation=count&id=sp_g3&from=%d", database, from))
			return a.status == http.StatusOK && strings.Contains(a.body, `"v"`)
		})
	}
	f.publish(f.agent, "data/sp_data/influx_data/third", `{"data":[{"bn":"sp_g7/power","bu":"W","t":1593599018,"v":3}]}`)
	eventually(t, 20*time.Second, "an agent's own second database", func() bool {
		return strings.Contains(f.rest("/api/out/influx_query/third/power?id=sp_g7").body, `"v":3`)
	})
}

// The original: enter the MAC in ETCD, widen the range, restart. Here: make the
// place, put the plug there.
func showsAdding(t *testing.T, f *former) {
	_, mac := hs110test.Identity(f.ranged[newcomer].Address())
	f.wattline(t, "devices", "create", "sp_m1", "--gateway", gatewayName)
	f.wattline(t, "plugs", "place", mac, "sp_m1")
	f.polled(t, "power", "sp_m1", f.watts[newcomer])
}

func showsMock(t *testing.T, _ *former) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	cmd := exec.CommandContext(ctx, program("plugsim"), "-floors", "1", "-rows", "1", "-columns", "1", "-rooms", "0", "-printers", "0", "-numbered", "-list")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = cmd.Wait()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	fields := strings.Fields(line)
	if err != nil || len(fields) != 4 {
		t.Fatalf("plugsim lists %q: %v", line, err)
	}
	var answer struct {
		Emeter struct {
			Realtime map[string]any `json:"get_realtime"`
		}
		System struct {
			Info map[string]any `json:"get_sysinfo"`
		}
	}
	text := askPlug(t, fields[1], `{"emeter":{"get_realtime":{}},"system":{"get_sysinfo":{}}}`)
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	_, old := answer.Emeter.Realtime["power"]
	_, milli := answer.Emeter.Realtime["power_mw"]
	if old == milli || answer.System.Info["mac"] != fields[3] || answer.System.Info["relay_state"] == nil {
		t.Errorf("no power, MAC and relay as the original reads them: %s", text)
	}
	for _, state := range []string{"1", "0"} {
		askPlug(t, fields[1], `{"system":{"set_relay_state":{"state":`+state+`}}}`)
		if text := askPlug(t, fields[1], `{"system":{"get_sysinfo":{}}}`); !strings.Contains(text, `"relay_state":`+state) {
			t.Errorf("after setting it to %s: %s", state, text)
		}
	}
}
