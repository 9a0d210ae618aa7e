package spec_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/senml"
)

// The tests here hold the rules of docs/hooks/versions.md, by its numbers.

var named = regexp.MustCompile("`([a-z_]+)`")

// Rule 1: the schemas that refuse unknown members are those that the page names.
func TestTheClosedSchemasAreNamed(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(hooks, "versions.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "| schema | because |")
	table, _, _ = strings.Cut(table, "\n\n")
	var want []string
	for line := range strings.Lines(table) {
		first, _, _ := strings.Cut(strings.Trim(strings.TrimSpace(line), "| "), "|")
		for _, m := range named.FindAllStringSubmatch(first, -1) {
			want = append(want, m[1]+".json")
		}
	}
	var got []string
	for name := range schemas(t) {
		text, err := os.ReadFile(filepath.Join(hooks, "schemas", name))
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		if closed(v) {
			got = append(got, name)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("closed are %v, the page names %v", got, want)
	}
}

// closed tells whether a schema refuses unknown members anywhere.
func closed(v any) bool {
	switch n := v.(type) {
	case map[string]any:
		if n["additionalProperties"] == false || n["unevaluatedProperties"] == false {
			return true
		}
		for _, child := range n {
			if closed(child) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(n, closed)
	}
	return false
}

// Rule 1: to each object of each example a member is added that nobody knows.
// What is open by its schema is still valid, and the type behind the message
// reads the same.
func TestUnknownMembersAreIgnored(t *testing.T) {
	compiled, d := schemas(t), asyncAPI(t)
	behind := map[string]any{
		"gatewayStatus": contract.Status{}, "gatewayConfig": contract.GatewayConfig{}, "gatewayCommand": bus.Envelope{}, "receipt": bus.Envelope{},
		"site": contract.Site{}, "place": contract.Place{}, "gatewayInfo": contract.GatewayInfo{}, "token": contract.Token{}, "data": bus.Envelope{},
	}
	tried := 0
	for name, m := range d.Components.Messages {
		text, err := os.ReadFile(filepath.Join(hooks, "schemas", m.schema()))
		if err != nil {
			t.Fatal(err)
		}
		var s any
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatal(err)
		}
		for _, x := range m.Examples {
			if closed(s) || strings.Contains(string(text), `"$ref"`) && mayBeClosed(string(text)) {
				continue
			}
			var v any
			if err := json.Unmarshal(x.Payload, &v); err != nil {
				t.Fatal(err)
			}
			future, err := json.Marshal(withUnknown(v))
			if err != nil {
				t.Fatal(err)
			}
			tried++
			if err := valid(compiled[m.schema()], future); err != nil {
				t.Errorf("%s of %s: %v", x.Name, name, err)
			}
			zero := behind[name]
			if zero == nil {
				continue
			}
			now, then := reflect.New(reflect.TypeOf(zero)), reflect.New(reflect.TypeOf(zero))
			if err := json.Unmarshal(x.Payload, now.Interface()); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(future, then.Interface()); err != nil {
				t.Errorf("%s: %v", x.Name, err)
			}
			if _, envelope := zero.(bus.Envelope); !envelope && !reflect.DeepEqual(now.Interface(), then.Interface()) {
				t.Errorf("%s is read as\n%+v, was\n%+v", x.Name, then.Elem(), now.Elem())
			}
		}
	}
	if tried < 20 {
		t.Errorf("only %d examples were tried", tried)
	}
}

// mayBeClosed tells of a schema that it uses one that is closed.
func mayBeClosed(text string) bool {
	return strings.Contains(text, "_query.json") || strings.Contains(text, "switch_request.json") || strings.Contains(text, "replay_command.json")
}

// withUnknown adds a member to each object, and leaves arrays of numbers and maps
// by device id, whose keys mean something, as they are.
func withUnknown(v any) any {
	switch n := v.(type) {
	case map[string]any:
		object := map[string]any{"of_the_future": map[string]any{"a": []any{1, nil}}}
		for key, child := range n {
			switch key {
			case "tags", "error": // by names that mean something
				object[key] = child
			default:
				object[key] = withUnknown(child)
			}
		}
		return object
	case []any:
		all := make([]any, len(n))
		for i, child := range n {
			all[i] = withUnknown(child)
		}
		return all
	}
	return v
}

// Rules 1 and 2.
func TestPacksOfTheFuture(t *testing.T) {
	for record, ok := range map[string]bool{
		`{"n":"sp_g1/power","t":1700000000,"v":1}`:                      true,
		`{"n":"sp_g1/power","t":1700000000,"v":1,"bver":10}`:            true,
		`{"n":"sp_g1/power","t":1700000000,"v":1,"bver":26}`:            true,
		`{"n":"sp_g1/power","t":1700000000,"v":1,"bver":27}`:            false,
		`{"n":"sp_g1/power","t":1700000000,"v":1,"bver":5}`:             false,
		`{"n":"sp_g1/power","t":1700000000,"v":1,"quality":{"of":[1]}}`: true,
		`{"n":"sp_g1/power","t":1700000000,"v":1,"scale_":2}`:           false,
	} {
		records, err := senml.Decode([]byte("["+record+"]"), 10)
		if (err == nil) != ok || ok && len(records) != 1 {
			t.Errorf("%s: %d records, %v", record, len(records), err)
		}
	}
}

// Rule 4: who publishes where nobody listens, or below a family with levels that
// it does not have, harms nobody.
func TestTopicsOfTheFutureHarmNobody(t *testing.T) {
	payload := []byte(`{"id":"1","response_topic":"responses/agent/x","data":[{"n":"sp_g1/power","t":1700000000,"v":1}]}`)
	for _, topic := range []string{"data/agent", "data/agent/influx_data/sp/id/more", "state/edge-f1/sp_g1/power", "state/edge-f1/elevator"} {
		if d, err := hook.Decode(bus.Message{Topic: topic, Payload: payload}, time.Now()); err == nil {
			t.Errorf("%s is taken for %+v", topic, d)
		}
	}
	s := start(t, "embedded")
	guest := s.client("guest", "", nil)
	for _, topic := range []string{"forecast/edge-f1/sp_f1.g0", "data/agent/influx_data/sp/id/more", "data/agent/influx_forecast/sp", "query/forecast/sp/power"} {
		s.publish(guest, topic, payload)
	}
	s.publish(guest, "data/agent/influx_data/sp", []byte(`{"id":"2","response_topic":"responses/agent/x","data":[{"n":"sp_f1.x9/power","t":1700000000,"v":1}]}`))
	s.until("what is known is still stored", func() bool {
		for _, m := range s.heard.on("responses/agent/x") {
			if strings.Contains(string(m.Payload), `"2"`) {
				return true
			}
		}
		return false
	})
	for _, m := range s.heard.on("responses/agent/x") {
		if strings.Contains(string(m.Payload), `"id":"1"`) && strings.Contains(string(m.Payload), "stored") {
			t.Errorf("a topic that nobody knows was stored: %s", m.Payload)
		}
	}
}

// A receipt of a kind that a reader does not know releases nothing, and does not
// keep it from the kinds that it knows.
func TestUnknownReceiptsReleaseNothing(t *testing.T) {
	text := func(id int) string {
		return fmt.Sprintf(`{"id":"9f3c2b1a0d4e5f60-%d","digest":"0011223344556677"}`, id)
	}
	var r contract.Receipts
	if err := json.Unmarshal([]byte(`{"stored":[`+text(1)+`],"archived":[`+text(2)+`],"thinned":7}`), &r); err != nil {
		t.Fatal(err)
	}
	if all := r.All(); len(all) != 1 || all[0].ID.Sequence != 1 {
		t.Errorf("released are %v", all)
	}
}
