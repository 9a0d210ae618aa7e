package ledgerquery_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	ledgerquery "github.com/wattline/wattline/cloud/components/ledger_query"
	"github.com/wattline/wattline/cloud/influx/line"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
)

type switchesPage struct {
	Items []contract.Audited
	Next  string
}

func (s *stand) switches(data string) (page switchesPage) {
	s.t.Helper()
	var a answer
	if err := s.Query(s.t.Context(), hook.Request{Subpath: "switches", Data: json.RawMessage(data), Wanted: true}, &a); err != nil {
		s.t.Fatalf("%s: %v", data, err)
	}
	if err := json.Unmarshal(a.data, &page); err != nil {
		s.t.Fatal(err)
	}
	return page
}

// account writes what sp_command writes of a switch; an empty outcome has no
// result.
func (s *stand) account(who, command, place string, at device.Micros, on bool, outcome contract.Outcome) {
	s.t.Helper()
	fields := []line.Field{line.String("command", command), line.String("who", who), line.String("reason", "night"), line.Bool("on", on)}
	tags := func(phase string) []line.Tag {
		return []line.Tag{{Key: "id", Value: place}, {Key: "phase", Value: phase}}
	}
	text := line.Append(nil, "audit", tags("intent"), fields, int64(at))
	if outcome != "" {
		text = line.Append(text, "audit", tags("result"), append(fields, line.String("outcome", string(outcome)), line.String("detail", "because")), int64(at)+1e6)
	}
	if err := s.store.Write(s.t.Context(), "wattline", text); err != nil {
		s.t.Fatal(err)
	}
}

func TestSwitchesAreToldWithHowTheyEnded(t *testing.T) {
	s := newStand(t)
	who := "ana " + s.database // of this test only
	begin := device.MicrosOf(time.Now().Add(-time.Hour))
	s.account(who, "c1", "sp_f1.g0", begin, true, contract.Confirmed)
	s.account(who, "c1", "sp_f1.g1", begin+1, true, contract.Refused)
	s.account(who, "c2", "sp_f1.g0", begin+2e6, false, contract.Unreachable)
	s.account(who, "c3", "sp_f1.g0", begin+3e6, false, "")
	s.account("bob "+s.database, "c4", "sp_f1.g0", begin+4e6, false, contract.Confirmed)
	entry := func(at device.Micros, what, object, result, detail string) contract.Audited {
		return contract.Audited{At: at, Who: who, What: what, Object: object, Reason: "night", Result: result, Detail: detail}
	}
	all := []contract.Audited{
		entry(begin+3e6, "switch off", "sp_f1.g0", "unknown", "command c3"),
		entry(begin+2e6, "switch off", "sp_f1.g0", "failed", "unreachable; because; command c2"),
		entry(begin+1, "switch on", "sp_f1.g1", "refused", "refused; because; command c1"),
		entry(begin, "switch on", "sp_f1.g0", "done", "confirmed; because; command c1"),
	}
	for filter, want := range map[string][]contract.Audited{
		"":                              all,
		`,"object":"sp_f1.g1"`:          all[2:3],
		`,"object":"sp_f1.g*"`:          all,
		`,"object":"sp_f1/.*"`:          nil,
		`,"what":"switch on"`:           all[2:],
		`,"what":"change place"`:        nil,
		`,"what":"switch*"`:             all,
		`,"result":"failed"`:            all[1:2],
		`,"from":` + secondsOf(begin+1): all[:3],
		`,"to":` + secondsOf(begin+1):   all[3:],
	} {
		page := s.switches(fmt.Sprintf(`{"who":%q%s}`, who, filter))
		if diff := cmp.Diff(want, page.Items, cmp.Transformer("empty", func(l []contract.Audited) []contract.Audited { return append([]contract.Audited{}, l...) })); diff != "" || page.Next != "" {
			t.Errorf("%s: next %q, %s", filter, page.Next, diff)
		}
	}
	if page := s.switches(fmt.Sprintf(`{"who":"*","from":%s,"to":%s}`, secondsOf(begin), secondsOf(begin+5e6))); len(page.Items) < 5 {
		t.Errorf("anybody: %v", page.Items)
	}
	if page := s.switches(`{"who":"x' OR \"who\" != '"}`); len(page.Items) != 0 {
		t.Errorf("an injected condition found %v", page.Items)
	}
}

func secondsOf(at device.Micros) string { return string(at.AppendSeconds(nil)) }

func TestSwitchesComeInPages(t *testing.T) {
	s := newStand(t)
	who := "ana " + s.database
	begin := device.MicrosOf(time.Now().Add(-2 * time.Hour))
	for n := range 23 { // some of them at one time, of several sp_commands
		s.account(who, fmt.Sprintf("c%d", n), fmt.Sprintf("sp_f1.g%d", n), begin+device.Micros(n/3), true, contract.Confirmed)
	}
	for _, limit := range []int{1, 2, 5, 23, 100} {
		var got []string
		cursor := ""
		for range 30 {
			page := s.switches(fmt.Sprintf(`{"who":%q,"limit":%d,"cursor":%q}`, who, limit, cursor))
			for _, e := range page.Items {
				got = append(got, e.Object)
			}
			if cursor = page.Next; cursor == "" {
				break
			}
		}
		slices.Sort(got)
		if len(got) != 23 || len(slices.Compact(got)) != 23 {
			t.Errorf("limit %d: %v", limit, got)
		}
	}
}

func TestMistakesInAQuestionForSwitchesAreNamed(t *testing.T) {
	c := ledgerquery.New(ledgerquery.Options{Prover: &fixed{}, Store: empty{}}, quiet)
	var a answer
	err := c.Query(t.Context(), hook.Request{Subpath: "switches", Data: json.RawMessage(`{"whom":"x","from":"soon","limit":0,"cursor":"x"}`), Wanted: true}, &a)
	for _, name := range []string{"whom: ", "from: ", "limit: ", "cursor: "} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
	if err := c.Query(t.Context(), hook.Request{Subpath: "switches", Wanted: true}, &a); err != nil || string(a.data) != `{"items":[],"next":""}` {
		t.Errorf("of nobody: %s, %v", a.data, err)
	}
}
