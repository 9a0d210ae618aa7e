package alerting_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/alerting"
	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/shared/contract"
)

func highRule(name, rest string) string {
	return fmt.Sprintf("rules: [{name: %s, signal: power, summary: \"{label} draws {value}\", %s}]", name, rest)
}

// Whatever becomes of a rule while it fires, those who were told that it began are
// told once that it is over, and nobody else.
//
// Seen to fail when the rule as it is now says who hears that something is over.
func TestRulesThatChangeWhileTheyFireTellThatItIsOverOnce(t *testing.T) {
	const first = "severity: warning, when: {above: 100, clear: 80}, receivers: [a, b]"
	for what, c := range map[string]struct {
		rules  string // those after
		sample bool   // it takes a reading to be over
		began  string // what begins anew, with whom
	}{
		"the limit is raised":             {rules: highRule("high", "severity: warning, when: {above: 500, clear: 400}, receivers: [a, b]"), sample: true},
		"the rule is off":                 {rules: highRule("high", first+", off: true")},
		"there is no rule":                {rules: "rules: []"},
		"it watches other places":         {rules: highRule("high", first+", select: {devices: [sp_f1.g5]}")},
		"it watches something else":       {rules: strings.Replace(highRule("high", first), "signal: power", "signal: voltage", 1)},
		"others are told, limit raised":   {rules: highRule("high", "severity: warning, when: {above: 500}, receivers: [c]"), sample: true},
		"others are told, other places":   {rules: highRule("high", "severity: warning, when: {above: 100}, receivers: [c], select: {devices: [sp_f1.g5]}")},
		"it is mere information":          {rules: highRule("high", "severity: info, when: {above: 500}"), sample: true},
		"information for others":          {rules: highRule("high", "severity: info, when: {above: 500}, receivers: [c]"), sample: true},
		"it is called something else":     {rules: highRule("heavy", first), sample: true, began: "ab"},
		"it is called otherwise, for c":   {rules: highRule("heavy", "severity: critical, when: {above: 100}, receivers: [c]"), sample: true, began: "c"},
		"all are told, and it is the end": {rules: highRule("high", "severity: critical, when: {above: 500}"), sample: true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			receiver := func(name string) notify.Receiver {
				return notify.Receiver{Name: name, Kind: "webhook", From: contract.Warning, Over: true}
			}
			p, ears := newPlay(t, monday, highRule("high", first), receiver("a"), receiver("b"), receiver("c"))
			places := p.places(2)
			p.measure(200, places[0])
			p.passes(5 * time.Second)
			for i, name := range []string{"a", "b"} {
				ears[i].wants(name+" at first", "12:00 began high sp_f1.g0")
			}
			ears[2].wants("c at first")
			p.imports(c.rules)
			p.passes(time.Minute)
			if c.sample {
				p.measure(200, places[0])
				p.passes(time.Minute)
			}
			for i, name := range []string{"a", "b", "c"} {
				var want []string
				if i < 2 {
					want = append(want, "over high sp_f1.g0")
				}
				if strings.Contains(c.began, name) {
					want = append(want, "began heavy sp_f1.g0")
				}
				var got []string
				for _, line := range ears[i].got {
					got = append(got, line[len("12:00 "):])
				}
				if strings.Join(got, ", ") != strings.Join(want, ", ") {
					t.Errorf("%s was told %q, want %q", name, got, want)
				}
				ears[i].got = nil
			}
			p.measure(10, places[0])
			p.passes(time.Minute)
			p.passes(time.Minute)
			for i, name := range []string{"a", "b", "c"} {
				if strings.Contains(c.began, name) {
					ears[i].wants(name+" in the end", p.now.Add(-119*time.Second).In(p.zone).Format("15:04")+" over heavy sp_f1.g0")
				} else {
					ears[i].wants(name + " in the end")
				}
			}
			if all := p.kept("firing"); len(all) > 0 {
				t.Errorf("fires still: %+v", all)
			}
		})
	}
}

// What was only queued for somebody who is not told any more is not forgotten
// either: it began and was over.
func TestAQueuedAlertOfARuleThatTellsOthersNowWasAndIsOver(t *testing.T) {
	a := notify.Receiver{Name: "a", Kind: "email", From: contract.Warning, Wait: 30 * time.Second, Over: true}
	b := notify.Receiver{Name: "b", Kind: "webhook", From: contract.Warning, Over: true}
	p, ears := newPlay(t, monday, highRule("high", "severity: warning, when: {above: 100}, receivers: [a]"), a, b)
	places := p.places(1)
	p.measure(200, places...)
	p.passes(5 * time.Second)
	p.imports(highRule("high", "severity: warning, when: {above: 500}, receivers: [b]"))
	p.measure(200, places...)
	p.passes(time.Minute)
	ears[0].wants("a", "12:00 was high sp_f1.g0")
	ears[1].wants("b")
}

