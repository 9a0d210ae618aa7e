package interop_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

// packages installs the npm packages that package-lock.json pins, once, and
// gives the directory they are in.
func packages(t *testing.T) string {
	t.Helper()
	needLong(t, "it needs npm and packages of others")
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not installed (with Node.js 20 or later): without it there is nobody to talk to")
	}
	dir, err := filepath.Abs("../../.cache/interop")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	fresh := false
	for _, name := range []string{"package.json", "package-lock.json", "sim.js"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		old, _ := os.ReadFile(filepath.Join(dir, name))
		fresh = fresh || string(old) != string(text)
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json")); err == nil && !fresh {
		return dir
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = dir
	if text, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, text)
	}
	return dir
}

// kasa runs the command line of tplink-smarthome-api and gives its output.
func kasa(t *testing.T, dir string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", append([]string{"node_modules/.bin/tplink-smarthome-api", "-c", "off"}, args...)...)
	cmd.Dir = dir
	begin := time.Now()
	text, err := cmd.CombinedOutput()
	if took := time.Since(begin); took > 5*time.Second {
		t.Logf("tplink-smarthome-api %s took %v", strings.Join(args, " "), took)
	}
	if err != nil {
		t.Errorf("tplink-smarthome-api %s: %v\n%s", strings.Join(args, " "), err, text)
	}
	return string(text)
}

// field is the value of a key in an answer, which is printed as JavaScript.
func field(text, key string) string {
	m := regexp.MustCompile(`\b` + key + `'?: '?([^',\n}]*)`).FindStringSubmatch(text)
	if m == nil {
		return "no " + key
	}
	return m[1]
}

// TestOurGatewayAndPlugsOfOthers: a gateway reads and switches plugs of both
// forms that tplink-smarthome-simulator has of an HS110.
func TestOurGatewayAndPlugsOfOthers(t *testing.T) {
	dir := packages(t)
	ip := loopback(t)
	hosts := []string{ip + ":9999", ip + ":9998"}
	sim := run(t, "sim.js", filepath.Join(t.TempDir(), "sim.log"), "node", filepath.Join(dir, "sim.js"), "hs110@"+hosts[0], "hs110v2@"+hosts[1])
	eventually(t, 20*time.Second, "the simulator is ready", func() bool { return sim.alive() && strings.Contains(sim.output(), "ready") })
	places := ""
	for i, host := range hosts { // identity in capitals: theirs has none
		places += fmt.Sprintf("\n  - {device: sp_g%d, gateway: edge-f1, address: %q, mac: \"0A:00:00:00:00:0%d\", device_id: %q}", i, host, i+1, strings.Repeat(fmt.Sprint(i+1), 40))
	}
	s := newSite(t, layout{places: places + "\n"})

	// What its meter always says, whatever hangs on it.
	for measurement, want := range map[string]string{"power": "3.14", "voltage": "122", "current": "0.125", "energy": "51493", "status": "0"} {
		for _, id := range []string{"sp_g0", "sp_g1"} {
			path := "/api/v1/readings?operation=last&measurement=" + measurement + "&id=" + id
			got := regexp.MustCompile(`"value":([0-9.]+)`)
			var a answer
			eventually(t, 20*time.Second, path, func() bool { a = s.rest(path); return got.MatchString(a.body) })
			if v := got.FindStringSubmatch(a.body)[1]; !strings.HasPrefix(v, want) {
				t.Errorf("%s of %s is %s, want %s: %v", measurement, id, v, want, a)
			}
		}
	}
	for i, host := range hosts {
		for _, on := range []bool{false, true, true, false} {
			path := fmt.Sprintf("/api/v1/devices/sp_g%d/relay", i)
			if a := s.do(http.MethodPut, path, fmt.Sprintf(`{"on": %v}`, on)); a.status != http.StatusOK || !strings.Contains(a.body, "confirmed") {
				t.Errorf("PUT %s %v: %v", path, on, a)
			}
			want := map[bool]string{false: "0", true: "1"}[on]
			if got := field(kasa(t, dir, "getSysInfo", host), "relay_state"); got != want {
				t.Errorf("after %v their client sees relay_state %s", on, got)
			}
		}
	}
	v, err := s.page()
	if err != nil || v.Status.Plugs.Reachable != 2 || len(v.Status.Plugs.Suspects) > 0 {
		t.Errorf("the gateway's own view: %+v, %v", v.Status.Plugs, err)
	}
	if out := strings.TrimSpace(sim.output()); out != "ready" {
		t.Errorf("the simulator says:\n%s", out)
	}
}

