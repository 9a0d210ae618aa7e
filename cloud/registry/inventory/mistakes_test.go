package inventory_test

import (
	"strings"
	"testing"

	"github.com/wattline/wattline/cloud/registry/inventory"
	"github.com/wattline/wattline/shared/contract"
)

const head = "site: {default_floor: 1}\ngateways: [{id: f1, floor: 1}, {id: f2, floor: 2}]\n"

// mistaken checks that text is refused with each of want, a text that is
// somewhere in the mistake's sentence.
func mistaken(t *testing.T, now inventory.Records, format, text string, want ...string) *contract.Problem {
	t.Helper()
	plan, problem := take(now, format, text, false)
	if problem == nil {
		t.Fatalf("taken:\n%v", plan.Difference.String())
	}
	if plan != nil {
		t.Error("there is a plan in spite of the problem")
	}
	all := problem.Detail + "\n" + told(problem)
	for _, w := range want {
		if !strings.Contains(all, w) {
			t.Errorf("missing %q in\n%s", w, all)
		}
	}
	return problem
}

func TestMistakesOfYAMLAreToldWithTheirLines(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"a gateway named like the site": {
			"site: {default_floor: 1}\ngateways: [{id: site, floor: 1}]\nplaces: [{device: sp_f1.g1, gateway: site}]\n",
			[]string{"gateways[0]", "what alerts call the whole site", "places[0].gateway"},
		},
		"a key without a value": {head + "places: [{device: sp_f1.g1, owner: null}]\n", []string{"places[0].owner (line 3): has no value"}},
		"nothing":               {"", []string{"no settings in it"}},
		"not YAML":              {"site: {\n", []string{"not YAML"}},
		"no site":               {"places: [{device: sp_f1.g1}]", []string{"site.default_floor"}},
		"a site without floor":  {"site: {name: x}\n", []string{"site.default_floor (line 1): required"}},
		"unknown keys":          {head + "plases: []\nplaces: []\n", []string{"unknown key plases", "line 3"}},
		"unknown key of place":  {head + "places:\n  - device: sp_f1.g1\n    lable: x\n", []string{"places[0].lable (line 5): unknown key; known here: device, gateway"}},
		"ids that do not parse": {head + "places:\n  - {device: sp_f01.g1, address: a}\n  - {device: w.r1.c1, address: b}\n", []string{"places[0].device (line 4)", "places[1].device (line 5)"}},
		"twice": {
			head + "places: [{device: sp_f1.g1, address: a}, {device: sp_f1.g1, address: b}]\n",
			[]string{"places[1].device (line 3): sp_f1.g1 is there twice, first at places[0]"},
		},
		"two spellings": {
			head + "places: [{device: sp_f1.g1, address: a}, {device: sp_g1, address: b}]\n",
			[]string{"places[1].device (line 3): sp_g1 is there twice, first at places[0], the same place: floor 1"},
		},
		"one plug at two places": {
			head + "places:\n  - {device: sp_f1.g1, address: a, mac: 'AC:84:C6:59:D9:A1', device_id: 8006E8E9017F556D283C850B4E29BC1F185334E5}\n" +
				"  - {device: sp_f2.g1, address: a, mac: ac-84-c6-59-d9-a1, device_id: 8006e8e9017f556d283c850b4e29bc1f185334e5}\n",
			[]string{"places[1].mac (line 5): AC:84:C6:59:D9:A1 is at sp_f1.g1 too (places[0]), and would be at sp_f2.g1", "places[1].device_id (line 5)"},
		},
		"one address at two places": {
			head + "places: [{device: sp_f1.g1, address: a}, {device: sp_f1.g2, address: a}]\n",
			[]string{"places[1].address (line 3): a is at sp_f1.g1 too"},
		},
		"malformed": {
			head + "places: [{device: sp_f1.g1, address: 'a b', mac: x, device_id: y, driver: '../x', max_power: -1, poll: 1ms, label: \"a\\tb\", protected: 'no', predecessor: g1}]\n",
			[]string{
				"places[0].address", "places[0].mac", "places[0].device_id", "places[0].driver", "places[0].max_power", "places[0].poll", "places[0].label",
				`places[0].protected (line 3): "no" is no reason`, "places[0].predecessor",
			},
		},
		"malformed, and nobody knows where": {
			head + "places: [{device: g1, address: 'a b', mac: x}]\n",
			[]string{"places[0].device", "places[0].address", "places[0].mac"},
		},
		"addresses": {
			head + "places: [{device: sp_f1.g2, address: 'a:0'}, {device: sp_f1.g3, address: 'http://x'}, {device: sp_f1.g4, address: '-x'}]\n",
			[]string{"places[0].address", "places[1].address", "places[2].address"},
		},
		"gateways": {
			"site: {default_floor: 1, time_zone: Mars}\ngateways: [{id: f1}, {id: 'f/1', floor: 1}, {id: f1, floor: 1, poll: 10ms, stagger: 2h, database: wattline}, {id: f2, floor: 1}]\n" +
				"places: [{device: sp_f1.g1, address: a}, {device: sp_f1.g2, gateway: f9, address: b}, {device: sp_f7.g2, address: b}, {device: sp_f7.g3, gateway: f2, address: b}]\n",
			[]string{
				"site.time_zone", "gateways[0].floor (line 2): required", "gateways[1].id", "gateways[2].id (line 2): f1 is there twice", "gateways[2].poll", "gateways[2].stagger",
				"gateways[2].database", "places[1].gateway (line 3): \"f9\" of sp_f1.g2 is not in gateways", "places[2].gateway (line 3): sp_f7.g2 is on floor 7, and there is no gateway",
				"places[3].gateway (line 3): f2 is on floor 1, the place sp_f7.g3 on floor 7",
			},
		},
		"series": {
			head + "series:\n  - {first: sp_f1.g0, rows: 2, columns: 2, first_address: 10.0.0.1}\n  - {first: sp_f1.w.r0.c0, count: 2, first_address: 10.0.0.1}\n" +
				"  - {first: sp_f1.g0, count: 2, first_address: x}\n  - {first: sp_f1.g999999, count: 2, first_address: 10.0.1.1}\n" +
				"  - {first: sp_f1.p0, count: 2, first_address: 255.255.255.255}\n  - {count: 1}\n  - {first: sp_f1.q0, count: 99999, first_address: 10.0.0.1}\n" +
				"  - {first: sp_f1.w.r0.c0, rows: 999999, columns: 999999, first_address: 10.0.0.1}\n  - {first: sp_f1.v0, count: 1}\n",
			[]string{
				"series[0] (line 4)", "series[1] (line 5)", "series[2].first_address (line 6)", "series[3]", "series[4] (line 8)", "series[5].first", "series[6]", "series[7]",
				"series[8].first_address (line 12): required",
			},
		},
		"a series and itself again": {
			head + "series: [{first: sp_f1.g0, count: 3, first_address: 10.0.0.1, gateway: f1}]\nplaces:\n  - {device: sp_f1.g1}\n  - {device: sp_f1.g1}\n" +
				"  - {device: sp_f1.g2, address: 10.0.0.9}\n  - {device: sp_f1.g0, gateway: f2}\n",
			[]string{
				"places[3].gateway (line 8): series[0] says that sp_f1.g0 is at f1",
			},
		},
		"a series and itself again, without its gateway": {
			head + "series: [{first: sp_f1.g0, count: 3, first_address: 10.0.0.1}]\nplaces:\n  - {device: sp_f1.g1}\n  - {device: sp_f1.g1}\n" +
				"  - {device: sp_f1.g2, address: 10.0.0.9}\n",
			[]string{"places[1].device (line 6): sp_f1.g1 is there twice, first at places[0]", "places[2].device (line 7): sp_f1.g2 is there twice, first at series[0]"},
		},
	} {
		t.Run(name, func(t *testing.T) { mistaken(t, inventory.Records{}, inventory.YAML, c.text, c.want...) })
	}
}

