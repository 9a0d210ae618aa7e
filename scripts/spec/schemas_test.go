package spec_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	ledgerquery "github.com/wattline/wattline/cloud/components/ledger_query"
	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// schemas compiles every file of docs/hooks/schemas, by file name.
func schemas(t testing.TB) map[string]*jsonschema.Schema {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join(hooks, "schemas"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	compiled := make(map[string]*jsonschema.Schema)
	for _, f := range files {
		s, err := c.Compile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatalf("%s: %v", f.Name(), err)
		}
		compiled[f.Name()] = s
	}
	return compiled
}

// valid tells what a schema has against a payload, nil for nothing.
func valid(s *jsonschema.Schema, payload []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(payload))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// raw is a schema as JSON.
type raw struct {
	Schema     string         `json:"$schema"`
	Title      string         `json:"title"`
	Properties map[string]any `json:"properties"`
	Required   []string       `json:"required"`
}

func TestSchemasAreOfTheDraftAndUsed(t *testing.T) {
	used := map[string]bool{"common.json": true, "envelope.json": true}
	for _, m := range asyncAPI(t).Components.Messages {
		used[m.schema()] = true
		if m.Payload.SchemaFormat != "application/schema+json;version=draft-2020-12" {
			t.Errorf("%s: %s", m.schema(), m.Payload.SchemaFormat)
		}
	}
	var all []byte
	for name := range schemas(t) {
		text, err := os.ReadFile(filepath.Join(hooks, "schemas", name))
		if err != nil {
			t.Fatal(err)
		}
		var s raw
		if err := json.Unmarshal(text, &s); err != nil || s.Schema != "https://json-schema.org/draft/2020-12/schema" || s.Title == "" {
			t.Errorf("%s: draft %q, title %q, %v", name, s.Schema, s.Title, err)
		}
		all = append(all, text...)
	}
	for name := range schemas(t) {
		if !used[name] && !bytes.Contains(all, []byte(`"`+name+`"`)) {
			t.Errorf("%s is the schema of no message", name)
		}
	}
}

// types are the Go types behind the objects of the schemas: file, then the way
// to the object.
var types = map[string]any{
	"envelope.json": bus.Envelope{}, "batch.json": contract.BatchHead{}, "common.json#/$defs/span": contract.Span{},
	"receipt.json#/oneOf/0/properties/data": contract.Receipts{}, "receipt.json#/oneOf/0/properties/data/properties/stored/items": contract.Receipt{},
	"series.json": contract.Series{}, "series.json#/properties/points/items": contract.Point{},
	"proof.json": ledger.Proof{}, "proof.json#/$defs/run": ledger.RunProof{},
	"source.json": ledgerquery.Source{}, "refusal.json": ledgerquery.Refusal{}, "audited.json": contract.Audited{},
	"switch_request.json": contract.SwitchRequest{}, "switch_request.json#/properties/select": contract.Select{},
	"result.json": contract.Result{}, "switch_answer.json#/properties/data/anyOf/0": contract.SwitchAnswer{},
	"gateway_command.json#/$defs/content":                                   contract.GatewayCommand{},
	"gateway_command.json#/$defs/content/properties/deadline":               contract.Deadline{},
	"gateway_command.json#/$defs/content/properties/switches/anyOf/0/items": contract.Switch{},
	"gateway_results.json#/properties/data":                                 contract.Results{},
	"gateway_config.json":                                                   contract.GatewayConfig{}, "gateway_config.json#/properties/plugs/anyOf/0/items": contract.Plug{},
	"gateway_config.json#/properties/discovery": contract.Discovery{},
	"gateway_status.json":                       contract.Status{}, "gateway_status.json#/properties/outbox": contract.OutboxStatus{},
	"gateway_status.json#/properties/plugs": contract.PlugsStatus{}, "gateway_status.json#/properties/plugs/properties/problems/items": contract.PlugProblem{},
	"gateway_status.json#/properties/clock": contract.ClockStatus{}, "gateway_status.json#/properties/config_refused": contract.ConfigRefused{},
	"gateway_status.json#/properties/outbox/properties/earlier/items": contract.Run{},
	"found.json": contract.Found{}, "found.json#/properties/plugs/anyOf/0/items": contract.FoundPlug{},
	"site.json": contract.Site{}, "gateway_info.json": contract.GatewayInfo{}, "place.json": contract.Place{}, "token.json": contract.Token{},
	"alert.json": contract.Alert{}, "alert.json#/properties/hushed": contract.Hushed{},
	"common.json#/$defs/certificate":       contract.Certificate{},
	"registry_request.json#/$defs/content": contract.RegistryRequest{}, "registry_answer.json#/$defs/content": contract.RegistryAnswer{},
	"registry_answer.json#/$defs/content/properties/problem":                           contract.Problem{},
	"registry_answer.json#/$defs/content/properties/problem/properties/mistakes/items": contract.Mistake{},
}

// fewer are the objects of which a sender may leave out more than the type says:
// a will is a status with the epoch only, a request has what it needs.
var fewer = []string{"gateway_status.json", "switch_request.json", "switch_answer.json#/properties/data/anyOf/0"}

