package interop_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

// switches sends a body to sp_command, and says which plugs may have moved.
func (f *former) switches(t *testing.T, path, body string, on bool, want string, switched ...string) {
	t.Helper()
	f.plugs.press(!on)
	a := f.do(http.MethodPut, "/api/in/sp_command"+path, body)
	if a.status != http.StatusOK {
		t.Errorf("%s %s gives %v", path, body, a)
	}
	sameJSON(t, a.body, want)
	moved := map[string]bool{}
	for _, id := range switched {
		moved[id] = true
	}
	if diff := cmp.Diff(moved, f.plugs.are(on)); diff != "" {
		t.Errorf("%s %s has switched (-want +got):\n%s", path, body, diff)
	}
}

func showsOne(t *testing.T, f *former) {
	for _, body := range []string{`{"payload": "{ \"status\": 1 }"}`, objectOn, `{"payload": {"status": "On"}}`} {
		f.switches(t, "/sp_g3", body, true, one("sp_command/sp_g3", "sp_g3"), "sp_g3")
	}
	for _, body := range []string{stringOff, objectOff, wordOff} {
		f.switches(t, "/sp_p0/", body, false, one("sp_command/sp_p0", "sp_p0"), "sp_p0")
	}
}

func showsRow(t *testing.T, f *former) {
	f.switches(t, "/row/0", stringOff, false, one("sp_command/row/0", "sp_w.r0.c0", "sp_w.r0.c1"), "sp_w.r0.c0", "sp_w.r0.c1")
	f.switches(t, "/row/", `{"subtopics": ["0", "1"], "payload": {"status": 1}}`, true,
		merge(one("sp_command/row/0", "sp_w.r0.c0", "sp_w.r0.c1"), one("sp_command/row/1", "sp_w.r1.c0", "sp_w.r1.c1")), "sp_w.r0.c0", "sp_w.r0.c1", "sp_w.r1.c0", "sp_w.r1.c1")
}

func showsColumn(t *testing.T, f *former) {
	// The third workplace of the column is a plug of the other kind.
	f.switches(t, "/column/1/", objectOn, true, one("sp_command/column/1", "sp_w.r0.c1", "sp_w.r1.c1", "sp_w.r2.c1"), "sp_w.r0.c1", "sp_w.r1.c1")
	if !f.bare["sp_w.r2.c1"].isOn() {
		t.Error("sp_w.r2.c1 is off")
	}
}

func showsMixed(t *testing.T, f *former) {
	want := merge(one("sp_command/sp_g3", "sp_g3"), one("sp_command/row/1", "sp_w.r1.c0", "sp_w.r1.c1"), one("sp_command/column/0", "sp_w.r0.c0", "sp_w.r1.c0", "sp_w.r2.c0"))
	for _, path := range []string{"", "/"} {
		f.switches(t, path, `{"subtopics": ["sp_g3", "row/1", "column/0"], "payload": "{\"status\": 0}"}`, false, want, "sp_g3", "sp_w.r1.c0", "sp_w.r1.c1", "sp_w.r0.c0")
	}
}

// Each plug takes its time for each question, one is silent. One after the other
// the healthy ones alone would take the deadline.
func showsConcurrency(t *testing.T, f *former) {
	slow := []string{"sp_g3", "sp_p0", "sp_w.r0.c0", "sp_w.r0.c1", "sp_w.r1.c0"}
	for _, id := range slow {
		f.fault(t, id, hs110test.Fault{Delay: 500 * time.Millisecond})
	}
	f.fault(t, "sp_w.r1.c1", hs110test.Fault{Silent: true})
	f.plugs.press(true)
	begin := time.Now()
	a := f.do(http.MethodPut, "/api/in/sp_command", `{"subtopics": ["`+strings.Join(append(slow, "sp_w.r1.c1"), `", "`)+`"], "payload": {"status": 0}}`)
	if took := time.Since(begin); took > 5*time.Second { // the deadline is 3 s
		t.Errorf("it took %v", took)
	}
	for _, id := range slow {
		if f.plugs[id].On() || !strings.Contains(a.body, `"sp_command/`+id+`":{"data":{"successful":["`+id+`"]}}`) {
			t.Errorf("%s was not switched in time: %v", id, a)
		}
	}
	if !strings.Contains(a.body, `"sp_command/sp_w.r1.c1":{"data":{"successful":[]},"error":{"sp_w.r1.c1":"`) {
		t.Errorf("the silent one is not told: %v", a)
	}
	for id := range f.plugs {
		f.fault(t, id, hs110test.Fault{})
	}
}

func (f *former) fault(t *testing.T, id string, fault hs110test.Fault) {
	t.Helper()
	if err := f.plugs[id].SetFault(fault); err != nil {
		t.Fatal(err)
	}
}

func showsFates(t *testing.T, f *former) {
	f.fault(t, "sp_w.r0.c1", hs110test.Fault{Refuse: true})
	defer f.fault(t, "sp_w.r0.c1", hs110test.Fault{})
	f.plugs.press(true)
	a := f.do(http.MethodPut, "/api/in/sp_command/row/0", stringOff)
	var reply map[string]struct {
		Data  struct{ Successful []string }
		Error map[string]string
	}
	a.into(t, &reply)
	got := reply["sp_command/row/0"]
	if diff := cmp.Diff([]string{"sp_w.r0.c0"}, got.Data.Successful); diff != "" || len(got.Error) != 1 || got.Error["sp_w.r0.c1"] == "" {
		t.Errorf("%v, want sp_w.r0.c0 successful, and why sp_w.r0.c1 is not", a)
	}
	if a.status != http.StatusOK { // an error in a reply is not one of the request
		t.Errorf("status %d", a.status)
	}
}

func showsSilence(t *testing.T, f *former) {
	heard := f.collected(t, "nobody-asks", "responses/nobody-asks/#")
	f.plugs.press(true)
	f.publish(f.agent, "command/sp_command/sp_g3", `{"data":{"status":0}}`)
	eventually(t, 10*time.Second, "sp_g3 is off", func() bool { return !f.plugs["sp_g3"].On() })
	f.publish(f.agent, "command/sp_command/sp_g3", `{"data":{"status":1},"response-id":"responses/nobody-asks/second"}`)
	if m := await(t, heard, "the answer to the second", func(bus.Message) bool { return true }); m.Topic != "responses/nobody-asks/second" {
		t.Errorf("an answer on %s", m.Topic)
	}
}

// asked publishes a request and gives what is answered.
func (f *former) asked(t *testing.T, topic, payload string) (envelope map[string]json.RawMessage) {
	t.Helper()
	name := "asker-" + bus.NewID()
	heard := make(chan bus.Message, 10)
	f.client(name, func(ctx context.Context, session *bus.Session) error {
		return session.Subscribe(ctx, "responses/"+name+"/#", func(m bus.Message) { heard <- m })
	})
	f.publish(f.agent, topic, strings.ReplaceAll(payload, "RESPOND", "responses/"+name+"/1"))
	m := await(t, heard, "an answer to "+payload, func(bus.Message) bool { return true })
	if err := json.Unmarshal(m.Payload, &envelope); err != nil {
		t.Fatalf("%s: %v", m.Payload, err)
	}
	return envelope
}