func TestMistakesOfCSVAreToldWithTheirLinesAndColumns(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"nothing":              {"", []string{"the file is empty"}},
		"only blanks":          {"\n  \n,,\n", []string{"the file is empty"}},
		"no header":            {"sp_f1.g1,10.1.1.1\n", []string{"line 1: the first line must name the columns"}},
		"unknown columns":      {"device;Etage;lable\n", []string{"Etage (line 1): no such column; there are device, gateway", "lable (line 1)"}},
		"a column twice":       {"device,MAC,mac\n", []string{"mac (line 1): the column is there twice"}},
		"no device":            {"mac,label\n", []string{"device (line 1): the column is required"}},
		"cells":                {"device,mac,label\nsp_f1.g1,,a,b\n\nsp_f1.g2,\n", []string{"line 2: 4 cells, and the header names 3", "line 4: 2 cells"}},
		"quotes":               {"device,label\nsp_f1.g1,a\"b\"\nsp_f1.g2,c\nsp_f1.g3,\"d\n", []string{"line 2, character", "line 4"}},
		"behind quoted breaks": {"device,label,mac\r\nsp_f1.g1,\"a\r\nb\r\nc\",\r\nsp_f1.g2,\"x\r\ny\",zz\r\n", []string{`mac (line 6): "zz" is not a MAC`}},
		"a cell of its own":    {"device,label,mac\nsp_f1.g2,\"x\ny\",zz\n", []string{`mac (line 3): "zz"`}},
		"without an id":        {"device,mac\n,x\n", []string{"device (line 2): required", "mac (line 2)"}},
		"not UTF-8":            {"device,label\nsp_f1.g1,caf\xe9\n", []string{"line 2: not UTF-8"}},
		"UTF-16":               {"\xff\xfed\x00e\x00", []string{"UTF-16"}},
		"zeros":                {"device\x00\n", []string{"line 1: not UTF-8"}},
		"a protection as a checkbox": {
			"device,protected\nsp_f1.g0,no\nsp_f1.g1,TRUE\n",
			[]string{`protected (line 2): "no" is no reason`, `protected (line 3): "TRUE" is no reason`},
		},
		"no gateway": {"device\nsp_f9.g0\n", []string{"gateway (line 2): sp_f9.g0 is on floor 9, and there is no gateway"}},
		"numbers":    {"device,max_power,poll\nsp_f1.g0,NaN,10\nsp_f1.g1,1e9,25h\n", []string{"max_power (line 2)", "poll (line 2): \"10\" has no unit", "max_power (line 3)", "poll (line 3)"}},
	} {
		t.Run(name, func(t *testing.T) { mistaken(t, house(t), inventory.CSV, c.text, c.want...) })
	}
}

