package registry_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wattline/wattline/cloud/registry"
	"github.com/wattline/wattline/shared/contract"
)

const (
	idA  = "8006E8E9017F556D283C850B4E29BC1F185334E5"
	idB  = "8006E8E9017F556D283C850B4E29BC1F185334E6"
	macA = "AC:84:C6:59:D9:A1"
	macB = "AC:84:C6:59:D9:A2"
)

// office is a registry without the bus: floors 1 and 2, each with a gateway.
type office struct {
	*registry.Store

	t   *testing.T
	dir string
}

func newOffice(t *testing.T) *office {
	t.Helper()
	dir := t.TempDir()
	s, err := registry.Init(dir, contract.Site{Name: "Test", DefaultFloor: 1, TimeZone: "Europe/Madrid"}, "root", quiet)
	if err != nil {
		t.Fatal(err)
	}
	o := &office{s, t, dir}
	t.Cleanup(func() { o.Close() })
	o.do("gateways", "create", "", `{"gateway":"f1","floor":1}`)
	o.do("gateways", "create", "f2", `{"floor":2,"label":"Second"}`)
	return o
}

// reopen is a restart.
func (o *office) reopen() {
	o.t.Helper()
	if err := o.Close(); err != nil {
		o.t.Fatal(err)
	}
	s, err := registry.Open(o.dir, quiet)
	if err != nil {
		o.t.Fatal(err)
	}
	o.Store = s
}

func (o *office) ask(resource, verb, key, content string) contract.RegistryAnswer {
	o.t.Helper()
	r := contract.RegistryRequest{Verb: verb, Key: key, Who: "ana", Reason: "test"}
	if content != "" {
		r.Content = json.RawMessage(content)
	}
	return o.Answer(o.t.Context(), resource, r)
}

// do is ask that must go well; members of the answer come by name.
func (o *office) do(resource, verb, key, content string) map[string]any {
	o.t.Helper()
	answer := o.ask(resource, verb, key, content)
	if answer.Problem != nil {
		o.t.Fatalf("%s %s %s %s: %+v", verb, resource, key, content, answer.Problem)
	}
	var members map[string]any
	if err := json.Unmarshal(answer.Content, &members); err != nil {
		o.t.Fatalf("%s: %v", answer.Content, err)
	}
	return members
}

// refused is ask that must not go well, with these words in what is said.
func (o *office) refused(kind contract.ProblemKind, resource, verb, key, content string, words ...string) {
	o.t.Helper()
	before := o.export()
	p := o.ask(resource, verb, key, content).Problem
	if p == nil || p.Kind != kind {
		o.t.Errorf("%s %s %s %s: %+v, want %s", verb, resource, key, content, p, kind)
		return
	}
	said := p.Detail
	for _, m := range p.Mistakes {
		said += "\n" + m.Field + ": " + m.Detail
	}
	for _, word := range words {
		if !strings.Contains(said, word) {
			o.t.Errorf("%s %s %s %s: %q is not said in %s", verb, resource, key, content, word, said)
		}
	}
	if o.export() != before {
		o.t.Errorf("%s %s %s %s: something was changed", verb, resource, key, content)
	}
}

func (o *office) export() string {
	o.t.Helper()
	answer := o.Answer(o.t.Context(), "inventory", contract.RegistryRequest{Verb: "export", Filter: map[string]string{"format": "yaml"}})
	if answer.Problem != nil {
		o.t.Fatal(answer.Problem)
	}
	return fmt.Sprint(answer.Revision, string(answer.Content))
}

// list reads the whole list, page by page.
func (o *office) list(resource string, limit int, filter map[string]string) (all []map[string]any, pages int) {
	o.t.Helper()
	for cursor := ""; ; {
		answer := o.Answer(o.t.Context(), resource, contract.RegistryRequest{Verb: "list", Limit: limit, Cursor: cursor, Filter: filter})
		var page []map[string]any
		if err := json.Unmarshal(answer.Content, &page); err != nil || answer.Problem != nil {
			o.t.Fatalf("%v %+v", err, answer)
		}
		all, cursor = append(all, page...), answer.Next
		if pages++; cursor == "" {
			return all, pages
		}
	}
}

func (o *office) audited(filter map[string]string) (whats []string) {
	o.t.Helper()
	all, _ := o.list("audit", 1000, filter)
	for _, e := range all {
		whats = append(whats, strings.TrimSpace(fmt.Sprint(e["what"], " ", e["object"])))
	}
	return whats
}

