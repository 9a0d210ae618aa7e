package inventory_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/registry/inventory"
)

// dump is what etcd 3.4 answers to GET /v2/keys/smartplugs?recursive=true.
const dump = `{"action":"get","node":{"key":"/smartplugs","dir":true,"nodes":[
 {"key":"/smartplugs/mac_to_id","dir":true,"nodes":[
  {"key":"/smartplugs/mac_to_id/AC:84:C6:59:D9:B1","value":"sp_w.r2.c1","modifiedIndex":8,"createdIndex":8},
  {"key":"/smartplugs/mac_to_id/AC:84:C6:59:D9:B2","value":"m1","modifiedIndex":9,"createdIndex":9}],"modifiedIndex":8,"createdIndex":8},
 {"key":"/smartplugs/id_to_userid","dir":true,"nodes":[{"key":"/smartplugs/id_to_userid/sp_w.r2.c1","value":"42","modifiedIndex":1,"createdIndex":1}]},
 {"key":"/smartplugs/ip_cache","dir":true,"nodes":[
  {"key":"/smartplugs/ip_cache/sp_w.r2.c1","value":"10.1.1.9","modifiedIndex":1,"createdIndex":1},
  {"key":"/smartplugs/ip_cache/sp_w.r9.c9","value":"10.1.1.9","modifiedIndex":1,"createdIndex":1}]},
 {"key":"/smartplugs/empty","dir":true}]}}`

func TestAnEtcdDumpBecomesPlaces(t *testing.T) {
	plan := mustTake(t, house(t), inventory.ETCD, dump, false)
	want := []inventory.Change{
		{Kind: "place", ID: "sp_m1", Fields: []inventory.FieldChange{{Field: "gateway", To: "edge-f1"}, {Field: "driver", To: "hs110"}, {Field: "mac", To: "AC:84:C6:59:D9:B2"}}},
		{Kind: "place", ID: "sp_w.r2.c1", Fields: []inventory.FieldChange{
			{Field: "gateway", To: "edge-f1"}, {Field: "driver", To: "hs110"}, {Field: "address", To: "10.1.1.9"}, {Field: "mac", To: "AC:84:C6:59:D9:B1"}, {Field: "owner", To: "42"},
		}},
		{Kind: "place", ID: "sp_w.r9.c9", Fields: []inventory.FieldChange{{Field: "gateway", To: "edge-f1"}, {Field: "driver", To: "hs110"}}},
	}
	if diff := cmp.Diff(want, plan.Added); diff != "" {
		t.Errorf("added (-want +got):\n%s", diff)
	}
	if len(plan.Notes) != 1 {
		t.Errorf("the address of a place without plug is left out with %q", plan.Notes)
	}
	if again := mustTake(t, plan.Records, inventory.ETCD, dump, false); !again.IsEmpty() {
		t.Errorf("a second import would change\n%v", again.Difference.String())
	}
}

func TestMistakesOfEtcdDumps(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"not JSON":         {"mac_to_id", "no JSON"},
		"an error":         {`{"errorCode":100,"message":"Key not found","cause":"/x","index":8}`, "an error of etcd (100, Key not found)"},
		"something else":   {`{"action":"get","node":{"key":"/other","dir":true}}`, "there is no mac_to_id"},
		"two plugs":        {`{"nodes":[{"key":"/s/mac_to_id/AC:84:C6:59:D9:B1","value":"sp_g1"},{"key":"/s/mac_to_id/AC:84:C6:59:D9:B2","value":"sp_g1"}]}`, "sp_g1 has two plugs here, AC:84:C6:59:D9:B1 and AC:84:C6:59:D9:B2"},
		"a plug elsewhere": {`{"nodes":[{"key":"/s/mac_to_id/` + macA + `","value":"sp_g1"}]}`, "/s/mac_to_id/" + macA + ": " + macA + " is at sp_f1.g0 too"},
		"no MAC":           {`{"nodes":[{"key":"/s/mac_to_id/x","value":"sp_g1"}]}`, `/s/mac_to_id/x: "x" is not a MAC`},
		"no id":            {`{"nodes":[{"key":"/s/mac_to_id/` + macA + `","value":"Sp-g1"}]}`, "/s/mac_to_id/" + macA + ": malformed device id"},
	} {
		t.Run(name, func(t *testing.T) { mistaken(t, house(t), inventory.ETCD, c.text, c.want) })
	}
}

func FuzzImport(f *testing.F) {
	f.Add(inventory.ETCD, []byte(dump))
	for _, format := range []string{inventory.CSV, inventory.YAML} {
		text, _ := inventory.Format(format, house(f))
		f.Add(format, text)
	}
	f.Add(inventory.YAML, []byte(head+"series: [{first: sp_f1.w.r0.c0, rows: 3, columns: 2, first_address: '10.1.1.1:9999'}]\nplaces: [{device: sp_f1.w.r0.c1, label: x}]\n"))
	f.Add(inventory.CSV, []byte("device,label\nsp_f1.g1"))
	f.Add(inventory.CSV, []byte("sep=;\r\n\r\nDevice;label\r\nsp_f1.g1;\"a\r\n''=b\"\r\n"))
	f.Fuzz(func(t *testing.T, format string, text []byte) {
		file, problem := inventory.Parse(format, text)
		if file == nil && problem == nil {
			t.Fatal("neither a file nor a problem")
		}
		if problem != nil && file != nil { // with a mistake in it nothing of it is taken
			if plan, problem := inventory.Make(house(t), file, false); problem == nil {
				t.Fatalf("a file with a mistake makes %v", plan)
			}
		}
		if problem != nil {
			return
		}
		for _, now := range []inventory.Records{house(t), {}} {
			plan, problem := inventory.Make(now, file, false)
			if problem != nil {
				continue
			}
			second, problem := inventory.Make(now, file, false)
			if problem != nil || !cmp.Equal(plan, second, byText) {
				t.Fatalf("the second plan of a file differs: %v", problem)
			}
			for _, out := range []string{inventory.CSV, inventory.YAML} {
				exported, _ := inventory.Format(out, plan.Records)
				back, problem := inventory.Parse(out, exported)
				if problem != nil {
					t.Fatalf("the export does not parse: %s\n%s\n%s", problem.Detail, told(problem), exported)
				}
				again, problem := inventory.Make(plan.Records, back, true)
				if problem != nil {
					t.Fatalf("the export is refused: %s\n%s\n%s", problem.Detail, told(problem), exported)
				}
				if !again.IsEmpty() {
					t.Fatalf("importing the export would change\n%s\n%s", again.Difference.String(), exported)
				}
			}
		}
	})
}