func TestSchemasHaveTheMembersOfTheTypes(t *testing.T) {
	for where, v := range types {
		s := object(t, where)
		var want, required []string
		for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" || name == "-" {
				continue
			}
			want = append(want, name)
			if options == "" && f.Type != reflect.TypeFor[json.RawMessage]() {
				required = append(required, name)
			}
		}
		slices.Sort(want)
		if got := slices.Sorted(maps.Keys(s.Properties)); !slices.Equal(got, want) {
			t.Errorf("%s has the members\n%v, %T has\n%v", where, got, v, want)
		}
		for _, name := range s.Required {
			if !slices.Contains(required, name) {
				t.Errorf("%s requires %s, which %T may leave out", where, name, v)
			}
		}
		for _, name := range required {
			if !slices.Contains(s.Required, name) && !slices.Contains(fewer, where) {
				t.Errorf("%s does not require %s, which %T always has", where, name, v)
			}
		}
	}
}

// object finds a part of a schema file.
func object(t *testing.T, where string) raw {
	t.Helper()
	file, pointer, _ := strings.Cut(where, "#/")
	text, err := os.ReadFile(filepath.Join(hooks, "schemas", file))
	if err != nil {
		t.Fatal(err)
	}
	var node any
	if err := json.Unmarshal(text, &node); err != nil {
		t.Fatal(err)
	}
	for step := range strings.FieldsFuncSeq(pointer, func(r rune) bool { return r == '/' }) {
		switch n := node.(type) {
		case map[string]any:
			node = n[step]
		case []any:
			var i int
			if _, err := fmt.Sscan(step, &i); err != nil || i >= len(n) {
				t.Fatalf("%s: no %s", where, step)
			}
			node = n[i]
		}
	}
	if text, err = json.Marshal(node); err != nil {
		t.Fatal(err)
	}
	var s raw
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Properties) == 0 {
		t.Errorf("%s: no object with properties", where)
	}
	return s
}

// The patterns of the schemas take what the code takes.
func TestPatternsAreThoseOfTheCode(t *testing.T) {
	common := filepath.Join(hooks, "schemas", "common.json")
	for pattern, c := range map[string]struct {
		code  func(string) error
		texts []string
	}{
		"deviceId": {func(s string) error { _, err := device.Parse(s); return err }, []string{
			"sp_w.r1.c1", "sp_f2.w.r1.c1", "sp_f-1.p0", "sp_g3", "echo-dot_x2", "sp_f2", "sp_fx1", "a1_b0", "sp_f0.g0", "sp_w.r01.c1", "sp_g03", "sp_f-0.g1", "sp_f01.g1",
			"sp_", "_g1", "sp_g", "sp_g1.", "sp_w.r1", "sp_w.c1.r1", "SP_g1", "sp-_g1", "-sp_g1", "sp_f2.g1234567", "sp_f1234567.g1", "g1", "sp_f2.f2.g1", "sp_f.g1", "", "sp_g1/x",
			"sp_" + strings.Repeat("a", 61) + "1",
		}},
		"batchId": {func(s string) error { _, err := contract.ParseBatchID(s); return err }, []string{
			"9f3c0a5be1d27486-1", "9f3c0a5be1d27486-1041", "9f3c0a5be1d27486-0", "9f3c0a5be1d27486-01", "9F3C0A5BE1D27486-1", "9f3c-1", "9f3c0a5be1d27486", "9f3c0a5be1d27486-+1",
		}},
		"batchRange": {func(s string) error { _, err := contract.ParseRange(s); return err }, []string{"9f3c0a5be1d27486-1..4", "9f3c0a5be1d27486-1..", "9f3c0a5be1d27486-1", "9f3c0a5be1d27486-1...4"}},
		"responseTopic": {func(s string) error {
			if !bus.IsResponse(s) {
				return bus.ErrTopic
			}
			return nil
		}, []string{"responses/a", "responses/a/b", "responses/", "responses", "responses//a", "responses/a/", "responses/+", "responses/#", "responses/$a", "state/a", "responses/a\x00"}},
	} {
		s, err := jsonschema.NewCompiler().Compile(common + "#/$defs/" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range c.texts {
			if got, want := s.Validate(text) == nil, c.code(text) == nil; got != want {
				t.Errorf("%s %q: the schema takes it: %t, the code: %t", pattern, text, got, want)
			}
		}
	}
}

// Payloads that the code refuses are refused by the schemas too.
func TestSchemasRefuse(t *testing.T) {
	all := schemas(t)
	for file, payloads := range map[string][]string{
		"data.json":           {`[]`, `{}`, `{"data":{}}`, `{"data":[{"v":true}]}`, `{"data":[{"n":"a/b","v":1,"vs":"x"}]}`, `{"data":[{"n":"a b","v":1}]}`, `{"data":[{"x_":1}]}`, `{"data":[],"batch":{}}`, `{"data":[{"bver":11}]}`},
		"influx_query.json":   {`{"data":{"colour":"red"}}`, `{"data":{"operation":"average"}}`, `{"data":[]}`},
		"switch_command.json": {`{}`, `{"data":{}}`, `{"data":{"status":2}}`, `{"data":{"on":true,"dryrun":true}}`, `{"data":{"status":1,"on":true}}`, `{"data":{"on":1}}`},
		"receipt.json":        {`{}`, `{"id":"a","data":{"stored":[]}}`, `{"data":{"stored":[{"id":"a"}]}}`},
		"part_request.json":   {`{"id":"a"}`, `{"part":1}`, `{"id":"a","part":1,"error":"x"}`},
		"answer.json":         {`{}`, `{"id":"a"}`, `{"id":7,"data":1}`},
		"replay_command.json": {`{"data":{}}`, `{"data":{"id":"x"}}`},
	} {
		for _, payload := range payloads {
			if valid(all[file], []byte(payload)) == nil {
				t.Errorf("%s takes %s", file, payload)
			}
		}
	}
}
