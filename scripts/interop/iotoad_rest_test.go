package interop_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/bus"
)

// component plays one that the api has never heard of; each has a name of its own,
// for it lives as long as the site.
func (f *former) component(family, what string, reply func(heard) string) (*stranger, string) {
	name := what + "_" + strings.ToLower(bus.NewID()[:8])
	return f.stranger(name, family+"/"+name+"/#", reply), name
}

func showsIn(t *testing.T, f *former) {
	lamps, name := f.component("command", "lamp", func(heard) string { return `{"data":{"successful":["kitchen"]}}` })
	a := f.do(http.MethodPut, "/api/in/"+name+"/kitchen", `{"payload":{"colour":"#ff0","level":[1,2.50]}}`)
	if a.status != http.StatusOK {
		t.Errorf("%v", a)
	}
	sameJSON(t, a.body, `{"`+name+`/kitchen":{"data":{"successful":["kitchen"]}}}`)
	if h := <-lamps.heard; h.topic != "command/"+name+"/kitchen" || string(h.envelope["data"]) != `{"colour":"#ff0","level":[1,2.50]}` {
		t.Errorf("it was sent %s %s", h.topic, h.envelope)
	}
}

func showsOut(t *testing.T, f *former) {
	ranking, name := f.component("query", "ranking", func(heard) string { return `{"data":{"position":1,"amount":3}}` })
	a := f.rest("/api/out/" + name + "/id/echo-dot-12313?ordered=high-to-low&n=2")
	if a.status != http.StatusOK {
		t.Errorf("%v", a)
	}
	sameJSON(t, a.body, `{"data":{"position":1,"amount":3}}`)
	h := <-ranking.heard
	if h.topic != "query/"+name+"/id/echo-dot-12313" {
		t.Errorf("it was asked on %s", h.topic)
	}
	sameJSON(t, string(h.envelope["data"]), `{"ordered":"high-to-low","n":"2"}`) // texts, all of them
}

func showsRelay(t *testing.T, f *former) {
	_, name := f.component("command", "blinds", func(h heard) string { return `{"data":"` + h.topic + `"}` })
	a := f.do(http.MethodPut, "/api/in/"+name+"/floor/2", `{"subtopics":["north","south/1"],"payload":"down"}`)
	sameJSON(t, a.body, fmt.Sprintf(`{"%[1]s/floor/2/north":{"data":"command/%[1]s/floor/2/north"},"%[1]s/floor/2/south/1":{"data":"command/%[1]s/floor/2/south/1"}}`, name))
	_, name = f.component("query", "weather", func(heard) string { return `{"data":[{"n":"sum","v":1.2}]}` })
	sameJSON(t, f.rest("/api/out/"+name).body, `[{"n":"sum","v":1.2}]`)
}

func showsResponses(t *testing.T, f *former) {
	component, name := f.component("query", "echo", func(heard) string { return `{"data":1}` })
	form, seen := regexp.MustCompile(`^responses/api/[0-9a-f]+/[0-9A-Za-z/]+$`), map[string]bool{}
	for range 3 {
		f.rest("/api/out/" + name)
		h := <-component.heard
		if !form.MatchString(h.respond) || seen[h.respond] {
			t.Errorf("it was asked to answer on %q", h.respond)
		}
		seen[h.respond] = true
	}
	// The other spellings of the member, in what others send.
	for _, member := range []string{"response_topic", "response-id", "response-topic"} {
		e := f.asked(t, "query/influx_query/sp/power", `{"data":{"id":"sp_g7","to":"1593599100"},"`+member+`":"RESPOND"}`)
		sameJSON(t, string(e["data"]), `[{"bn":"sp_g7/power","bu":"W"},{"u":"W","t":1593599028,"v":7}]`)
	}
}

// A second api that waits for one second; the others' twelve are waited for in the
// long form of TestIoToadsWayOfCalling.
func showsTimeouts(t *testing.T, f *former) {
	f.http = "answer_timeout: 1s"
	if f.hasty == nil {
		f.hasty = f.startCloud("hasty", "api", 8091, "")
	}
	at := "http://" + f.ip + ":8091"
	eventually(t, 20*time.Second, "the second api is ready", func() bool { return fetch(http.MethodGet, at+"/readyz", "").status == http.StatusOK })
	_, name := f.component("command", "half", func(h heard) string {
		if strings.HasSuffix(h.topic, "/there") {
			return `{"data":{"successful":["there"]}}`
		}
		return ""
	})
	half := fetch(http.MethodPut, at+"/api/in/"+name, `{"subtopics":["there","gone"],"payload":1}`)
	sameJSON(t, half.body, `{"`+name+`/there":{"data":{"successful":["there"]}},"`+name+`/gone":null}`)
	agent := fetch(http.MethodPut, at+"/api/in/nobody/x/", `{"payload":1}`)
	sameJSON(t, agent.body, `{"nobody/x":null}`)
	component := fetch(http.MethodGet, at+"/api/out/nobody/x", "")
	for _, a := range []answer{half, agent, component} {
		if a.status != http.StatusGatewayTimeout {
			t.Errorf("%v, want 504", a)
		}
	}
}

