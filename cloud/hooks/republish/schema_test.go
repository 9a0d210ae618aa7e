package republish_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

// discovery is the schema of what Home Assistant is told, which extensions are
// shown too.
var discovery = sync.OnceValues(func() (*jsonschema.Schema, error) {
	file, err := filepath.Abs("../../../docs/hooks/schemas/home_assistant.json")
	if err != nil {
		return nil, err
	}
	return jsonschema.NewCompiler().Compile(file)
})

// breaches lists what is wrong with an announcement: what the schema says, and
// what one cannot say in a schema, that its parts are of one place.
func breaches(topic string, payload []byte) (all []string) {
	schema, err := discovery()
	if err != nil {
		return []string{err.Error()}
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(payload))
	if err != nil {
		return []string{err.Error()}
	}
	if err := schema.Validate(v); err != nil {
		return []string{err.Error()}
	}
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	var a struct {
		Device       struct{ Identifiers []string }
		Availability []struct{ Topic string }
		Components   map[string]struct {
			UniqueID string `json:"unique_id"`
			State    string `json:"state_topic"`
			Command  string `json:"command_topic"`
		}
	}
	if err := json.Unmarshal(payload, &a); err != nil {
		return []string{err.Error()}
	}
	object := a.Device.Identifiers[0]
	if want := "homeassistant/device/" + object + "/config"; topic != want {
		say("topic %s, want %s", topic, want)
	}
	prefix, _, _ := strings.Cut(a.Availability[0].Topic, "/availability")
	for _, one := range a.Availability {
		if !strings.HasPrefix(one.Topic, prefix+"/") {
			say("availability %s is not below %s", one.Topic, prefix)
		}
	}
	for name, c := range a.Components {
		if c.UniqueID == "" {
			continue // dropped
		}
		if suffix := strings.Replace(name, "switch", "relay", 1); c.UniqueID != object+"_"+suffix {
			say("%s: unique_id %s is not of %s", name, c.UniqueID, object)
		}
		for _, topic := range []string{c.State, c.Command} {
			levels := strings.Split(strings.TrimPrefix(topic, prefix+"/"), "/")
			if topic != "" && (len(levels) != 2 || "wattline_"+strings.ReplaceAll(levels[0], ".", "_") != object) {
				say("%s: %s is not of %s", name, topic, object)
			}
		}
	}
	return all
}

// free are texts that may say anything, and what may be left out.
var (
	freeTexts = []string{"name", "manufacturer", "model", "suggested_area"}
	optional  = []string{"manufacturer", "model", "suggested_area"}
)

// Each member of an announcement is left out, misspelt, and made something else
// in turn, and a member is added to each object; the schema refuses all of it.
func TestEachMistakeInAnAnnouncementIsFound(t *testing.T) {
	f := onMosquitto(t)
	f.furnish(place("sp_f1.g0", ""), place("sp_f1.g1", "a server"))
	f.start()
	tried := 0
	for object, part := range map[string]string{"sp_f1_g0": "command_topic", "sp_f1_g1": "binary_sensor"} {
		topic := "homeassistant/device/wattline_" + object + "/config"
		payload := f.until(topic, part)
		if all := breaches(topic, []byte(payload)); len(all) > 0 {
			t.Fatalf("%s: %v", payload, all)
		}
		var root map[string]any
		if err := json.Unmarshal([]byte(payload), &root); err != nil {
			t.Fatal(err)
		}
		refuse := func(what string) {
			t.Helper()
			tried++
			text, err := json.Marshal(root)
			if err != nil {
				t.Fatal(err)
			}
			if len(breaches(topic, text)) == 0 {
				t.Errorf("%s: %s is not noticed", object, what)
			}
		}
		mutate(root, "", refuse)
		for _, wrong := range []string{"homeassistant/device/wattline_sp.f1.g0/config", "homeassistant/sensor/wattline_" + object + "/config", topic + "/x"} {
			if len(breaches(wrong, []byte(payload))) == 0 {
				t.Errorf("topic %s is not noticed", wrong)
			}
		}
	}
	if tried < 400 {
		t.Errorf("only %d mistakes were tried", tried)
	}
	t.Logf("%d mistakes", tried)
}

