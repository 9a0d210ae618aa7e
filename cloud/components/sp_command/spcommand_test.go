package spcommand_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

func TestIoToadsPayloadsSwitch(t *testing.T) {
	s := newStand(t, 1)
	g := s.gateway("f1")
	for data, on := range map[string]bool{
		`"{\"status\": 0}"`: false, `{"status": 1}`: true, `{"status": "OFF"}`: false, `{"status":"On"}`: true, `"{\"status\": \"on\"}"`: true,
	} {
		e := s.command("sp_f1.g0", data)
		if string(e.Data) != `{"successful":["sp_f1.g0"]}` || e.Error != nil {
			t.Errorf("%s: %s %s", data, e.Data, e.Error)
		}
		c := <-g.commands
		if len(c.Switches) != 1 || c.Switches[0].On != on || c.ConfigVersion != 7 || c.Deadline.BootID != "boot-f1" {
			t.Errorf("%s: the gateway got %+v", data, c)
		}
		if left := c.Deadline.Monotonic - g.clock(); left < 8 || left > 10 {
			t.Errorf("%s: the deadline is in %v s, want 10", data, left)
		}
	}
}

func TestUnclearPayloadsSwitchNothing(t *testing.T) {
	s := newStand(t, 1)
	g := s.gateway("f1")
	for _, data := range []string{
		`{}`, `null`, `1`, `[]`, `"x"`, `""`, `{"status":2}`, `{"status":true}`, `{"status":null}`, `{"status":"1"}`, `{"status":"maybe"}`, `{"data":1}`, `{"Status":1}`,
		`{"status":1,"status":0}`, `{"status":1,"on":true}`, `{"on":1}`, `{"on":null}`, `{"on":"true"}`, `{"on":true,"dry_runn":true}`, `{"on":true,"deadline_s":-1}`,
		`{"on":true,"deadline_s":1e9}`, `{"on":true,"on":false}`, `"{\"status\":1} {\"status\":0}"`, `{"on":true,"select":{"floor":1}}`,
		`{"on":true,"who":"` + strings.Repeat("x", 300) + `"}`, `"` + strings.Repeat(`[`, 10000) + `"`,
	} {
		e := s.command("sp_f1.g0", data)
		if e.ErrorText() == "" || e.Data != nil {
			t.Errorf("%.60s: %s %s", data, e.Data, e.Error)
		}
	}
	if e := s.command("sp_f1.g0", `{"status":1}`); e.Error != nil {
		t.Errorf("afterwards: %s", e.Error)
	}
	<-g.commands
	if len(g.commands) > 0 {
		t.Errorf("the gateway got %+v", <-g.commands)
	}
}