// TestOurPlugsAndAClientOfOthers: the command line of tplink-smarthome-api
// reads, switches and discovers our plugs, of each hardware version.
func TestOurPlugsAndAClientOfOthers(t *testing.T) {
	dir := packages(t)
	versions := []hs110test.Hardware{hs110test.HW1, hs110test.HW2, hs110test.HW4}
	next := 0
	fleet, err := hs110test.StartFleet(hs110test.FleetOptions{Rows: 1, Columns: 1, Rooms: 1, Printers: 1, Adjust: func(id device.ID, o *hs110test.Options) {
		o.DeviceID, o.MAC = hs110test.Identity(fmt.Sprint("interop", os.Getpid(), id)) // clients tell plugs by it, and another fleet may be running
		o.Hardware = versions[next%len(versions)]
		o.Off = false
		next++
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fleet.Close() })
	for i, p := range fleet.Plugs {
		t.Run(fmt.Sprintf("hardware %d", versions[i]), func(t *testing.T) { tryPlug(t, dir, p.Plug) })
	}
	t.Run("discovery", func(t *testing.T) {
		// Where other fleets run, theirs answer as well, and datagrams get lost.
		missing, found := len(fleet.Plugs), ""
		for try := 0; try < 4 && missing > 0; try++ {
			found += kasa(t, dir, "-t", "3000", "search", "--broadcast", "127.255.255.255")
			missing = 0
			for _, p := range fleet.Plugs {
				if host, _, _ := strings.Cut(p.Address(), ":"); !strings.Contains(found, " "+host+" ") || !strings.Contains(found, p.DeviceID()) {
					missing++
				}
			}
		}
		if missing > 0 {
			t.Errorf("%d of %d were not found:\n%.4000s", missing, len(fleet.Plugs), found)
		}
	})
}

func tryPlug(t *testing.T, dir string, p *hs110test.Plug) {
	host := p.Address()
	info := kasa(t, dir, "getSysInfo", host)
	if got := field(info, "deviceId"); got != p.DeviceID() {
		t.Errorf("deviceId %s, want %s:\n%s", got, p.DeviceID(), info)
	}
	if got := field(kasa(t, dir, "-u", "getSysInfo", host), "deviceId"); got != p.DeviceID() {
		t.Errorf("over UDP: deviceId %s, want %s", got, p.DeviceID())
	}
	for _, on := range []bool{false, true} {
		kasa(t, dir, "setPowerState", host, fmt.Sprint(on))
		if p.On() != on {
			t.Errorf("setPowerState %v changed nothing", on)
		}
		if got, want := field(kasa(t, dir, "getSysInfo", host), "relay_state"), map[bool]string{false: "0", true: "1"}[on]; got != want {
			t.Errorf("relay_state %s after %v", got, on)
		}
	}
	everything := kasa(t, dir, "getInfo", host)
	for _, part := range []string{"sysInfo", "emeter", "realtime", "schedule", "cloud"} {
		if !strings.Contains(everything, part) {
			t.Errorf("getInfo has no %s:\n%s", part, everything)
		}
	}
	for _, key := range []string{"power", "voltage", "current", "total"} {
		if got := field(kasa(t, dir, "sendCommand", host, `{"emeter":{"get_realtime":{}}}`), key+"(?:_mw|_mv|_ma|_wh)?"); got == "" || strings.HasPrefix(got, "no ") {
			t.Errorf("get_realtime: %s", got)
		}
	}
	for _, command := range []string{
		`{"time":{"get_time":{}}}`, `{"time":{"get_timezone":{}}}`, fmt.Sprintf(`{"emeter":{"get_daystat":{"year":%d,"month":%d}}}`, time.Now().Year(), time.Now().Month()),
		fmt.Sprintf(`{"emeter":{"get_monthstat":{"year":%d}}}`, time.Now().Year()),
	} {
		if got := kasa(t, dir, "sendCommand", host, command); !strings.Contains(got, "err_code: 0") {
			t.Errorf("%s: %s", command, got)
		}
	}
	if got := kasa(t, dir, "getModel", host); !strings.Contains(got, "HS110") {
		t.Errorf("getModel: %s", got)
	}
	const name = "Büro 三"
	kasa(t, dir, "setAlias", host, name)
	if got := field(kasa(t, dir, "getSysInfo", host), "alias"); got != name {
		t.Errorf("alias %q, want %q", got, name)
	}
}
