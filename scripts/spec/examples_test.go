package spec_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

// example is a file of docs/hooks/examples: one conversation on the bus.
type example struct {
	name  string
	About string `json:"about"`
	// By says who sends, "role" or, if empty, a guest; Compress how.
	By       string `json:"by"`
	Compress string `json:"compress"`
	// Wrong marks a request that is a mistake, and against its schema.
	Wrong bool `json:"wrong"`
	// Send is published, and answered by Answers; Hear comes by itself, Next is
	// a part of a longer conversation that has a test of its own.
	Send    *said  `json:"send"`
	Answers []said `json:"answers"`
	Hear    *said  `json:"hear"`
	Next    *said  `json:"next"`
	// Points are then in InfluxDB.
	Points []point `json:"points"`
	// Eventually allows to ask again until the answer is right.
	Eventually bool `json:"eventually"`
}

// said is one message.
type said struct {
	Topic   string          `json:"topic"`
	Message string          `json:"message"`
	Payload json.RawMessage `json:"payload"`
	// Varies lists what is different each time, as JSON pointers.
	Varies []string `json:"varies"`
}

type point struct {
	Database, Measurement string
	Time                  json.Number
	Tags                  map[string]string
	Value                 *float64
	Text                  *string
}

// wire is the payload as it is published: without white space, a string as text.
func (s said) wire(t testing.TB) []byte {
	t.Helper()
	var text string
	if json.Unmarshal(s.Payload, &text) == nil {
		return []byte(text)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, s.Payload); err != nil {
		t.Fatalf("%s: %v", s.Topic, err)
	}
	return b.Bytes()
}

func (e example) topic() string {
	for _, s := range []*said{e.Send, e.Hear, e.Next} {
		if s != nil {
			return s.Topic
		}
	}
	return ""
}

// all are the messages of an example by the names that asyncapi.yaml gives them.
func (e example) all() map[string]said {
	all := map[string]said{}
	for _, s := range []*said{e.Send, e.Hear, e.Next} {
		if s != nil {
			all[e.name] = *s
		}
	}
	for _, s := range e.Answers {
		all[e.name+"-answer"] = s
	}
	return all
}

// examples reads all files, in the order of their names, which is that in which
// they are tried.
func examples(t testing.TB) []example {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(hooks, "examples", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal("no examples", err)
	}
	slices.Sort(files)
	var all []example
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		e := example{name: strings.TrimSuffix(filepath.Base(file), ".json")}
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&e); err != nil || e.About == "" || e.topic() == "" {
			t.Fatalf("%s: %v, about %q, topic %q", file, err, e.About, e.topic())
		}
		all = append(all, e)
	}
	return all
}

func TestExamplesAreValid(t *testing.T) {
	d, compiled := asyncAPI(t), schemas(t)
	for _, e := range examples(t) {
		for name, s := range e.all() {
			m, known := d.Components.Messages[s.Message]
			if !known {
				t.Errorf("%s: no message %q", name, s.Message)
				continue
			}
			wrong := e.Wrong && name == e.name
			if err := valid(compiled[m.schema()], s.Payload); (err != nil) != wrong {
				t.Errorf("%s against %s: %v", name, m.schema(), err)
			}
			if !slices.Contains(channelsOf(d, s.Topic), s.Message) {
				t.Errorf("%s: on %s there are %v, no %s", name, s.Topic, channelsOf(d, s.Topic), s.Message)
			}
		}
	}
}

// What asyncapi.yaml shows are the files, and every message has an example.
func TestAsyncAPIShowsTheExamples(t *testing.T) {
	files := map[string]said{}
	for _, e := range examples(t) {
		for name, s := range e.all() {
			files[name] = s
			if e.Wrong && name == e.name {
				delete(files, name) // mistakes are for the pages
			}
		}
	}
	shown := map[string]bool{}
	compiled := schemas(t)
	for name, m := range asyncAPI(t).Components.Messages {
		if len(m.Examples) == 0 {
			t.Errorf("%s has no example", name)
		}
		for _, x := range m.Examples {
			shown[x.Name] = true
			if err := valid(compiled[m.schema()], x.Payload); err != nil {
				t.Errorf("%s of %s: %v", x.Name, name, err)
			}
			if !reflect.DeepEqual(plain(t, x.Payload), plain(t, files[x.Name].Payload)) {
				t.Errorf("%s is\n%s, the file has\n%s", x.Name, x.Payload, files[x.Name].Payload)
			}
		}
	}
	for name := range files {
		if !shown[name] {
			t.Errorf("asyncapi.yaml does not show %s", name)
		}
	}
}

// The digests that the examples show are those of their payloads.
func TestDigestsOfTheExamplesAreTrue(t *testing.T) {
	for _, e := range examples(t) {
		if e.Send == nil || len(e.Answers) == 0 || e.Answers[0].Message != "receipt" || e.Wrong || e.Compress != "" {
			continue
		}
		envelope, err := bus.Decode(e.Answers[0].Payload)
		if err != nil {
			t.Fatal(err)
		}
		var ids struct {
			Stored, Quarantined []struct{ Digest contract.Digest }
		}
		if err := json.Unmarshal(envelope.Data, &ids); err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		for _, one := range append(ids.Stored, ids.Quarantined...) {
			if want := contract.DigestOf(e.Send.wire(t)); one.Digest != want {
				t.Errorf("%s: digest %v, is %v", e.name, one.Digest, want)
			}
		}
	}
}

// plain is JSON as a value that compares; a bare word is a text.
func plain(t testing.TB, text []byte) (v any) {
	t.Helper()
	if len(text) == 0 {
		return nil
	}
	if c := text[0]; c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
		return string(text)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%.200s: %v", text, err)
	}
	return v
}