func TestAFileWithMistakesChangesNothing(t *testing.T) {
	p, ears := newPlay(t, monday, highRule("high", "severity: warning, when: {above: 100}, receivers: [a]"), notify.Receiver{Name: "a", Kind: "webhook", From: contract.Warning, Over: true})
	places := p.places(1)
	p.measure(200, places...)
	p.passes(time.Second)
	ears[0].wants("at first", "12:00 began high sp_f1.g0")
	before := p.does("rules", contract.RegistryRequest{Verb: "export"})
	for what, c := range map[string]struct {
		text string
		says []string // the mistakes
	}{
		"a rule that lacks everything": {"rules: [{name: x}]", []string{"severity", "signal", "summary", "when"}},
		"no YAML":                      {"rules: [", nil},
		"keys that there are not":      {"rules: []\nrulez: []\n", []string{"rulez"}},
		"a rule twice":                 {"rules:\n- &a {name: x, severity: info, signal: power, when: {above: 1}, summary: s}\n- *a\n", []string{"rules[1].name"}},
		"a calendar that is not there": {highRule("x", "severity: info, when: {above: 1}, hours: inside school"), []string{"rules[0].hours"}},
		"rules that cover each other":  {"rules:\n- {name: x, severity: info, signal: power, when: {above: 1}, summary: s, covered_by: [y]}\n- {name: y, severity: info, signal: power, when: {above: 1}, summary: s, covered_by: [x]}\n", []string{"covered_by"}},
		"a receiver that is not there": {highRule("x", "severity: info, when: {above: 1}, receivers: [a, z]"), []string{"rules[0].receivers"}},
		"one good rule, one bad":       {"rules:\n- {name: x, severity: info, signal: power, when: {above: 1}, summary: s}\n- {name: y, severity: info, signal: power, when: {above: 1, below: 2}, summary: s}\n", []string{"when"}},
		"no text at all":               {"\x00\x01", nil},
	} {
		text, err := json.Marshal(map[string]string{"text": c.text})
		if err != nil {
			t.Fatal(err)
		}
		a := p.role.Do("rules", contract.RegistryRequest{Verb: "import", Content: text, Who: "ada"})
		if a.Problem == nil || a.Problem.Kind != contract.Invalid {
			t.Errorf("%s: %+v", what, a.Problem)
			continue
		}
		for _, key := range c.says {
			if !strings.Contains(fmt.Sprint(a.Problem.Mistakes, a.Problem.Detail), key) {
				t.Errorf("%s: %s is not named in %+v", what, key, a.Problem)
			}
		}
		after := p.does("rules", contract.RegistryRequest{Verb: "export"})
		if string(after.Content) != string(before.Content) || after.Revision != before.Revision {
			t.Errorf("%s: the rules have changed to %s", what, after.Content)
		}
	}
	p.passes(time.Minute)
	ears[0].wants("meanwhile")
	if all := p.kept("firing"); len(all) != 1 {
		t.Errorf("fires: %+v", all)
	}
	if audit := p.does("audit", contract.RegistryRequest{Verb: "list", Filter: map[string]string{"who": "ada"}}); string(audit.Content) != "[]" {
		t.Errorf("audited: %s", audit.Content)
	}
	p.measure(10, places...)
	p.passes(time.Minute)
	ears[0].wants("in the end", "12:01 over high sp_f1.g0")
}

// The file of the first start is checked as one that is imported later.
func TestTheFirstRulesAreCheckedAsAWhole(t *testing.T) {
	for what, c := range map[string]struct{ text, says string }{
		"receivers that there are not": {highRule("x", "severity: info, when: {above: 1}, receivers: [a, z]"), `no receiver "z"`},
		"no rules":                     {"rules: [", "rules.yaml"},
		"a rule that lacks everything": {"rules: [{name: x}]", "rules[0].severity"},
	} {
		cfg := alerting.DefaultConfig()
		cfg.Receivers = []alerting.Receiver{{Name: "a"}}
		cfg.Rules = filepath.Join(t.TempDir(), "rules.yaml")
		if err := os.WriteFile(cfg.Rules, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if d, err := alerting.Drive(cfg, t.TempDir(), nil, time.Now, quiet); err == nil || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "alerting.rules: ") {
			t.Errorf("%s: %v", what, err)
			if d != nil {
				_ = d.Close()
			}
		}
	}
}

// The same over the bus, with a webhook that is real, and a retained topic.
func TestRulesChangedOverTheBusEndWhatFires(t *testing.T) {
	t.Parallel()
	hook, secret := newTold(t)
	s, _ := configured(t, strings.Replace(highRule("high", "severity: warning, when: {above: 100}, receivers: [on-call]"), "high", "over-power", 1), `
rules: %s
receivers:
- {name: on-call, kind: webhook, webhook: {url: %s, secret: %s}}
- {name: spare, kind: webhook, webhook: {url: %[2]s/spare, secret: %[3]s}}
`, hook.url, secret.Reveal())
	s.measure(200)
	hook.until(func(items []notify.Item) bool { return len(items) == 1 })
	answer := s.ask("query", "rules", contract.RegistryRequest{Verb: "get", Key: "over-power"})
	var one map[string]any
	if err := json.Unmarshal(answer.Content, &one); err != nil {
		t.Fatal(err)
	}
	one["when"], one["receivers"] = map[string]any{"above": 500}, []string{"spare"}
	text, err := json.Marshal(one)
	if err != nil {
		t.Fatal(err)
	}
	s.do("rules", contract.RegistryRequest{Verb: "change", Key: "over-power", Content: text, Revision: answer.Revision})
	s.until(topic, fires) // until a reading says otherwise
	s.measure(200)
	s.until(topic, gone)
	hook.until(func(items []notify.Item) bool { return len(items) == 2 })
	s.measure(900)
	s.until(topic, fires)
	hook.until(func(items []notify.Item) bool { return len(items) == 3 })
	s.do("rules", contract.RegistryRequest{Verb: "delete", Key: "over-power"})
	s.until(topic, gone)
	hook.until(func(items []notify.Item) bool { return len(items) == 4 })
	var got []string
	hook.mu.Lock()
	defer hook.mu.Unlock()
	for _, m := range hook.messages {
		got = append(got, fmt.Sprintf("%s: %s", m.Receiver, m.Items[0].Event))
	}
	if want := "on-call: began, on-call: over, spare: began, spare: over"; strings.Join(got, ", ") != want {
		t.Errorf("told %q, want %q", got, want)
	}
}
