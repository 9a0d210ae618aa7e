package republish

import (
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// What Home Assistant's MQTT integration wants to hear of a device (home-assistant.io,
// integrations/mqtt, "Device discovery payload"; the classes of sensors in
// components/sensor/const.py of its core).
type announcement struct {
	Device           haDevice          `json:"device"`
	Origin           haOrigin          `json:"origin"`
	Availability     []haAvailability  `json:"availability"`
	AvailabilityMode string            `json:"availability_mode"`
	Components       map[string]entity `json:"components"`
}

type haDevice struct {
	Identifiers   []string `json:"identifiers"`
	Name          string   `json:"name"`
	Manufacturer  string   `json:"manufacturer,omitempty"`
	Model         string   `json:"model,omitempty"`
	SuggestedArea string   `json:"suggested_area,omitempty"`
}

type haOrigin struct {
	Name string `json:"name"`
}

type haAvailability struct {
	Topic string `json:"topic"`
}

// entity is a sensor, a binary sensor or a switch. With nothing but a platform it
// makes Home Assistant drop the entity.
type entity struct {
	Platform      string `json:"platform"`
	UniqueID      string `json:"unique_id,omitempty"`
	Name          string `json:"name,omitempty"`
	StateTopic    string `json:"state_topic,omitempty"`
	ValueTemplate string `json:"value_template,omitempty"`
	DeviceClass   string `json:"device_class,omitempty"`
	StateClass    string `json:"state_class,omitempty"`
	Unit          string `json:"unit_of_measurement,omitempty"`
	ExpireAfter   int    `json:"expire_after,omitempty"` // s
	Precision     *int   `json:"suggested_display_precision,omitempty"`
	CommandTopic  string `json:"command_topic,omitempty"`
	PayloadOn     string `json:"payload_on,omitempty"`
	PayloadOff    string `json:"payload_off,omitempty"`
	QoS           int    `json:"qos,omitempty"`
	Retain        *bool  `json:"retain,omitempty"`
}

// sensors are the measurements of a plug. Energy is total_increasing: the plug's
// counter begins again at zero, which Home Assistant takes for a new cycle.
var sensors = []struct {
	measurement, name, unit, class string
	precision                      int
}{
	{device.Power, "Power", "W", "measurement", 1},
	{device.Voltage, "Voltage", "V", "measurement", 1},
	{device.Current, "Current", "A", "measurement", 3},
	{device.Energy, "Energy", "Wh", "total_increasing", 0},
}

// The relay is a switch, or for a protected place something to look at.
const (
	relaySwitch = "switch"
	relaySensor = "relay"
	onOff       = "{{ 'ON' if value_json.value == 1 else 'OFF' }}"
	leastExpiry = 120 // s
)

// announce publishes what Home Assistant is to know of a place; the caller holds
// the lock.
func (h *Hook) announce(p contract.Place) {
	if !h.config.HomeAssistant.Enabled {
		return
	}
	payload, err := json.Marshal(h.config.announcement(p))
	if err != nil { // texts and whole numbers only
		h.log.Error("place not announced", slog.String("device", p.Device.String()), slog.Any("err", err))
		return
	}
	h.out.put(h.config.discovery(p.Device.String()), message{payload: payload})
}

func (c *Config) announcement(p contract.Place) announcement {
	id := p.Device.String()
	a := announcement{
		Device: haDevice{Identifiers: []string{objectID(id)}, Name: id},
		Origin: haOrigin{Name: "Wattline"}, Availability: []haAvailability{{c.own()}}, AvailabilityMode: "all",
		Components: make(map[string]entity, len(sensors)+2),
	}
	if p.Label != "" {
		a.Device.Name = p.Label
	}
	if p.Driver == "hs110" {
		a.Device.Manufacturer, a.Device.Model = "TP-Link", "HS110"
	}
	if floor, ok := p.Device.Floor(); ok {
		a.Device.SuggestedArea = fmt.Sprintf("Floor %d", floor)
	}
	if p.Gateway != "" {
		a.Availability = append(a.Availability, haAvailability{c.online(p.Gateway)})
	}
	expiry := max(leastExpiry, int(5*p.PollSeconds))
	for _, s := range sensors {
		a.Components[s.measurement] = entity{
			Platform: "sensor", UniqueID: objectID(id) + "_" + s.measurement, Name: s.name, StateTopic: c.value(id, s.measurement),
			ValueTemplate: "{{ value_json.value }}", DeviceClass: s.measurement, StateClass: s.class, Unit: s.unit,
			ExpireAfter: expiry, Precision: new(s.precision),
		}
	}
	relay := entity{UniqueID: objectID(id) + "_relay", Name: "Relay", StateTopic: c.value(id, device.Status), ValueTemplate: onOff, PayloadOn: "ON", PayloadOff: "OFF"}
	if p.Protected != "" {
		relay.Platform, relay.DeviceClass, relay.ExpireAfter = "binary_sensor", "power", expiry
		relay.Name = "Relay (protected)"
		a.Components[relaySensor], a.Components[relaySwitch] = relay, entity{Platform: "switch"}
		return a
	}
	relay.Platform, relay.DeviceClass, relay.CommandTopic, relay.QoS, relay.Retain = "switch", "outlet", c.command(id), 1, new(false)
	a.Components[relaySwitch], a.Components[relaySensor] = relay, entity{Platform: "binary_sensor"}
	return a
}