func TestAPlaceFromItsCreationToItsEnd(t *testing.T) {
	o := newOffice(t)
	p := o.do("places", "create", "", `{"device":"sp_w.r3.c4","label":" Reception ","mac":"ac84c659d9a1","max_power_w":1800.5,"poll_seconds":2}`)
	if p["gateway"] != "f1" || p["mac"] != macA || p["label"] != "Reception" || p["driver"] != "hs110" || p["poll_seconds"] != 2.0 {
		t.Errorf("created %v", p)
	}
	changed := o.do("places", "change", "sp_f1.w.r3.c4", `{"label":null,"protected":"a server","owner":"m.lopez"}`) // either spelling
	if changed["label"] != nil || changed["protected"] != "a server" || changed["max_power_w"] != 1800.5 || changed["revision"].(float64) <= p["revision"].(float64) {
		t.Errorf("changed %v", changed)
	}
	whole, _ := json.Marshal(changed) // what was read may come back whole
	if again := o.do("places", "change", "sp_w.r3.c4", string(whole)); again["revision"] != changed["revision"] {
		t.Errorf("the same again: %v", again)
	}
	if site := o.do("site", "get", "", ""); site["rows"] != 4.0 || site["columns"] != 5.0 {
		t.Errorf("site %v", site)
	}
	o.reopen()
	if got := o.do("places", "get", "sp_w.r3.c4", ""); fmt.Sprint(got) != fmt.Sprint(changed) {
		t.Errorf("after a restart %v, before %v", got, changed)
	}
	gone := o.do("places", "delete", "sp_w.r3.c4", "")
	if !strings.Contains(fmt.Sprint(gone["history"]), "readings of sp_w.r3.c4 stay") {
		t.Errorf("deleted %v", gone)
	}
	o.reopen()
	o.refused(contract.NotFound, "places", "get", "sp_w.r3.c4", "", "was deleted")
	o.refused(contract.Conflict, "places", "create", "sp_f1.w.r3.c4", `{}`, "sp_w.r3.c4") // another spelling of what it was
	back := o.do("places", "create", "sp_w.r3.c4", `{}`)
	if back["protected"] != nil || back["revision"].(float64) <= changed["revision"].(float64) {
		t.Errorf("created again %v", back)
	}
	got := fmt.Sprint(o.audited(map[string]string{"object": "sp_w.r3.c4", "result": "done"}))
	if want := "[create place sp_w.r3.c4 delete place sp_w.r3.c4 change place sp_w.r3.c4 create place sp_w.r3.c4]"; got != want {
		t.Errorf("audited %v, want %v", got, want)
	}
}

func TestMistakesInARequestAreAllNamed(t *testing.T) {
	o := newOffice(t)
	o.do("places", "create", "sp_f1.g0", `{"address":"10.0.0.1"}`)
	for _, c := range []struct {
		resource, verb, key, content string
		words                        []string
	}{
		{"places", "create", "", `{"device":"sp_f01.g1"}`, []string{"device"}},
		{"places", "create", "", `{}`, []string{"device"}},
		{"places", "create", "sp_f1.g1", `[]`, []string{"object"}},
		{"places", "create", "sp_f1.g1", ``, []string{"object"}},
		{
			"places", "create", "sp_f1.g1", `{"max_power_w":"much","mac":"zz","device_id":"1","address":"a b","driver":"x y","colour":"red","label":5,"poll_seconds":0.1,"protected":"yes"}`,
			[]string{"max_power_w", "mac", "device_id", "address", "driver", "colour", "label", "poll_seconds", "protected"},
		},
		{"places", "create", "sp_f7.g1", `{}`, []string{"no gateway on floor 7"}},
		{"places", "create", "sp_f1.g1", `{"gateway":"f9"}`, []string{"f9"}},
		{"places", "create", "sp_f1.g1", `{"gateway":"f2"}`, []string{"f2 is on floor 2"}},
		{"places", "change", "sp_f1.g0", `{"device":"sp_f1.g1"}`, []string{"device", "never changed"}},
		{"places", "change", "sp_f1.g0", `{"predecessor":"sp_g0"}`, []string{"predecessor", "itself"}},
		{"places", "plug", "sp_f1.g0", `{"plug":"x"}`, []string{"plug"}},
		{"places", "plug", "sp_f1.g0", `{}`, []string{"deviceId"}},
		{"places", "fly", "sp_f1.g0", ``, []string{"fly"}},
		{"gateways", "create", "Edge 1", `{"floor":1}`, []string{"gateway"}},
		{"gateways", "create", "f3", `{}`, []string{"floor"}},
		{
			"gateways", "create", "f3", `{"floor":1.5,"poll_seconds":0,"stagger_ms":1e9,"database":"wattline","discovery":{"ranges":["10.0.0.0/2"]}}`,
			[]string{"floor", "poll_seconds", "stagger_ms", "database", "discovery"},
		},
		{"gateways", "change", "f1", `{"gateway":"f3"}`, []string{"never changed"}},
		{"site", "change", "", `{"time_zone":"Mars/Phobos","name":"a\nb"}`, []string{"time_zone", "name"}},
		{"inventory", "export", "", ``, []string{"format"}},
	} {
		o.refused(contract.Invalid, c.resource, c.verb, c.key, c.content, c.words...)
	}
	o.refused(contract.NotFound, "places", "change", "sp_f1.g9", `{}`, "sp_f1.g9")
	o.refused(contract.NotFound, "plugs", "get", macA, ``, macA)
	o.refused(contract.NotFound, "chairs", "get", "x", ``, "chairs", "places")
}