func showsBodies(t *testing.T, f *former) {
	for body, words := range map[string]string{
		`payload=off`:                              "JSON",
		`[]`:                                       "JSON object",
		`{"subtopics":["sp_g3"]}`:                  "/payload",
		`{"payload":1,"topics":["x"]}`:             "/topics",
		`{"payloads":1,"subtopics":3,"more":1}`:    "/payload /payloads /subtopics /more",
		`{"payload":1,"subtopics":[]}`:             "/subtopics",
		`{"payload":1,"subtopics":["a",7]}`:        "/subtopics",
		`{"payload":1,"subtopics":["#","x//y"]}`:   "/subtopics/0 /subtopics/1",
		`{"payload":1,"payload":2}`:                "payload",
		`{"payload":{"status":1},"subtopics":"x"}`: "/subtopics",
	} {
		a := f.do(http.MethodPut, "/api/in/sp_command/sp_g3", body)
		if a.status != http.StatusBadRequest {
			t.Errorf("%s gives %v, want 400", body, a)
		}
		for word := range strings.FieldsSeq(words) {
			if !strings.Contains(a.body, word) {
				t.Errorf("%s is not in %v", word, a)
			}
		}
	}
	if a := f.do(http.MethodPut, "/api/inn/sp_command/sp_g3", stringOff); a.status != http.StatusNotFound {
		t.Errorf("another route: %v", a)
	}
}

// A device, a call and a framework: each knows the topics and nothing else.
func showsExtensions(t *testing.T, f *former) {
	framework := f.collected(t, "linksmart", "query/influx_query/#", "command/sp_command/#", "data/sp_data/influx_data/#", "data/+/influx_data/#")
	_, call := f.component("query", "alexa_rankings", func(heard) string { return `{"data":{"first":"alexa_x3"}}` })
	f.publish(f.agent, "data/sp_data/influx_data/alexa", `{"data":[{"n":"alexa_x3/volume","u":"dB","t":1593599018,"v":50}]}`)
	await(t, framework, "the device's data", func(m bus.Message) bool {
		return m.Topic == "data/sp_data/influx_data/alexa" && strings.Contains(string(m.Payload), "alexa_x3")
	})
	f.stored(t, "/api/out/influx_query/alexa/volume?id=alexa_x3", `"v":50`)
	await(t, framework, "the question", func(m bus.Message) bool { return m.Topic == "query/influx_query/alexa/volume" })
	sameJSON(t, f.rest("/api/out/"+call+"/today").body, `{"data":{"first":"alexa_x3"}}`)
	f.do(http.MethodPut, "/api/in/sp_command/sp_g3", stringOff)
	await(t, framework, "the command", func(m bus.Message) bool { return m.Topic == "command/sp_command/sp_g3" })
}

// Whoever was connected is there again when the broker is: gateway, components,
// hooks and strangers.
func showsReconnect(t *testing.T, f *former) {
	_, name := f.component("query", "patient", func(heard) string { return `{"data":"here"}` })
	f.rest("/api/out/" + name)
	if f.mosquitto != nil {
		f.mosquitto.Kill()
		f.mosquitto.Start()
	} else { // the broker is in the cloud's process
		for _, c := range f.clouds {
			c.stop()
		}
		f.clouds, f.hasty = nil, nil
		f.startCloud("cloud0", "all", 8080, f.cloud)
	}
	eventually(t, time.Minute, "a stranger's component answers", func() bool { return strings.Contains(f.rest("/api/out/"+name).body, "here") })
	f.plugs["sp_g3"].Press(true)
	eventually(t, 40*time.Second, "commands go through", func() bool {
		f.do(http.MethodPut, "/api/in/sp_command/sp_g3", stringOff)
		return !f.plugs["sp_g3"].On()
	})
	from := time.Now().Unix()
	f.stored(t, fmt.Sprintf("/api/out/influx_query/sp/power?id=sp_g3&from=%d", from), `"v"`)
	f.stored(t, "/api/out/influx_query/sp/power?id=sp_g7&to=1593599100", `"v":7`)
	f.proven(t)
}