func TestTargets(t *testing.T) {
	s := newStand(t, 1)
	s.gateway("f1")
	s.gateway("f2")
	for target, want := range map[string]string{
		"sp_w.r0.c0":      "sp_w.r0.c0",
		"w.r0.c0":         "sp_w.r0.c0",
		"sp_f1.w.r0.c0":   "sp_f1.w.r0.c0",
		"sp_g0":           "sp_g0",
		"row/0":           "sp_w.r0.c0 sp_w.r0.c1 sp_w.r0.c2",
		"row/1":           "sp_w.r1.c0 sp_w.r1.c1 sp_w.r1.c2",
		"column/2":        "sp_w.r0.c2 sp_w.r1.c2",
		"floor/2":         "sp_f2.p0 sp_f2.w.r0.c0 sp_f2.w.r1.c0",
		"floor/2/row/1":   "sp_f2.w.r1.c0",
		"floor/1/row/0":   "sp_w.r0.c0 sp_w.r0.c1 sp_w.r0.c2",
		"floor/2/type/p":  "sp_f2.p0",
		"floor/2/column0": "error", "row": "error", "row/x": "error", "row/-1": "error", "row/99": "error", "floor/9": "error", "type/W": "error", "type/x": "error",
		"row/1/floor/1": "error", "floor/1/row/1/type/w": "error", "type/w/row/1": "error", "sp_": "error", "select": "error",
	} {
		e := s.command(target, `{"status":1}`)
		var data struct{ Successful []string }
		if err := json.Unmarshal(e.Data, &data); err != nil && e.Data != nil {
			t.Fatal(err)
		}
		got := strings.Join(data.Successful, " ")
		if want == "error" && (e.Error == nil || got != "") || want != "error" && got != want {
			t.Errorf("%s: %s %s, want %s", target, e.Data, e.Error, want)
		}
	}
	e := s.command("", `{"status":1}`, "sp_g0", "row/1", "column/0", "sp_g77", "nonsense")
	want := `{"successful":["sp_w.r0.c0","sp_w.r1.c0","sp_w.r1.c1","sp_w.r1.c2","sp_g0"]}`
	if string(e.Data) != want || !strings.Contains(string(e.Error), `"sp_g77":"no such place"`) || !strings.Contains(string(e.Error), `"nonsense":`) {
		t.Errorf("subtopics: %s %s", e.Data, e.Error)
	}
	if e := s.command("row", `{"status":1}`, "0", "1"); !strings.Contains(string(e.Data), "r0.c2") || !strings.Contains(string(e.Data), "r1.c2") {
		t.Errorf("row with subtopics: %s %s", e.Data, e.Error)
	}
	if e := s.command("", `{"status":1}`); e.Error == nil {
		t.Errorf("no target: %s", e.Data)
	}
	if e := s.command("bogus", `{"status":1}`); strings.Contains(string(e.Error), "sp_bogus") {
		t.Errorf("another name than was asked for: %s", e.Error)
	}
	if e := s.command("sp_x", `{"status":1}`); string(e.Data) != `{"successful":[]}` || !strings.HasPrefix(string(e.Error), `{"sp_x":"`) {
		t.Errorf("an id that does not parse: %s %s", e.Data, e.Error)
	}
}

func TestSelect(t *testing.T) {
	s := newStand(t, 1)
	s.gateway("f1")
	s.gateway("f2")
	for data, want := range map[string]string{
		`{"floor":2,"row":1}`:                     "sp_f2.w.r1.c0 confirmed",
		`{"type":"p"}`:                            "sp_f2.p0 confirmed",
		`{"ids":["sp_f2.p0","sp_g0","sp_f7.g1"]}`: "sp_f1.g0 confirmed\nsp_f2.p0 confirmed\nsp_f7.g1 no such place",
		`{"ids":["sp_f2.p0","sp_g0"],"floor":2}`:  "sp_g0 no such place\nsp_f2.p0 confirmed",
		`{}`:                                      "error",
		`{"row":1}`:                               "error",
		`{"floor":2,"row":1,"type":"p"}`:          "error",
		`{"floor":7}`:                             "error",
		`{"ids":["nonsense"]}`:                    "error",
	} {
		got := s.ask("select", `{"on":true,"select":`+data+`}`)
		if want == "error" && !strings.HasPrefix(got, "error: ") || want != "error" && got != want {
			t.Errorf("%s\n got %s\nwant %s", data, got, want)
		}
	}
	if got := s.ask("select", `{"on":true}`); !strings.HasPrefix(got, "error: ") {
		t.Errorf("without select: %s", got)
	}
}

