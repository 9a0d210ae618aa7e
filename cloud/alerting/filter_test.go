package alerting_test

import (
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/shared/contract"
)

// Whoever mistypes a rule or a gateway must not read that all is well.
func TestFiltersThatNameWhatThereIsNotSaySo(t *testing.T) {
	p, _ := newPlay(t, monday, highRule("high", "severity: warning, when: {above: 100}"), notify.Receiver{Name: "a"})
	ask := func(resource, verb, key, value string) *contract.Problem {
		return p.role.Do(resource, contract.RegistryRequest{Verb: verb, Filter: map[string]string{key: value}}).Problem
	}
	places := p.places(1)
	if problem := ask("alerts", "list", "gateway", "edge-f9"); problem != nil {
		t.Errorf("before the house was heard: %+v", problem)
	}
	p.hear("data/lab-1/influx_data/sp", `{"id":"x","data":[{"n":"sp_f7.g0/power","u":"W","t":1795345200,"v":1}]}`, false)
	p.passes(time.Minute)
	for _, verb := range [][2]string{{"alerts", "list"}, {"statistics", "get"}, {"alerts", "acknowledge"}, {"alerts", "wake"}} {
		for key, value := range map[string]string{"rule": "hihg", "gateway": "edge-f9"} {
			problem := ask(verb[0], verb[1], key, value)
			if problem == nil || problem.Kind != contract.Invalid || len(problem.Mistakes) != 1 || problem.Mistakes[0].Field != key || !strings.Contains(problem.Detail, value) {
				t.Errorf("%v of %s %s: %+v", verb, key, value, problem)
			}
		}
		for key, value := range map[string]string{"rule": "high", "gateway": "edge-f1", "floor": "7"} {
			if problem := ask(verb[0], verb[1], key, value); problem != nil {
				t.Errorf("%v of %s %s: %+v", verb, key, value, problem)
			}
		}
		if problem := ask(verb[0], verb[1], "gateway", "lab-1"); problem != nil {
			t.Errorf("%v of a source: %+v", verb, problem)
		}
	}
	p.measure(200, places...)
	p.passes(time.Minute)
	p.imports("rules: []")
	if all := p.kept("all"); len(all) != 1 {
		t.Fatalf("%+v", all)
	}
	if problem := p.role.Do("alerts", contract.RegistryRequest{Verb: "list", Filter: map[string]string{"rule": "high", "state": "all"}}).Problem; problem != nil {
		t.Errorf("history of a rule that is gone: %+v", problem)
	}
}
