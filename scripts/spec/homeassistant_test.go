package spec_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/bus"
)

// view is what a program knows that hears only what is republished: the newest
// payload of each topic.
type view struct {
	mu    sync.Mutex // protects says and times
	says  map[string]string
	times map[string]int // heard, each time
}

func (v *view) hear(m bus.Message) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.says[m.Topic] = string(m.Payload)
	v.times[m.Topic]++
}

func (v *view) newest(topic string) (payload string, times int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.says[topic], v.times[topic]
}

// assistant plays Home Assistant: a guest who knows the discovery topics, and
// what they tell.
type assistant struct {
	*system
	*view

	link *bus.Link
}

func (a *assistant) says(topic, text string) (payload string) {
	a.t.Helper()
	a.until(fmt.Sprintf("%s says %q", topic, text), func() bool {
		p, times := a.newest(topic)
		payload = p
		return times > 0 && (text == "" && p == "" || text != "" && strings.Contains(p, text))
	})
	return payload
}

// known waits until a place is announced so, by a payload that is as the schema
// says.
func (a *assistant) known(object, text string) {
	a.t.Helper()
	topic := "homeassistant/device/wattline_" + object + "/config"
	payload := a.says(topic, text)
	if err := valid(schemas(a.t)["home_assistant.json"], []byte(payload)); err != nil {
		a.t.Errorf("%s: %v", topic, err)
	}
}

// Home Assistant finds the plugs of a whole system, follows what becomes of them,
// and switches those that it may.
func TestHomeAssistantSeesTheHouseAsItIs(t *testing.T) {
	for _, kind := range brokers {
		t.Run(kind, func(t *testing.T) {
			s := start(t, kind)
			a := &assistant{system: s, view: &view{says: map[string]string{}, times: map[string]int{}}, link: s.client("guest", "", nil)}
			s.client("guest", "wattline/#", a.hear)
			s.client("guest", "homeassistant/#", a.hear)
			a.finds()
			a.switches()
			a.follows()
			a.startsAgain()
		})
	}
}

func (a *assistant) finds() {
	for measurement, unit := range map[string]string{"power": "W", "voltage": "V", "current": "A", "energy": "Wh", "status": ""} {
		payload := a.says("wattline/sp_f1.g0/"+measurement, `"source":"edge-f1"`)
		var p struct {
			Value *float64
			Unit  string
			Time  time.Time
		}
		if err := json.Unmarshal([]byte(payload), &p); err != nil || p.Value == nil || p.Unit != unit || time.Since(p.Time) > time.Minute {
			a.t.Errorf("%s: %s: %v", measurement, payload, err)
		}
	}
	a.says("wattline/availability", "online")
	a.says("wattline/gateways/edge-f1/availability", "online")
	a.known("sp_f1_g0", `"command_topic":"wattline/sp_f1.g0/set"`)
	a.known("sp_f1_w_r0_c0", `"command_topic"`)
	a.known("sp_f1_w_r0_c1", `"switch":{"platform":"switch"}`) // protected
}

func (a *assistant) switches() {
	a.publish(a.link, "wattline/sp_f1.w.r0.c1/set", []byte("ON")) // a mail server
	a.publish(a.link, "wattline/sp_f1.g0/set", []byte("ON"))
	a.says("wattline/sp_f1.g0/status", `"value":1`)
	account := func(id string) (found string) {
		q := fmt.Sprintf(`SELECT who, outcome FROM audit WHERE id = '%s' AND phase = 'result'`, id)
		_ = a.store.Query(a.ctx, "wattline", q, func(_ string, _ map[string]string, _ []string, rows [][]any) error {
			for _, r := range rows {
				found = fmt.Sprint(r[1:]...)
			}
			return nil
		})
		return found
	}
	a.until("the switch is in the audit", func() bool { return account("sp_f1.g0") != "" })
	if got, want := account("sp_f1.g0"), "republishconfirmed"; strings.ReplaceAll(got, " ", "") != want {
		a.t.Errorf("the audit has %s, want %s", got, want)
	}
	for _, m := range a.heard.on("gateways/+/command") {
		if bytes.Contains(m.Payload, []byte("sp_f1.w.r0.c1")) {
			a.t.Errorf("a protected place was switched: %s", m.Payload)
		}
	}
	if on, _ := a.newest("wattline/sp_f1.w.r0.c1/status"); strings.Contains(on, `"value":1`) {
		a.t.Errorf("a protected place is on: %s", on)
	}
}

// change asks the REST server for a change.
func (a *assistant) change(method, path, body string) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, a.rest+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		a.t.Fatal(err)
	}
	defer answer.Body.Close()
	if said, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode/100 != 2 {
		a.t.Fatalf("%s %s: %s %s %v", method, path, answer.Status, said, err)
	}
}

func (a *assistant) follows() {
	const place, object = "/api/v1/devices/sp_f1.p3", "sp_f1_p3"
	a.change(http.MethodPost, "/api/v1/gateways", `{"gateway": "edge-f1b", "floor": 1}`)
	a.change(http.MethodPost, "/api/v1/devices", `{"device": "sp_f1.p3", "gateway": "edge-f1", "address": "127.0.0.1:9", "label": "Printer"}`)
	a.known(object, `"name":"Printer"`)
	a.change(http.MethodPatch, place, `{"label": "Plotter"}`)
	a.known(object, `"name":"Plotter"`)
	a.change(http.MethodPatch, place, `{"gateway": "edge-f1b"}`)
	a.known(object, "wattline/gateways/edge-f1b/availability")
	a.change(http.MethodPatch, place, `{"protected": "prints the wages"}`)
	a.known(object, `"switch":{"platform":"switch"}`)
	a.change(http.MethodPatch, place, `{"protected": null}`)
	a.known(object, `"command_topic"`)
	a.change(http.MethodDelete, place, "")
	a.says("homeassistant/device/wattline_"+object+"/config", "")
	// One that has been measured takes its values with it.
	a.change(http.MethodDelete, "/api/v1/devices/sp_f1.w.r0.c0", "")
	a.says("homeassistant/device/wattline_sp_f1_w_r0_c0/config", "")
	for _, measurement := range []string{"power", "voltage", "current", "energy", "status"} {
		a.says("wattline/sp_f1.w.r0.c0/"+measurement, "")
	}
}

// startsAgain: Home Assistant, and then the broker, know nothing any more.
func (a *assistant) startsAgain() {
	const topic = "homeassistant/device/wattline_sp_f1_g0/config"
	_, before := a.newest(topic)
	a.publish(a.link, "homeassistant/status", []byte("online"))
	a.until("the plug is announced again", func() bool { _, n := a.newest(topic); return n > before })
	if a.broker == nil {
		return
	}
	_, before = a.newest(topic)
	a.lostBroker()
	a.until("the plug is announced to the new broker", func() bool { _, n := a.newest(topic); return n > before })
	_, values := a.newest("wattline/sp_f1.g0/power")
	a.until("readings go on", func() bool { _, n := a.newest("wattline/sp_f1.g0/power"); return n > values+2 })
	a.known("sp_f1_g0", "outlet")
	if p, _ := a.newest("homeassistant/device/wattline_sp_f1_p3/config"); p != "" {
		a.t.Errorf("what was deleted is announced again: %s", p)
	}
}
