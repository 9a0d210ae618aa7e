package registry_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wattline/wattline/cloud/registry"
)

func TestSampleInventoryIsValid(t *testing.T) {
	if _, err := registry.Load("../../docs/samples/inventory.yaml"); err != nil {
		t.Error(err)
	}
}

func load(t *testing.T, text string) error {
	t.Helper()
	name := filepath.Join(t.TempDir(), "inventory.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := registry.Load(name)
	return err
}

func TestAllMistakesOfAnInventoryAreTold(t *testing.T) {
	const head = "site: {default_floor: 1}\ngateways: [{id: f1, floor: 1}, {id: f2, floor: 2}]\n"
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"nothing but a key":     {"site:\n", []string{"site.default_floor: required", "gateways: required"}},
		"unknown key":           {head + "plases: []\n", []string{"unknown key plases (line 3)"}},
		"ids that do not parse": {head + "places:\n  - {device: sp_f01.g1, address: a}\n  - {device: w.r1.c1, address: b}\n", []string{"places[0].device (line 4)", "places[1].device (line 5)"}},
		"twice":                 {head + "places: [{device: sp_f1.g1, address: a}, {device: sp_f1.g1, address: b}]\n", []string{"places[1] (line 3): sp_f1.g1 is there twice, first at places[0]"}},
		"two spellings": {
			head + "places: [{device: sp_f1.g1, address: a}, {device: sp_g1, address: b}]\n",
			[]string{"places[1] (line 3): sp_g1 is the same place as sp_f1.g1 at places[0]"},
		},
		"one plug at two places": {
			head + "places:\n  - {device: sp_f1.g1, address: a, mac: 'AC:84:C6:59:D9:A1', device_id: 8006E8E9017F556D283C850B4E29BC1F185334E5}\n" +
				"  - {device: sp_f2.g1, address: a, mac: ac-84-c6-59-d9-a1, device_id: 8006e8e9017f556d283c850b4e29bc1f185334e5}\n",
			[]string{"places[1].mac (line 5): AC:84:C6:59:D9:A1 is at places[0].mac already", "places[1].device_id (line 5)"},
		},
		"one address at two places": {head + "places: [{device: sp_f1.g1, address: a}, {device: sp_f1.g2, address: a}]\n", []string{"places[1].address (line 3): a is at places[0].address already"}},
		"malformed": {
			head + "places: [{device: sp_f1.g1, address: 'a b', mac: x, device_id: y, driver: '../x', max_power: -1, poll: 1ms, label: \"a\\nb\"}]\n",
			[]string{"places[0].address", "places[0].mac", "places[0].device_id", "places[0].driver", "places[0].max_power", "places[0].poll", "places[0].label"},
		},
		"malformed, and nobody knows where": {
			head + "places: [{device: g1, gateway: f9, address: 'a b', mac: x, device_id: y, driver: '../x', max_power: -1, poll: 1ms, label: \"a\\nb\"}]\n",
			[]string{"places[0].device", "places[0].gateway", "places[0].address", "places[0].mac", "places[0].device_id", "places[0].driver", "places[0].max_power", "places[0].poll", "places[0].label"},
		},
		"a gateway id that the gateway itself would refuse": {"site: {default_floor: 1}\ngateways: [{id: 1f, floor: 1}]\n", []string{"gateways[0].id"}},
		"addresses": {
			head + "places: [{device: sp_f1.g1}, {device: sp_f1.g2, address: 'a:0'}, {device: sp_f1.g3, address: 'http://x'}, {device: sp_f1.g4, address: '-x'}]\n",
			[]string{"places[0].address: required", "places[1].address", "places[2].address", "places[3].address"},
		},
		"gateways": {
			"site: {default_floor: 1, time_zone: Mars}\ngateways: [{id: f1}, {id: 'f/1', floor: 1}, {id: f1, floor: 1, poll: 10ms, stagger: 2h, database: wattline}, {id: f2, floor: 1}]\n" +
				"places: [{device: sp_f1.g1, address: a}, {device: sp_f1.g2, gateway: f9, address: b}, {device: sp_f7.g2, address: b}, {device: sp_f7.g3, gateway: f2, address: b}]\n",
			[]string{
				"site.time_zone", "gateways[0].floor: required", "gateways[1].id", "gateways[2].id (line 2): f1 is there twice", "gateways[2].poll", "gateways[2].stagger",
				"gateways[2].database", "places[1].gateway (line 3): \"f9\" is not in gateways", "places[2].gateway: there is no gateway on floor 7",
				"places[3].gateway (line 3): f2 is on floor 1, the place on floor 7",
			},
		},
		"series": {
			head + "series:\n  - {first: sp_f1.g0, rows: 2, columns: 2, first_address: 10.0.0.1}\n  - {first: sp_f1.w.r0.c0, count: 2, first_address: 10.0.0.1}\n" +
				"  - {first: sp_f1.g0, count: 2, first_address: x}\n  - {first: sp_f1.g999999, count: 2, first_address: 10.0.1.1}\n" +
				"  - {first: sp_f1.p0, count: 2, first_address: 255.255.255.255}\n  - {count: 1}\n  - {first: sp_f1.q0, count: 99999999, first_address: 10.0.0.1}\n" +
				"  - {first: sp_f1.w.r0.c0, rows: 4000000000, columns: 4000000000, first_address: 10.0.0.1}\n",
			[]string{"series[0]", "series[1]", "series[2].first_address", "series[3]", "series[4]", "series[5].first", "series[6]", "series[7]"},
		},
		"a series and itself again": {
			head + "series: [{first: sp_f1.g0, count: 3, first_address: 10.0.0.1}]\nplaces:\n  - {device: sp_f1.g1}\n  - {device: sp_f1.g1}\n  - {device: sp_f1.g2, address: 10.0.0.9}\n  - {device: sp_f1.g0, gateway: f2}\n",
			[]string{"places[1] (line 6): sp_f1.g1 is there twice, first at places[0]", "places[2] (line 7): sp_f1.g2 is there twice, first at series[0]", "places[3].gateway"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := load(t, c.text)
			if err == nil {
				t.Fatal("taken")
			}
			for _, want := range c.want {
				key, rest, _ := strings.Cut(want, ":")
				found := false
				for line := range strings.Lines(err.Error()) {
					found = found || strings.Contains(line, key) && strings.Contains(line, strings.TrimSpace(rest))
				}
				if !found {
					t.Errorf("missing %q in\n%v", want, err)
				}
			}
		})
	}
}

func FuzzInventory(f *testing.F) {
	f.Add([]byte(small))
	sample, err := os.ReadFile("../../docs/samples/inventory.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample)
	f.Fuzz(func(t *testing.T, text []byte) {
		name := filepath.Join(t.TempDir(), "inventory.yaml")
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		inventory, err := registry.Load(name)
		if err == nil && inventory.Validate() != nil {
			t.Error("valid once, not twice")
		}
	})
}