func TestSpreadsheetsAreUnderstood(t *testing.T) {
	for name, text := range map[string]string{
		"as Excel writes it":        "\xef\xbb\xbfDevice;MAC;Label\r\nsp_f1.g1;ac84c659d9b1;\"a; \"\"b\"\"\"\r\n",
		"with tabs":                 "device\tmac\tlabel\nsp_f1.g1\tAC-84-C6-59-D9-B1\t\"a; \"\"b\"\"\"\n",
		"saying its delimiter":      "sep=;\r\ndevice;mac;label;;\r\n\r\nsp_f1.g1; ac:84:c6:59:d9:b1 ;\"a;\r\n \"\"b\"\"\";;\r\n;;;;\r\n",
		"of an old Macintosh":       "ID,Mac,LABEL\rsp_f1.g1,ac84.c659.d9b1,\"a; \"\"b\"\"\"\r",
		"without a line at the end": "label,device,mac\n\"a; \"\"b\"\"\",sp_f1.g1,ac84.c659.d9b1",
	} {
		t.Run(name, func(t *testing.T) {
			plan := mustTake(t, house(t), inventory.CSV, text, false)
			if len(plan.Added) != 1 {
				t.Fatalf("added %v", plan.Added)
			}
			for _, p := range plan.Records.Places {
				if p.Device.String() == "sp_f1.g1" && (p.MAC != "AC:84:C6:59:D9:B1" || strings.ReplaceAll(p.Label, ";  ", "; ") != `a; "b"`) {
					t.Errorf("got %+v", p)
				}
			}
		})
	}
}

func TestConflictsWithTheRegistryAreConflicts(t *testing.T) {
	for name, c := range map[string]struct {
		format, text string
		want         string
	}{
		"a plug that is elsewhere": {inventory.CSV, "device,mac\nsp_f1.g1," + macA + "\n", "mac (line 2): " + macA + " is at sp_f1.g0 too (the registry), and would be at sp_f1.g1: a plug has one place"},
		"another spelling":         {inventory.CSV, "device\nsp_f1.w.r1.c1\n", "device (line 2): sp_f1.w.r1.c1 is registered as sp_w.r1.c1, the same place"},
		"another default floor":    {inventory.YAML, "site: {default_floor: 2}\n", "site.default_floor (line 1): it is 1 and is set once"},
	} {
		t.Run(name, func(t *testing.T) {
			if p := mistaken(t, house(t), c.format, c.text, c.want); p.Kind != contract.Conflict {
				t.Errorf("it is %s, want a conflict", p.Kind)
			}
		})
	}
}

func TestMistakesAreCountedAndBounded(t *testing.T) {
	p := mistaken(t, house(t), inventory.CSV, "device\n"+strings.Repeat("x\n", 5000), "the file has 5000 mistakes, the first 100 are told")
	if got := len(p.Mistakes); got != inventory.MaxMistakes {
		t.Errorf("%d are told", got)
	}
	mistaken(t, house(t), inventory.CSV, strings.Repeat("x", inventory.MaxBytes+1), "import it in parts")
	mistaken(t, house(t), inventory.CSV, "device\n"+strings.Repeat("sp_f1.g1\n", inventory.MaxPlaces+1), "more than 50000 places")
	bomb := "series:\n" + strings.Repeat("  - {first: sp_f1.g0, count: 9999, first_address: 10.0.0.1}\n", 50_000)
	mistaken(t, house(t), inventory.YAML, bomb, "more than 50000 places in the file")
	mistaken(t, house(t), "xls", "", "csv, yaml and etcd")
}
