package inventory_test

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/registry/inventory"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

const (
	sample  = "../../../docs/samples/inventory.yaml"
	macA    = "AC:84:C6:59:D9:A1"
	macB    = "AC:84:C6:59:D9:A2"
	serialA = "8006E8E9017F556D283C850B4E29BC1F185334E5"
	serialB = "8006E8E9017F556D283C850B4E29BC1F185334E6"
)

// byText compares ids without looking inside.
var byText = cmp.Comparer(func(a, b device.ID) bool { return a == b })

func mustParse(t testing.TB, id string) device.ID {
	t.Helper()
	parsed, err := device.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// house is a site with two floors and a few places.
func house(t testing.TB) inventory.Records {
	t.Helper()
	return inventory.Records{
		Site: &inventory.Site{Name: "Example office", DefaultFloor: 1, TimeZone: "Europe/Madrid", Rows: 17},
		Gateways: []inventory.Gateway{
			{ID: "edge-f1", Label: "First floor", Floor: 1, Poll: 10 * time.Second, Stagger: 250 * time.Millisecond, Database: "sp"},
			{ID: "edge-f2", Floor: 2, Poll: 5 * time.Second, Database: "sp", Discovery: "broadcast, 10.2.0.0/22, 10.3.0.10-10.3.0.90"},
		},
		Places: []inventory.Place{
			{Device: mustParse(t, "sp_w.r1.c1"), Gateway: "edge-f1", Driver: "hs110", Address: "10.1.1.1", Label: `Ana "la jefa", mesa 1`, Owner: "a.ruiz"},
			{
				Device: mustParse(t, "sp_f1.g0"), Gateway: "edge-f1", Driver: "hs110", Address: "10.1.2.1:9999", DeviceID: serialA, MAC: macA,
				Label: "=1+1", Protected: "the switch; of the network", MaxPower: 1800.5, Poll: 30 * time.Second, Predecessor: mustParse(t, "sp_g9"),
			},
			{Device: mustParse(t, "sp_f2.p0"), Gateway: "edge-f2", Driver: "hs110", MAC: macB, Label: "'-Drucker ☃ yes"},
			{Device: mustParse(t, "sp_f2.p1"), Gateway: "edge-f2", Driver: "hs110"}, // nothing stands there
		},
	}
}

// take imports text into now.
func take(now inventory.Records, format, text string, remove bool) (*inventory.Plan, *contract.Problem) {
	f, problem := inventory.Parse(format, []byte(text))
	if problem != nil {
		return nil, problem
	}
	return inventory.Make(now, f, remove)
}

func mustTake(t *testing.T, now inventory.Records, format, text string, remove bool) *inventory.Plan {
	t.Helper()
	plan, problem := take(now, format, text, remove)
	if problem != nil {
		t.Fatalf("not taken: %s\n%s", problem.Detail, told(problem))
	}
	return plan
}

func told(p *contract.Problem) string {
	var b strings.Builder
	for _, m := range p.Mistakes {
		b.WriteString(inventory.Sentence(m) + "\n")
	}
	return b.String()
}

func TestWhatIsExportedImportsWithoutADifference(t *testing.T) {
	for _, format := range []string{inventory.CSV, inventory.YAML} {
		for _, remove := range []bool{false, true} {
			now := house(t)
			text, problem := inventory.Format(format, now)
			if problem != nil {
				t.Fatal(problem)
			}
			plan := mustTake(t, now, format, string(text), remove)
			if !plan.IsEmpty() {
				t.Errorf("%s, remove %v: importing the export would change\n%v%s", format, remove, plan.Difference.String(), text)
			}
			again, _ := inventory.Format(format, plan.Records)
			if diff := cmp.Diff(string(text), string(again)); diff != "" {
				t.Errorf("%s: second export differs (-first +second):\n%s", format, diff)
			}
		}
	}
}

func TestAnEmptySiteBecomesWhatWasExported(t *testing.T) {
	text, _ := inventory.Format(inventory.YAML, house(t))
	got := mustTake(t, inventory.Records{}, inventory.YAML, string(text), false)
	want := mustTake(t, house(t), inventory.YAML, "places: []", false).Records
	if diff := cmp.Diff(want, got.Records, byText); diff != "" {
		t.Errorf("records differ (-want +got):\n%s", diff)
	}
	if got, want := len(got.Added), 1+2+4; got != want {
		t.Errorf("%d records are added, want %d", got, want)
	}
}

func TestOddThingsInTheRegistryDoNotStopAnImport(t *testing.T) {
	now := house(t)
	now.Places[0].Label = " two\nlines " // nobody could write so into a file
	now.Places[0].MAC = macB             // of sp_f2.p0
	now.Places[2].Protected = "yes"
	now.Gateways[1].Floor = 7
	for _, format := range []string{inventory.CSV, inventory.YAML} {
		text, _ := inventory.Format(format, now)
		if plan := mustTake(t, now, format, string(text), false); !plan.IsEmpty() {
			t.Errorf("%s: importing the export would change\n%v", format, plan.Difference.String())
		}
	}
}

func TestAFileChangesOnlyWhatItSays(t *testing.T) {
	plan := mustTake(t, house(t), inventory.CSV, "Device,Label,max power\nsp_f1.g0,Sala,\nsp_f1.g1,Neu,60\n", false)
	want := "+ place sp_f1.g1\n    gateway: edge-f1\n    driver: hs110\n    label: Neu\n    max_power: 60\n" +
		"~ place sp_f1.g0\n    label: =1+1 -> Sala\n    max_power: 1800.5 -> (none)\n1 added, 1 changed, 0 removed, 6 unchanged\n"
	if got := plan.Difference.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := plan.Records.Places[len(plan.Records.Places)-1]; got.Device != mustParse(t, "sp_f2.p1") {
		t.Errorf("places are not in order: the last is %v", got.Device)
	}
}

func TestPlacesGoOnlyWhenAsked(t *testing.T) {
	const one = "device\nsp_f1.g0\n"
	if plan := mustTake(t, house(t), inventory.CSV, one, false); !plan.IsEmpty() {
		t.Errorf("without being asked it would change\n%v", plan.Difference.String())
	}
	plan := mustTake(t, house(t), inventory.CSV, one, true)
	if got, want := len(plan.Removed), 3; got != want || len(plan.Records.Places) != 1 || len(plan.Records.Gateways) != 2 {
		t.Errorf("removed %d, want %d; left %v", got, want, plan.Records)
	}
	_, problem := take(house(t), inventory.YAML, "gateways: [{id: edge-f1}]\n", true)
	if problem != nil {
		t.Errorf("a site with one gateway and no places: %s\n%s", problem.Detail, told(problem))
	}
	_, problem = take(house(t), inventory.YAML, "gateways: [{id: edge-f1}]\nplaces: [{device: sp_f2.p0}]\n", true)
	if problem == nil || !strings.Contains(told(problem), `places[0].gateway (line 2): "edge-f2" of sp_f2.p0 is not in gateways`) {
		t.Errorf("a place without its gateway: %v", problem)
	}
}

func TestPlugsChangePlacesWithinOneFile(t *testing.T) {
	now := house(t)
	plan := mustTake(t, now, inventory.CSV, "device;mac\nsp_f1.g0;"+macB+"\nsp_f2.p0;"+macA+"\n", false)
	for _, p := range plan.Records.Places {
		switch p.Device.String() {
		case "sp_f1.g0":
			if p.MAC != macB || p.DeviceID != "" {
				t.Errorf("sp_f1.g0 has %s %s, want %s and nothing of the plug before", p.MAC, p.DeviceID, macB)
			}
		case "sp_f2.p0":
			if p.MAC != macA {
				t.Errorf("sp_f2.p0 has %s, want %s", p.MAC, macA)
			}
		}
	}
}

func TestLoadReadsTheSample(t *testing.T) {
	r, err := inventory.Load(sample)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(r.Places), 17*5+6+17*5+1; got != want || len(r.Gateways) != 2 || r.Site.DefaultFloor != 1 {
		t.Errorf("%d places, want %d; gateways %v, site %v", got, want, r.Gateways, r.Site)
	}
	at := map[string]inventory.Place{}
	for _, p := range r.Places {
		at[p.Device.String()] = p
	}
	if p := at["sp_f1.w.r3.c2"]; p.Address != "10.1.1.18" || p.Label != "Reception" || p.Gateway != "edge-f1" {
		t.Errorf("a place of a series, added to: %+v", p)
	}
	if p := at["sp_f2.p0"]; p.Poll != 30*time.Second || p.MaxPower != 1800 || p.MAC != macA {
		t.Errorf("a place by itself: %+v", p)
	}
	if _, err := inventory.Load(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestTenThousandPlacesComeBackUnchanged(t *testing.T) {
	var b strings.Builder
	b.WriteString("device,address,mac,label,owner\n")
	for i := range 10_000 {
		fmt.Fprintf(&b, "sp_f1.w.r%d.c%d,10.1.%d.%d,AC:84:C6:00:%02X:%02X,Platz %d,u%d\n", i/5, i%5, i/250, i%250+1, i/256, i%256, i, i)
	}
	now := house(t)
	now.Places = nil
	plan := mustTake(t, now, inventory.CSV, b.String(), false)
	if got, want := len(plan.Added), 10_000; got != want {
		t.Errorf("added %d, want %d", got, want)
	}
	text, _ := inventory.Format(inventory.YAML, plan.Records)
	if again := mustTake(t, plan.Records, inventory.YAML, string(text), false); !again.IsEmpty() {
		t.Errorf("importing the export would change something")
	}
}

func TestWhereAGatewayLooksReadsBack(t *testing.T) {
	for text, want := range map[string]contract.Discovery{
		"":                            {Broadcast: true},
		"none":                        {},
		"10.2.0.7":                    {Ranges: []string{"10.2.0.7"}},
		"broadcast, 10.2.0.0/22":      {Broadcast: true, Ranges: []string{"10.2.0.0/22"}},
		"10.2.0.7, 10.2.1.1-10.2.1.9": {Ranges: []string{"10.2.0.7", "10.2.1.1-10.2.1.9"}},
	} {
		got, err := inventory.ParseDiscovery(text)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", text, err, diff)
		}
		if back := inventory.DiscoveryText(got); back != text {
			t.Errorf("%q became %q", text, back)
		}
	}
	for _, text := range []string{"everywhere", "10.2.0.0/2", "none, 10.2.0.7", "10.2.0.9-10.2.0.1", "broadcast none"} {
		if got, err := inventory.ParseDiscovery(text); err == nil {
			t.Errorf("%q is taken as %+v", text, got)
		}
	}
}

func TestALimitedDifferenceCountsAll(t *testing.T) {
	plan := mustTake(t, house(t), inventory.CSV, "device\nsp_f1.g1\nsp_f1.g2\nsp_f1.g3\n", true)
	short := plan.Difference.Limit(5)
	if len(short.Removed) != 4 || len(short.Added) != 1 || short.More != 2 || short.Counts != (inventory.Counts{Added: 3, Removed: 4}) || short.IsEmpty() {
		t.Errorf("got %+v", short)
	}
}