func TestConflictsNameBoth(t *testing.T) {
	o := newOffice(t)
	o.do("places", "create", "sp_f1.g0", `{"address":"10.0.0.1","mac":"`+macA+`","device_id":"`+idA+`"}`)
	o.do("places", "create", "sp_g1", `{"address":"10.0.0.2"}`)
	o.refused(contract.Conflict, "places", "create", "sp_f1.g0", `{}`, "sp_f1.g0")
	o.refused(contract.Conflict, "places", "create", "sp_g0", `{}`, "sp_g0", "sp_f1.g0", "default floor")
	o.refused(contract.Conflict, "places", "create", "sp_f2.g0", `{"mac":"`+macA+`"}`, "sp_f1.g0", "sp_f2.g0", macA)
	o.refused(contract.Conflict, "places", "change", "sp_g1", `{"device_id":"`+strings.ToLower(idA)+`"}`, "sp_f1.g0", "sp_g1", idA)
	o.refused(contract.Conflict, "places", "create", "sp_f1.g2", `{"address":"10.0.0.2"}`, "sp_g1", "sp_f1.g2")
	o.refused(contract.Conflict, "gateways", "delete", "f1", ``, "f1", "sp_f1.g0")
	o.refused(contract.Conflict, "gateways", "change", "f1", `{"floor":3}`, "f1", "sp_f1.g0")
	o.refused(contract.Conflict, "gateways", "create", "f2", `{"floor":2}`, "f2")
	o.refused(contract.Conflict, "site", "change", "", `{"default_floor":2}`, "default floor is 1")
	o.refused(contract.Conflict, "site", "create", "", `{"default_floor":2}`)
	if got := o.audited(map[string]string{"result": "refused"}); len(got) != 10 {
		t.Errorf("%d refusals audited: %v", len(got), got)
	}
	o.do("gateways", "create", "f3", `{"floor":3}`)
	o.do("gateways", "delete", "f3", ``)
	o.refused(contract.Conflict, "gateways", "create", "f3", `{"floor":4}`, "floor 3")
	o.do("gateways", "create", "f3", `{"floor":3}`)
}

func TestARevisionThatHasPassedIsToldOf(t *testing.T) {
	o := newOffice(t)
	first := o.ask("places", "create", "sp_f1.g0", `{}`)
	r := contract.RegistryRequest{Verb: "change", Key: "sp_f1.g0", Revision: first.Revision, Content: json.RawMessage(`{"label":"one"}`)}
	second := o.Answer(t.Context(), "places", r)
	if second.Problem != nil || second.Revision <= first.Revision {
		t.Fatalf("%+v", second)
	}
	for _, verb := range []string{"change", "delete", "plug", "unplug"} {
		r.Verb = verb
		if a := o.Answer(t.Context(), "places", r); a.Problem == nil || a.Problem.Kind != contract.Changed {
			t.Errorf("%s with an old revision: %+v", verb, a)
		}
	}
	r.Verb, r.Revision, r.DryRun = "change", second.Revision, true
	r.Content = json.RawMessage(`{"label":"two"}`)
	if a := o.Answer(t.Context(), "places", r); a.Problem != nil || !strings.Contains(string(a.Content), "two") {
		t.Errorf("dry run: %+v", a)
	}
	if p := o.do("places", "get", "sp_f1.g0", ""); p["label"] != "one" {
		t.Errorf("after a dry run %v", p)
	}
	o.do("places", "delete", "sp_f1.g0", "")
	if again := o.ask("places", "create", "sp_f1.g0", `{}`); again.Revision <= second.Revision {
		t.Errorf("created again with revision %d after %d", again.Revision, second.Revision)
	}
}

