package spec_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// hooks is the folder of the specification.
const hooks = "../../docs/hooks"

// document is asyncapi.yaml, as far as the tests look at it.
type document struct {
	Channels   map[string]channel `json:"channels"`
	Components struct {
		Messages map[string]message `json:"messages"`
	} `json:"components"`
}

type channel struct {
	Address    string                     `json:"address"`
	Parameters map[string]json.RawMessage `json:"parameters"`
	Messages   map[string]reference       `json:"messages"`
	Access     struct{ Publish, Hear []string }
}

type reference struct {
	Ref string `json:"$ref"`
}

type message struct {
	ContentType string `json:"contentType"`
	Payload     struct {
		SchemaFormat string    `json:"schemaFormat"`
		Schema       reference `json:"schema"`
	} `json:"payload"`
	Examples []struct {
		Name    string          `json:"name"`
		Payload json.RawMessage `json:"payload"`
	} `json:"examples"`
}

// content is a payload as JSON: a text is a string.
func (m message) content(payload []byte) []byte {
	if m.ContentType != "text/plain" {
		return payload
	}
	text, err := json.Marshal(string(payload))
	if err != nil {
		return payload
	}
	return text
}

// schema is the file of a message's schema.
func (m message) schema() string { return strings.TrimPrefix(m.Payload.Schema.Ref, "./schemas/") }

// asTree reads asyncapi.yaml as JSON would be read.
func asTree(t testing.TB) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(hooks, "asyncapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	return tree
}

