package republish_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// What Home Assistant documents of its MQTT integration: for each platform the
// keys that must be there and those that may (home-assistant.io, integrations
// mqtt, sensor.mqtt, binary_sensor.mqtt, switch.mqtt). An unknown key would be
// ignored there, and so is a mistake here.
var schema = map[string]struct{ required, allowed []string }{
	"": { // the root of a device's payload
		[]string{"device", "origin", "components"},
		[]string{"availability", "availability_mode", "availability_topic", "state_topic", "command_topic", "qos", "encoding"},
	},
	"device": {nil, []string{
		"identifiers", "connections", "name", "manufacturer", "model", "model_id", "hw_version", "sw_version", "serial_number",
		"suggested_area", "configuration_url", "via_device",
	}},
	"origin":       {[]string{"name"}, []string{"sw_version", "support_url"}},
	"availability": {[]string{"topic"}, []string{"payload_available", "payload_not_available", "value_template"}},
	"sensor": {[]string{"platform", "state_topic", "unique_id"}, []string{
		"name", "device_class", "state_class", "unit_of_measurement", "value_template", "expire_after", "force_update",
		"suggested_display_precision", "entity_category", "json_attributes_topic", "qos", "default_entity_id",
	}},
	"binary_sensor": {[]string{"platform", "state_topic", "unique_id"}, []string{
		"name", "device_class", "value_template", "expire_after", "payload_on", "payload_off", "force_update", "entity_category", "qos",
	}},
	"switch": {[]string{"platform", "command_topic", "unique_id"}, []string{
		"name", "device_class", "state_topic", "value_template", "payload_on", "payload_off", "state_on", "state_off", "optimistic", "retain", "qos",
	}},
}

// classes says which units and state classes a device class takes.
var classes = map[string]struct{ units, states []string }{
	"power":   {[]string{"mW", "W", "kW", "MW", "GW", "TW"}, []string{"measurement"}},
	"voltage": {[]string{"mV", "V", "kV"}, []string{"measurement"}},
	"current": {[]string{"A", "mA"}, []string{"measurement"}},
	"energy":  {[]string{"Wh", "kWh", "MWh", "J", "kJ"}, []string{"total", "total_increasing"}},
}

var plainID = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// breaches lists what Home Assistant would not take.
func breaches(topic string, payload []byte) (all []string) {
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	levels := strings.Split(topic, "/")
	if len(levels) != 4 || levels[1] != "device" || levels[3] != "config" || !plainID.MatchString(levels[2]) {
		say("topic %s", topic)
	}
	var root map[string]any
	if err := json.Unmarshal(payload, &root); err != nil {
		return append(all, err.Error())
	}
	keys := func(where string, members map[string]any, rules string) {
		s := schema[rules]
		for _, k := range s.required {
			if members[k] == nil {
				say("%s: no %s", where, k)
			}
		}
		for _, k := range slices.Sorted(maps.Keys(members)) {
			if !slices.Contains(s.required, k) && !slices.Contains(s.allowed, k) {
				say("%s: %s is not allowed", where, k)
			}
			if text, ok := members[k].(string); ok && strings.HasSuffix(k, "topic") && strings.ContainsAny(text, "+#") {
				say("%s: %s is a filter", where, k)
			}
		}
	}
	keys("root", root, "")
	object := func(v any) map[string]any { m, _ := v.(map[string]any); return m }
	device := object(root["device"])
	keys("device", device, "device")
	if device["identifiers"] == nil && device["connections"] == nil {
		say("device: neither identifiers nor connections")
	}
	keys("origin", object(root["origin"]), "origin")
	if root["availability"] != nil && root["availability_topic"] != nil {
		say("availability and availability_topic")
	}
	list, _ := root["availability"].([]any)
	for i, a := range list {
		keys(fmt.Sprint("availability ", i), object(a), "availability")
	}
	if mode := root["availability_mode"]; mode != nil && !slices.Contains([]any{"all", "any", "latest"}, mode) {
		say("availability_mode %v", mode)
	}
	unique := map[any]bool{}
	for name, c := range object(root["components"]) {
		e := object(c)
		platform, _ := e["platform"].(string)
		if _, known := schema[platform]; !known || platform == "" || !plainID.MatchString(name) {
			say("component %s: platform %q", name, platform)
			continue
		}
		if len(e) == 1 {
			continue // takes the entity away
		}
		keys(name, e, platform)
		if unique[e["unique_id"]] {
			say("%s: unique_id twice", name)
		}
		unique[e["unique_id"]] = true
		if platform == "sensor" {
			class, _ := e["device_class"].(string)
			rule, known := classes[class]
			unit, _ := e["unit_of_measurement"].(string)
			state, _ := e["state_class"].(string)
			if !known || !slices.Contains(rule.units, unit) || !slices.Contains(rule.states, state) {
				say("%s: device_class %s, unit %s, state_class %s do not go together", name, class, unit, state)
			}
		}
		if expiry, ok := e["expire_after"].(float64); ok && expiry != float64(int(expiry)) {
			say("%s: expire_after %v", name, expiry)
		}
	}
	return all
}