func TestPlugsAreSwappedAndMovedInOneAction(t *testing.T) {
	o := newOffice(t)
	o.do("places", "create", "sp_f1.g0", `{"address":"10.0.0.1","mac":"`+macA+`"}`)
	o.do("places", "create", "sp_f1.g1", `{"address":"10.0.0.2","mac":"`+macB+`"}`)
	swapped := o.do("places", "plug", "sp_f1.g0", `{"plug":"`+idA+`","address":"10.0.0.3"}`)
	if swapped["device_id"] != idA || swapped["mac"] != nil || swapped["address"] != "10.0.0.3" || swapped["plug_before"] != macA {
		t.Errorf("swapped %v", swapped)
	}
	moved := o.do("places", "plug", "sp_f1.g0", `{"plug":"`+macB+`"}`)
	if moved["mac"] != macB || moved["place_before"] != "sp_f1.g1" || moved["plug_before"] != idA {
		t.Errorf("moved %v", moved)
	}
	if left := o.do("places", "get", "sp_f1.g1", ""); left["mac"] != nil || left["address"] != "" {
		t.Errorf("where it was: %v", left)
	}
	if empty := o.do("places", "unplug", "sp_f1.g0", ""); empty["mac"] != nil {
		t.Errorf("unplugged %v", empty)
	}
	if got, want := fmt.Sprint(o.audited(map[string]string{"object": "sp_f1.g*"})),
		"[unplug sp_f1.g0 plug sp_f1.g0 unplug sp_f1.g1 plug sp_f1.g0 create place sp_f1.g1 create place sp_f1.g0]"; got != want {
		t.Errorf("audited %v, want %v", got, want)
	}
}

func TestPredecessorsDoNotGoRound(t *testing.T) {
	o := newOffice(t)
	o.do("places", "create", "sp_f1.g0", `{}`)
	o.do("places", "create", "sp_f1.g1", `{"predecessor":"sp_f1.g0"}`)
	o.do("places", "create", "sp_f1.g2", `{"predecessor":"sp_g1"}`)
	o.refused(contract.Invalid, "places", "change", "sp_f1.g0", `{"predecessor":"sp_f1.g2"}`, "sp_f1.g0")
}

func TestListsHavePagesAndFilters(t *testing.T) {
	o := newOffice(t)
	var rows strings.Builder
	rows.WriteString("device,label\n")
	for n := range 250 {
		fmt.Fprintf(&rows, "sp_f%d.w.r%d.c%d,desk %d\n", 1+n%2, n/10, n%10, n)
	}
	o.imports(false, "csv", rows.String())
	o.do("places", "change", "sp_f1.w.r0.c0", `{"protected":"a server"}`)
	for name, c := range map[string]struct {
		filter map[string]string
		want   int
	}{
		"all": {nil, 250}, "a floor": {map[string]string{"floor": "2"}, 125}, "rows": {map[string]string{"row": "0,1"}, 20},
		"a place": {map[string]string{"floor": "1", "row": "0", "column": "2"}, 1}, "text": {map[string]string{"text": "DESK 24"}, 11},
		"protected": {map[string]string{"protected": "yes"}, 1}, "type": {map[string]string{"type": "g,p"}, 0}, "plug": {map[string]string{"plug": "no"}, 250},
		"gateway": {map[string]string{"gateway": "f1"}, 125},
	} {
		all, pages := o.list("places", 7, c.filter)
		seen := make(map[any]bool)
		for _, p := range all {
			seen[p["device"]] = true
		}
		if len(seen) != c.want || len(all) != c.want || pages != max(1, (c.want+6)/7) {
			t.Errorf("%s: %d places in %d pages, want %d", name, len(all), pages, c.want)
		}
	}
	for _, filter := range []map[string]string{{"floor": "x"}, {"colour": "red"}, {"protected": "perhaps"}} {
		if a := o.Answer(t.Context(), "places", contract.RegistryRequest{Verb: "list", Filter: filter}); a.Problem == nil || len(a.Problem.Mistakes) != 1 {
			t.Errorf("%v: %+v", filter, a.Problem)
		}
	}
	if a := o.Answer(t.Context(), "places", contract.RegistryRequest{Verb: "list", Cursor: "x"}); a.Problem == nil {
		t.Error("a cursor that is none was taken")
	}
	if all, pages := o.list("gateways", 1, nil); len(all) != 2 || pages != 2 || all[0]["places"] != 125.0 {
		t.Errorf("gateways %v", all)
	}
}