func asyncAPI(t testing.TB) document {
	t.Helper()
	text, err := json.Marshal(asTree(t))
	if err != nil {
		t.Fatal(err)
	}
	var d document
	if err := json.Unmarshal([]byte(strings.ReplaceAll(string(text), `"x-access"`, `"Access"`)), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// allowed are the members of each object of AsyncAPI 3.0.0 that is used, and of
// MQTT's bindings 0.2.0; those that are required begin with an exclamation mark.
// A path is a pattern, * is any key.
var allowed = map[string]string{
	"":                                     "!asyncapi !info !channels !operations !components servers defaultContentType id",
	"info":                                 "!title !version description license contact tags externalDocs termsOfService",
	"info.license":                         "!name url",
	"servers.*":                            "!host !protocol protocolVersion pathname description title summary variables security tags bindings",
	"servers.*.bindings":                   "mqtt",
	"servers.*.bindings.mqtt":              "clientId cleanSession lastWill keepAlive bindingVersion",
	"channels.*":                           "!address !messages title summary description servers parameters tags bindings x-access",
	"channels.*.parameters.*":              "enum default description examples location",
	"channels.*.messages.*":                "!$ref",
	"channels.*.x-access":                  "!publish !hear",
	"operations.*":                         "!action !channel title summary description security tags bindings traits messages reply",
	"operations.*.channel":                 "!$ref",
	"operations.*.bindings":                "!mqtt",
	"operations.*.bindings.mqtt":           "!qos !retain messageExpiryInterval bindingVersion",
	"operations.*.reply":                   "address channel messages",
	"operations.*.reply.address":           "!location description",
	"operations.*.reply.channel":           "!$ref",
	"operations.*.reply.messages.*":        "!$ref",
	"components":                           "messages schemas servers channels operations parameters",
	"components.messages.*":                "!name !title !contentType !payload !examples headers correlationId summary description tags bindings traits",
	"components.messages.*.payload":        "!schemaFormat !schema",
	"components.messages.*.examples.*":     "!name !payload summary headers",
	"components.messages.*.payload.schema": "!$ref",
}

func TestAsyncAPIHasItsForm(t *testing.T) {
	tree := asTree(t)
	if tree["asyncapi"] != "3.0.0" {
		t.Errorf("asyncapi: %v", tree["asyncapi"])
	}
	used := map[string]bool{}
	walk(tree, nil, func(path []string, members map[string]any) {
		pattern := patternOf(path)
		if strings.Contains(pattern, ".examples.*.") { // a payload
			return
		}
		rule, known := allowed[pattern]
		if !known && len(members) > 0 && !slices.Contains([]string{"servers", "channels", "operations", "components.messages"}, pattern) &&
			!strings.HasSuffix(pattern, ".parameters") && !strings.HasSuffix(pattern, "*.messages") {
			t.Errorf("%s: no such object in AsyncAPI, as far as the test knows", strings.Join(path, "."))
			return
		}
		used[pattern] = true
		for word := range strings.FieldsSeq(rule) {
			name, required := strings.CutPrefix(word, "!")
			if _, there := members[name]; required && !there {
				t.Errorf("%s: %s is missing", strings.Join(path, "."), name)
			}
		}
		for name := range members {
			if known && !slices.Contains(strings.Fields(strings.ReplaceAll(rule, "!", "")), name) {
				t.Errorf("%s: %s is none of %s", strings.Join(path, "."), name, rule)
			}
		}
	})
	for pattern := range allowed {
		if !used[pattern] {
			t.Errorf("nothing of the form %q is there: the test looks past the document", pattern)
		}
	}
}

// walk calls each for every object of a tree, from the outside in.
func walk(node any, path []string, each func(path []string, members map[string]any)) {
	switch node := node.(type) {
	case map[string]any:
		each(path, node)
		for key, child := range node {
			walk(child, append(slices.Clone(path), key), each)
		}
	case []any:
		for i, child := range node {
			walk(child, append(slices.Clone(path), fmt.Sprint(i)), each)
		}
	}
}

// patternOf puts * where the author of a document chooses a name.
func patternOf(path []string) string {
	path = slices.Clone(path)
	for i := range path {
		if i > 0 && slices.Contains([]string{"servers", "channels", "operations", "messages", "parameters", "examples"}, path[i-1]) {
			path[i] = "*"
		}
	}
	return strings.Join(path, ".")
}

func TestEveryReferenceLeadsSomewhere(t *testing.T) {
	tree := asTree(t)
	pointed := map[string]bool{}
	walk(tree, nil, func(path []string, members map[string]any) {
		ref, ok := members["$ref"].(string)
		if !ok || strings.Contains(patternOf(path), ".examples.*.") {
			return
		}
		pointed[ref] = true
		if file, found := strings.CutPrefix(ref, "./"); found {
			if _, err := os.Stat(filepath.Join(hooks, file)); err != nil {
				t.Errorf("%s: %v", strings.Join(path, "."), err)
			}
			return
		}
		var node any = tree
		for step := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			members, _ := node.(map[string]any)
			if node = members[step]; node == nil {
				t.Errorf("%s: %s leads nowhere", strings.Join(path, "."), ref)
				return
			}
		}
	})
	d := asyncAPI(t)
	for name := range d.Components.Messages {
		if !pointed["#/components/messages/"+name] {
			t.Errorf("message %s is on no channel", name)
		}
	}
}

var parameter = regexp.MustCompile(`\{(\w+)\}`)

func TestParametersAreThoseOfTheAddress(t *testing.T) {
	for name, c := range asyncAPI(t).Channels {
		var want []string
		for _, m := range parameter.FindAllStringSubmatch(c.Address, -1) {
			want = append(want, m[1])
		}
		slices.Sort(want)
		if got := slices.Sorted(maps.Keys(c.Parameters)); !slices.Equal(got, want) {
			t.Errorf("%s: %s has the parameters %v", name, c.Address, got)
		}
	}
}

// Each operation's reply has messages of its channel.
func TestRepliesAreMessagesOfTheirChannel(t *testing.T) {
	walk(asTree(t)["operations"], []string{"operations"}, func(path []string, members map[string]any) {
		if patternOf(path) != "operations.*.reply" {
			return
		}
		channel, _ := members["channel"].(map[string]any)
		messages, _ := members["messages"].([]any)
		for _, m := range messages {
			ref, _ := m.(map[string]any)["$ref"].(string)
			if prefix, _ := channel["$ref"].(string); !strings.HasPrefix(ref, prefix+"/messages/") {
				t.Errorf("%s: %s is no message of %s", strings.Join(path, "."), ref, prefix)
			}
		}
	})
}
