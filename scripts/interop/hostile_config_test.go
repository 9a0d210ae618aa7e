package interop_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// wrong is a program's file with mistakes, and what must be said of each.
type wrong struct {
	program   string
	text      string   // the program's own file; DATA is its data directory
	inventory string   // of the cloud
	told      []string // key and words, in one line of the message
}

var wrongs = map[string]wrong{
	"the cloud's file": {
		program: "wattline-cloud", text: `
data: ""
dta: x
broker: {listen: "0.0.0.0:1883", max_clients: 1, whatever: 3}
influx: {url: "ftp://x"}
http: {listen: nonsense, body_limit: -1, answer_timeout: 12, connections: many}
sp_command: {deadline: 3h}
registry: {inventory: ""}
copies: {sp: [wattline]}
mqtt: {url: "http://x"}
iotoad: {nanoseconds: perhaps}
influxd: {address: x}
`,
		told: []string{
			"data required", "dta known here broker", "broker.whatever known here listen", "broker.listen loopback", "broker.max_clients less than 10", "influx.url http://host:port",
			"http.listen host:port 127.0.0.1:8080", "http.body_limit from 1024 to", "http.answer_timeout 10s", "http.connections number", "sp_command.deadline 1s to 5m",
			"copies.sp wattline", "mqtt.url tcp://", "iotoad.nanoseconds true or false", "influxd.address 127.0.0.1:port",
		},
	},
	"the inventory": {
		program: "wattline-cloud", text: "data: DATA\nregistry: {inventory: INVENTORY}\n", inventory: `
site: {default_floor: 1, time_zone: Mars/Phobos, city: x}
gateways:
  - {id: Edge F1, floor: 1, poll: 10ms}
  - {id: edge-f2, floor: 2, poll: 5, stagger: 2h, database: wattline}
series:
  - {first: sp_w.r0.c0, rows: 0, columns: 5, first_address: 10.1.1.1}
places:
  - {device: sp_f2.w.r01.c0}
  - {device: nonsense, gateway: edge-f9, address: "10.0.0.1:99999", driver: "x y", mac: zz, device_id: 1, max_power: -1, poll: 1ms}
  - {device: sp_f2.g1, address: 10.0.0.1, colour: red}
  - {device: sp_f2.g1, address: 10.0.0.2}
  - {device: sp_f7.g1, address: 10.0.0.3}
`,
		told: []string{
			"site.city known here default_floor", "site.time_zone Europe/Madrid", "gateways[0].id lower-case", "gateways[0].poll 1s", "gateways[1].poll 10s", "gateways[1].stagger 1m", "gateways[1].database wattline",
			"series[0] rows and columns", "places[0].device leading zeros", "places[1].device malformed device id", "places[1].gateway not in gateways", "places[1].address host:port", "places[1].driver hs110",
			"places[1].mac AC:84", "places[1].device_id 40 hex", "places[1].max_power 0 to", "places[1].poll 1s", "places[2].colour known here address", "places[3] twice", "places[4] no gateway on floor 7",
		},
	},
	"the gateway's file": {
		program: "wattline-edge", text: `
gateway: Edge F1
dat: x
data: [1]
broker: {url: "http://x", user: y}
outbox: {limit_bytes: 1, min_free_bytes: -1, path: "", size: 3}
status: {listen: "0.0.0.0:80"}
clock: gps
catch_up_readings_per_second: -1
`,
		told: []string{
			"gateway lower-case edge-f2", "dat known here broker", "data want text", "broker.url tcp://", "broker.user known here password", "outbox.limit_bytes 1 MiB", "outbox.min_free_bytes negative",
			"outbox.path required", "outbox.size known here", "status.listen loopback", "clock system, ntp", "catch_up_readings_per_second negative",
		},
	},
	"a file that is no YAML":    {program: "wattline-edge", text: "gateway: [edge\n", told: []string{"not YAML"}},
	"an empty file":             {program: "wattline-cloud", text: "", told: []string{"no settings"}},
	"a file of something else":  {program: "wattline-edge", text: "\x7fELF\x02\x01\x01\x00\x00", told: []string{"YAML"}},
	"aliases that blow up":      {program: "wattline-cloud", text: bomb(), told: []string{"aliases"}},
	"a key there twice":         {program: "wattline-edge", text: "gateway: edge-f1\ngateway: edge-f2\n", told: []string{"gateway twice"}},
	"an inventory not there":    {program: "wattline-cloud", text: "data: DATA\nregistry: {inventory: DATA/nothing.yaml}\n", told: []string{"nothing.yaml no such file"}},
	"a secret's file not there": {program: "wattline-edge", text: "gateway: edge-f1\ndata: DATA\nbroker: {password: {file: DATA/secret}}\n", told: []string{"broker.password no such file"}},
}

// bomb is a small YAML file that aliases make very large.
func bomb() string {
	var b strings.Builder
	b.WriteString("copies: &a0 {x: [a, a, a, a, a, a, a, a, a, a]}\n")
	last := "a0"
	for _, next := range []string{"a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8"} {
		b.WriteString(next + ": &" + next + " [" + strings.TrimSuffix(strings.Repeat("*"+last+", ", 10), ", ") + "]\n")
		last = next
	}
	return b.String() + "data: [*a8]\ncopies2: {x: [*a8]}\n"
}

// TestWrongConfigurations: every mistake is told at once, by key, with what is
// allowed; the exit code is 1, and nothing was started.
func TestWrongConfigurations(t *testing.T) {
	t.Parallel()
	for name, w := range wrongs {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			data, file, inventory := filepath.Join(dir, "data"), filepath.Join(dir, "config.yaml"), filepath.Join(dir, "inventory.yaml")
			for path, text := range map[string]string{file: w.text, inventory: w.inventory} {
				text = strings.NewReplacer("DATA", data, "INVENTORY", inventory).Replace(text)
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			code, said := runToEnd(t, w.program, "-config", file)
			if code != 1 {
				t.Errorf("exit code %d", code)
			}
			for _, want := range w.told {
				key, words, _ := strings.Cut(want, " ")
				if !saidOf(said, key, words) {
					t.Errorf("not told: %s: %s", key, words)
				}
			}
			if strings.Contains(said, `"level"`) || strings.Contains(said, "goroutine ") {
				t.Error("something was started, or panicked")
			}
			if _, err := os.Stat(data); err == nil {
				t.Error("a data directory was made")
			}
			if t.Failed() {
				t.Log(said)
			}
		})
	}
}

func TestWrongArguments(t *testing.T) {
	for _, args := range [][]string{
		{"wattline-cloud", "-roles", "api,hoks"},
		{"wattline-cloud", "--nonsense"},
		{"wattline-edge", "--nonsense"},
		{"wattline-edge", "edge.yaml"},
		{"wattline-cloud", "-config", "/nowhere"},
		{"wattline-cloud", "-config", "/"},
	} {
		if code, said := runToEnd(t, args[0], args[1:]...); code != 1 || len(said) < 20 {
			t.Errorf("%v: exit code %d, %s", args, code, said)
		}
	}
}

// saidOf tells whether a line names the key and has all the words of what is
// allowed.
func saidOf(said, key, words string) bool {
	for line := range strings.Lines(said) {
		all := strings.Contains(line, key)
		for word := range strings.FieldsSeq(words) {
			all = all && strings.Contains(line, word)
		}
		if all {
			return true
		}
	}
	return false
}

func runToEnd(t *testing.T, name string, args ...string) (code int, said string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, program(name), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.TempDir(), &out, &out
	_ = cmd.Run() // the exit code says it
	return cmd.ProcessState.ExitCode(), out.String()
}