// imports imports a file and gives the answer.
func (o *office) imports(dry bool, format, text string) contract.RegistryAnswer {
	o.t.Helper()
	content, err := json.Marshal(map[string]string{"format": format, "text": text})
	if err != nil {
		o.t.Fatal(err)
	}
	return o.Answer(o.t.Context(), "inventory", contract.RegistryRequest{Verb: "import", Who: "ana", DryRun: dry, Content: content})
}

func TestAnImportIsAllOrNothing(t *testing.T) {
	o := newOffice(t)
	before := o.export()
	const rows = "device,label,mac\nsp_f1.g0,one,\nsp_f1.g1,two," + macA + "\nsp_f9.g1,no gateway,\n"
	if a := o.imports(false, "csv", rows); a.Problem == nil || a.Problem.Mistakes[0].Line != 4 || o.export() != before {
		t.Errorf("with a mistake: %+v", a)
	}
	good := strings.ReplaceAll(rows, "sp_f9", "sp_f2")
	if a := o.imports(true, "csv", good); a.Problem != nil || !strings.Contains(string(a.Content), `"added":[{"kind":"place","id":"sp_f1.g0"`) || o.export() != before {
		t.Errorf("dry run: %+v", a)
	}
	first := o.imports(false, "csv", good)
	after := o.export()
	if first.Problem != nil || after == before {
		t.Fatalf("%+v", first)
	}
	if a := o.imports(false, "csv", good); a.Problem != nil || a.Revision != first.Revision || o.export() != after || !strings.Contains(string(a.Content), `"added":[],"changed":[],"removed":[]`) {
		t.Errorf("the same again: %s", a.Content)
	}
	for _, format := range []string{"csv", "yaml"} { // what is exported changes nothing
		var text string
		answer := o.Answer(t.Context(), "inventory", contract.RegistryRequest{Verb: "export", Filter: map[string]string{"format": format}})
		if err := json.Unmarshal(answer.Content, &text); err != nil {
			t.Fatal(err)
		}
		if a := o.imports(false, format, text); a.Problem != nil || o.export() != after {
			t.Errorf("%s: %+v", format, a)
		}
	}
	if a := o.Answer(t.Context(), "inventory", contract.RegistryRequest{Verb: "import", Content: json.RawMessage(`5`)}); a.Problem == nil {
		t.Error("an import of nothing was taken")
	}
	o.reopen()
	if got := o.export(); got != after {
		t.Errorf("after a restart\n%s\nbefore\n%s", got, after)
	}
}

func TestASiteIsMadeOnce(t *testing.T) {
	o := newOffice(t)
	if _, err := registry.Init(o.dir, contract.Site{DefaultFloor: 1}, "root", quiet); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("beside one that runs: %v", err)
	}
	o.Close()
	if _, err := registry.Init(o.dir, contract.Site{DefaultFloor: 2}, "root", quiet); err == nil || !strings.Contains(err.Error(), "has a site already: Test") {
		t.Errorf("a second time: %v", err)
	}
	if _, err := registry.Init(t.TempDir(), contract.Site{TimeZone: "Mars"}, "root", quiet); err == nil || !strings.Contains(err.Error(), "time_zone") {
		t.Errorf("a site with a mistake: %v", err)
	}
	if registry.Exists(filepath.Join(o.dir, "nowhere")) || !registry.Exists(o.dir) {
		t.Error("Exists is wrong")
	}
}

func TestMistakesOfAFilesFormAndOfItsValuesAreToldTogether(t *testing.T) {
	o := newOffice(t)
	for format, text := range map[string]string{
		"csv":  "device,label\nsp_f1.g0,one,two\nsp_f9.g1,no gateway\nsp_f01.g2,no id\n",
		"yaml": "places:\n  - {device: sp_f1.g0, colour: red}\n  - {device: sp_f9.g1}\n  - {device: sp_f01.g2}\n",
	} {
		a := o.imports(false, format, text)
		if a.Problem == nil || len(a.Problem.Mistakes) != 3 {
			t.Fatalf("%s: %+v", format, a.Problem)
		}
		for i, m := range a.Problem.Mistakes {
			if m.Line != i+2 {
				t.Errorf("%s: mistake %d is in line %d: %s", format, i, m.Line, m.Detail)
			}
		}
	}
}