func TestOutcomesComeFromTheGateway(t *testing.T) {
	s := newStand(t, 1)
	g := s.gateway("f1")
	for _, outcome := range []contract.Outcome{
		contract.Confirmed, contract.Refused, contract.Expired, contract.Stale, contract.Superseded, contract.Unreachable, contract.Mismatch,
	} {
		g.answers(func(c contract.GatewayCommand) []contract.Results { return all(c, outcome, "so it is") })
		if got, want := s.ask("sp_f1.g0", `{"on":true}`), fmt.Sprintf("sp_f1.g0 %s: so it is", outcome); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	g.answers(func(c contract.GatewayCommand) []contract.Results { return all(c, "splendid", "") })
	if got := s.ask("sp_f1.g0", `{"on":true}`); got != `sp_f1.g0 unknown: the gateway says "splendid"` {
		t.Error(got)
	}
}

func TestAnswersInPartsAndForOthersPlaces(t *testing.T) {
	s := newStand(t, 1)
	g := s.gateway("f1")
	g.answers(func(c contract.GatewayCommand) []contract.Results {
		var parts []contract.Results
		for _, r := range all(c, contract.Confirmed, "")[0].Results {
			parts = append(parts, contract.Results{}, contract.Results{Results: []contract.Result{{Device: mustParse(t, "sp_f2.p0"), Outcome: contract.Confirmed}, r}})
		}
		again := all(c, contract.Mismatch, "")[0].Results[:1]
		return append([]contract.Results{parts[0], parts[1], {Results: again}}, parts[2:]...)
	})
	want := "sp_w.r0.c0 confirmed\nsp_w.r0.c1 confirmed\nsp_w.r0.c2 confirmed"
	if got := s.ask("row/0", `{"on":false}`); got != want {
		t.Errorf("got %s", got)
	}
}

func TestWithoutAnswerTheOutcomeIsUnknown(t *testing.T) {
	s := newStand(t, 1)
	g := s.gateway("f1")
	g.answers(func(c contract.GatewayCommand) []contract.Results {
		return []contract.Results{{Results: []contract.Result{{Device: c.Switches[1].Device, Outcome: contract.Confirmed}}}}
	})
	begin := time.Now()
	got := s.ask("row/0", `{"on":true,"deadline_s":1}`)
	want := "sp_w.r0.c0 unknown: no answer from gateway f1 in time\nsp_w.r0.c1 confirmed\nsp_w.r0.c2 unknown: no answer from gateway f1 in time"
	if took := time.Since(begin); got != want || took > 5*time.Second {
		t.Errorf("after %v: %s", took, got)
	}
	c := <-g.commands
	if left := c.Deadline.Monotonic - g.clock(); left > 0.1 {
		t.Errorf("the gateway had %v s more", left)
	}
	g.answers(confirm)
	if got := s.ask("sp_f1.g0", `{"on":true}`); got != "sp_f1.g0 confirmed" {
		t.Errorf("afterwards: %s", got)
	}
}

func TestProtectedPlacesAreNotEvenAskedFor(t *testing.T) {
	s := newStand(t, 1)
	g := s.gateway("f1")
	for _, target := range []string{"sp_g9", "sp_f1.g9"} {
		if got := s.ask(target, `{"on":false}`); got != "sp_g9 refused: protected: a server" {
			t.Error(got)
		}
	}
	if got := s.ask("floor/1/type/g", `{"on":false}`); got != "sp_g9 refused: protected: a server\nsp_f1.g0 confirmed" {
		t.Error(got)
	}
	if c := <-g.commands; len(c.Switches) != 1 || c.Switches[0].Device.String() != "sp_f1.g0" {
		t.Errorf("the gateway got %+v", c)
	}
}

func TestDryRunAsksNoGateway(t *testing.T) {
	s := newStand(t, 1)
	g := s.gateway("f1")
	got := s.ask("floor/1/type/g", `{"on":false,"dry_run":true}`)
	if got != "sp_g9 refused: protected: a server\nsp_f1.g0 dry run" || len(g.commands) > 0 {
		t.Errorf("%s, %d commands", got, len(g.commands))
	}
}

func TestGatewaysThatAreAwayAreUnreachableAtOnce(t *testing.T) {
	s := newStand(t, 1)
	g := s.gateway("f1")
	s.retain(bus.StatusTopic("f2"), contract.Status{Gateway: "f2", Online: false, Epoch: 3})
	s.retain(bus.PlacesPrefix+"sp_f3.g0", contract.Place{Device: mustParse(t, "sp_f3.g0"), Gateway: "f3"})
	begin := time.Now()
	if got := s.ask("sp_f2.p0", `{"on":true}`); got != "sp_f2.p0 unreachable: gateway f2 is offline" {
		t.Error(got)
	}
	if got := s.ask("sp_f3.g0", `{"on":true}`); got != "sp_f3.g0 unreachable: gateway f3 is not registered" {
		t.Error(got)
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
	if got := s.ask("sp_f1.g0", `{"on":true}`); got != "sp_f1.g0 confirmed" {
		t.Error(got)
	}
	<-g.commands
}

func TestWillCountsForItsEpochOnly(t *testing.T) {
	s := newStand(t, 1)
	s.publish(bus.Message{Topic: bus.StatusTopic("f2"), Payload: []byte(`{"gateway":"f2","online":true,"epoch":"0000000000000002","previous":null,"boot_id":"b","monotonic":5}`)})
	late := bus.Message{Topic: bus.StatusTopic("f2"), Payload: []byte(`{"gateway":"f2","online":false,"epoch":"0000000000000001","previous":null}`)}
	own := bus.Message{Topic: bus.StatusTopic("f2"), Payload: []byte(`{"gateway":"f2","online":false,"epoch":"0000000000000002","previous":null}`)}
	dry := func() string { return s.ask("sp_f2.p0", `{"on":true,"dry_run":true,"deadline_s":2}`) }
	// What is published before a question may be handled after it: not before
	// the broker has it to give, which Publish waits for.
	for deadline := time.Now().Add(10 * time.Second); dry() != "sp_f2.p0 dry run"; {
		s.publish(bus.Message{Topic: bus.StatusTopic("f2"), Payload: []byte(`{"gateway":"f2","online":true,"epoch":"0000000000000002","previous":null,"boot_id":"b","monotonic":5}`)})
		if time.Now().After(deadline) {
			t.Fatal("the beat was not heard")
		}
	}
	s.publish(late)
	for range 20 {
		if got := dry(); got != "sp_f2.p0 dry run" {
			t.Fatalf("after the will of an earlier epoch: %s", got)
		}
	}
	s.publish(own)
	for deadline := time.Now().Add(10 * time.Second); dry() != "sp_f2.p0 unreachable: gateway f2 is offline"; {
		if time.Now().After(deadline) {
			t.Fatalf("after its will: %s", dry())
		}
	}
}

func TestAGroupHasTimeForThePausesBetweenItsPlugs(t *testing.T) {
	s := newStand(t, 1)
	g := s.gateway("f1")
	s.retain(bus.GatewaysInfoPrefix+"f1", contract.GatewayInfo{Gateway: "f1", Floor: 1, ConfigVersion: 7, StaggerMillis: 60_000})
	for data, want := range map[string]float64{
		`{"on":true}`: 130, `{"status":"ON"}`: 130, `{"on":false}`: 10, `{"on":true,"deadline_s":200}`: 200,
	} {
		s.command("row/0", data)
		c := <-g.commands
		if left := c.Deadline.Monotonic - g.clock(); left < want-2 || left > want {
			t.Errorf("%s: the gateway has %v s for %d plugs, want %v", data, left, len(c.Switches), want)
		}
	}
}

func TestAfterItsStartItWaitsForOneBeat(t *testing.T) {
	s := newStand(t, 1)
	answers := make(chan string, 1)
	var asking sync.WaitGroup
	asking.Go(func() { answers <- s.ask("sp_f1.g0", `{"on":true}`) })
	// A retained status is from who knows when: it must not be reckoned with.
	s.retain(bus.StatusTopic("f1"), contract.Status{Gateway: "f1", Online: true, Epoch: 1, BootID: "old", Monotonic: 1e9})
	g := s.gateway("f1")
	asking.Wait()
	if got := <-answers; got != "sp_f1.g0 confirmed" && !strings.Contains(got, "unknown") {
		t.Error(got)
	}
	if got := s.ask("sp_f2.p0", `{"on":true,"deadline_s":1}`); got != "sp_f2.p0 unreachable: gateway f2: no status since the start of sp_command" {
		t.Error(got)
	}
	<-g.commands
}

func TestAuditTellsIntentAndResult(t *testing.T) {
	s := newStand(t, 1)
	s.gateway("f1")
	s.ask("sp_f1.g0", `{"on":true,"who":"somebody","reason":"a \"meeting\", soon"}`)
	s.store.await(t, "audit,id=sp_f1.g0,phase=intent ", `who="somebody",reason="a \"meeting\", soon",on=true `)
	s.store.await(t, "audit,id=sp_f1.g0,phase=result ", `on=true,outcome="confirmed"`)
	s.store.set(errors.New("not now"))
	if got := s.ask("sp_g9", `{"on":false}`); !strings.Contains(got, "refused") {
		t.Errorf("without InfluxDB: %s", got)
	}
	s.command("sp_f1.g77", `{"status":1}`)
	s.store.set(nil)
	s.store.await(t, "audit,id=sp_g9,phase=result ", `who="mqtt"`, `outcome="refused",detail="protected: a server"`)
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if strings.Contains(s.store.text, "g77") {
		t.Error("a place that there is not is in the audit")
	}
}

func TestTwoInstancesShareTheCommands(t *testing.T) {
	s := newStand(t, 2)
	g := s.gateway("f1")
	g.answers(confirm)
	const n = 40
	var asking sync.WaitGroup
	for range n {
		asking.Go(func() {
			if got := s.ask("sp_f1.g0", `{"on":true}`); got != "sp_f1.g0 confirmed" {
				t.Error(got)
			}
		})
	}
	asking.Wait()
	ids := map[string]bool{}
	for range n {
		ids[(<-g.commands).ID] = true
	}
	if len(ids) != n || len(g.commands) > 0 {
		t.Errorf("%d commands, %d more", len(ids), len(g.commands))
	}
	// Without a level below the component's name each command still goes to one.
	for range n {
		if e := s.command("", `{"status":1}`, "sp_f1.g0"); e.Error != nil {
			t.Errorf("%s", e.Error)
		}
		<-g.commands
	}
	if e := s.command("sp_f1.g0", `{"status":1}`); e.Error != nil {
		t.Errorf("%s", e.Error)
	}
	<-g.commands
	if more := len(g.commands); more > 0 {
		t.Errorf("%d commands were carried out twice", more)
	}
}

func TestItComesBackWithTheBroker(t *testing.T) {
	s := newStand(t, 1)
	s.gateway("f1")
	if got := s.ask("sp_f1.g0", `{"on":true}`); got != "sp_f1.g0 confirmed" {
		t.Fatal(got)
	}
	s.broker.Kill()
	s.broker.Start() // has forgotten what was retained; no registry says it again
	s.awaitUp()
	deadline := time.Now().Add(20 * time.Second)
	for {
		got := s.ask("sp_f1.g0", `{"on":true,"deadline_s":1}`)
		if got == "sp_f1.g0 confirmed" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(got)
		}
	}
}

func TestRemovedPlacesAreUnknown(t *testing.T) {
	s := newStand(t, 1)
	s.gateway("f1")
	if got := s.ask("sp_f1.g0", `{"on":true}`); got != "sp_f1.g0 confirmed" {
		t.Fatal(got)
	}
	s.publish(bus.Message{Topic: bus.PlacesPrefix + "sp_f1.g0", Retained: true})
	deadline := time.Now().Add(10 * time.Second)
	for got := ""; got != "sp_f1.g0 no such place"; got = s.ask("sp_f1.g0", `{"on":true}`) {
		if time.Now().After(deadline) {
			t.Fatal(got)
		}
	}
}

func TestSwitchingTakesMilliseconds(t *testing.T) {
	s := newStand(t, 1)
	s.gateway("f1")
	s.ask("sp_f1.g0", `{"on":true}`)
	took := make([]time.Duration, 300)
	for i := range took {
		begin := time.Now()
		s.command("sp_f1.g0", `{"status":1}`)
		took[i] = time.Since(begin)
	}
	slices.Sort(took)
	t.Logf("median %v, p99 %v", took[len(took)/2], took[len(took)*99/100])
	if median := took[len(took)/2]; median > 50*time.Millisecond { // on a busy machine
		t.Errorf("median %v", median)
	}
}