// mutate makes one mistake after the other, and takes each back.
func mutate(members map[string]any, path string, refuse func(what string)) {
	members["colour"] = "red"
	refuse(path + "/colour added")
	delete(members, "colour")
	for _, key := range slices.Sorted(maps.Keys(members)) {
		at, was := path+"/"+key, members[key]
		if !slices.Contains(optional, key) {
			delete(members, key)
			refuse(at + " left out")
		}
		members[key+"s"] = was
		delete(members, key)
		refuse(at + " misspelt")
		delete(members, key+"s")
		for _, wrong := range wrongs(key, was) {
			members[key] = wrong
			refuse(fmt.Sprintf("%s %v", at, wrong))
		}
		members[key] = was
		switch v := was.(type) {
		case map[string]any:
			mutate(v, at, refuse)
		case []any:
			for i, one := range v {
				if object, ok := one.(map[string]any); ok {
					mutate(object, fmt.Sprintf("%s/%d", at, i), refuse)
				}
			}
			members[key] = append(slices.Clone(v), v[0])
			refuse(at + " repeated")
			members[key] = was
		}
	}
}

// wrongs are values that a member must not have.
func wrongs(key string, was any) []any {
	all := []any{nil, []any{}, map[string]any{"x": 1}}
	switch v := was.(type) {
	case string:
		all = append(all, 5, true, "")
		if !slices.Contains(freeTexts, key) {
			all = append(all, v+"+", v+"/#", "x"+v, v+"x", strings.ToUpper(v)+"_", v+"\x00")
		}
	case float64:
		all = append(all, "5", -1, v+0.5, true)
	case bool:
		all = append(all, !v, "false", 0)
	case []any, map[string]any:
		all = append(all, "x", 5)
	}
	return all
}

// What Home Assistant knows an entity by never changes: not when the place is
// renamed, moved, protected, or gets another plug, and not when the hook starts
// again.
func TestEntitiesKeepTheirIdentity(t *testing.T) {
	f := onMosquitto(t)
	first := place("sp_f1.g0", "")
	f.furnish(first)
	f.retain(bus.StatusTopic("edge-f1b"), contract.Status{Gateway: "edge-f1b", Online: true, Epoch: 8})
	stop := f.start()
	const topic = "homeassistant/device/wattline_sp_f1_g0/config"
	identities := func(text string) string {
		t.Helper()
		payload := f.until(topic, text)
		if all := breaches(topic, []byte(payload)); len(all) > 0 {
			t.Errorf("%s: %v", payload, all)
		}
		var a struct {
			Device     struct{ Identifiers []string }
			Components map[string]struct {
				UniqueID string `json:"unique_id"`
			}
		}
		if err := json.Unmarshal([]byte(payload), &a); err != nil {
			t.Fatal(err)
		}
		ids := slices.Clone(a.Device.Identifiers)
		for _, c := range a.Components {
			ids = append(ids, c.UniqueID)
		}
		slices.Sort(ids)
		return strings.TrimSpace(strings.Join(ids, " "))
	}
	want := identities("Sala Goya")
	step := func(change string, text string, p contract.Place) {
		t.Helper()
		f.retain(bus.PlacesPrefix+"sp_f1.g0", p)
		if got := identities(text); got != want {
			t.Errorf("%s makes it\n%s, was\n%s", change, got, want)
		}
	}
	p := first
	p.Label = "Sala Picasso"
	step("a new label", "Sala Picasso", p)
	p.Gateway = "edge-f1b"
	step("a move", "wattline/gateways/edge-f1b/availability", p)
	p.Driver = "shelly"
	p.Label = "Swapped"
	step("another plug", "Swapped", p)
	p.Protected = "a fridge"
	step("protection", "protected", p)
	stop()
	f.until("wattline/availability", "offline")
	f.mu.Lock()
	clear(f.said)
	f.mu.Unlock()
	f.start()
	if got := identities("protected"); got != want {
		t.Errorf("a restart makes it\n%s, was\n%s", got, want)
	}
}

// Who switches discovery off finds that the entities go, and that nothing can be
// switched; readings stay.
func TestDiscoveryIsWithdrawnWhereItIsSwitchedOff(t *testing.T) {
	f := onMosquitto(t)
	f.furnish(place("sp_f1.g0", ""))
	stop := f.start()
	const topic = "homeassistant/device/wattline_sp_f1_g0/config"
	f.until(topic, "outlet")
	f.retain("homeassistant/device/tasmota_1/config", map[string]string{"of": "somebody else"})
	f.until("homeassistant/device/tasmota_1/config", "somebody")
	stop()
	f.until("wattline/availability", "offline")
	c := configuration()
	c.HomeAssistant.Enabled = false
	f.startWith(c)
	f.until(topic, "")
	if f.is("homeassistant/device/tasmota_1/config") == "" {
		t.Error("what somebody else announced was withdrawn too")
	}
}
