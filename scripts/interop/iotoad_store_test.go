package interop_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/bus"
)

// stored waits until a question has an answer with the words.
func (s *site) stored(t *testing.T, path, words string) {
	t.Helper()
	eventually(t, 20*time.Second, path+" has "+words, func() bool { return strings.Contains(s.rest(path).body, words) })
}

// valued compares what a question about the agents' data gives.
func (s *site) valued(t *testing.T, path, want string) {
	t.Helper()
	a := s.rest("/api/out/influx_query/" + path)
	if a.status != http.StatusOK {
		t.Errorf("%s gives %v", path, a)
		return
	}
	if got := valuesOf(t, a, 1); got != want {
		t.Errorf("%s gives %q, want %q", path, got, want)
	}
}

func showsSources(t *testing.T, f *former) {
	for source, payload := range map[string]string{
		"weather_x": `{"data":[{"bn":"weather_x1/temperature","bu":"Cel","t":1593599018,"v":21.5}]}`,
		"split":     `{"data":[{"bn":"weather_","n":"x2/temperature","u":"Cel","bt":1593599000,"t":18,"v":22.5}]}`,
		"many":      `{"data":[{"bn":"weather_","bt":1593599018,"bu":"Cel","n":"x3/temperature","v":23.5},{"n":"x4/temperature","v":24.5},{"n":"x5/temperature","v":25.5}]}`,
	} {
		f.publish(f.agent, "data/"+source+"/influx_data/weather", payload)
	}
	for id, value := range map[string]string{"x1": "21.5", "x2": "22.5", "x3": "23.5", "x4": "24.5", "x5": "25.5"} {
		f.stored(t, "/api/out/influx_query/weather/temperature?id=weather_"+id, `"v":`+value)
	}
}

func showsDatabases(t *testing.T, f *former) {
	f.valued(t, "alexa/volume?id=alexa_x2", "+10=44")
	f.valued(t, "sp/volume?id=alexa_x2", "")
	f.valued(t, "sp/power?id=sp_p7&to=1593599100", "+10=300") // no fourth level
}

func showsPoints(t *testing.T, f *former) { testStoredForm(t, f.site) }

// Two hooks of the same topics, and one of a topic that only it handles.
func showsHandlers(t *testing.T, f *former) {
	first, second := f.collected(t, "hook-one", "data/+/influx_data/#"), f.collected(t, "hook-two", "data/+/influx_data/#")
	own := f.collected(t, "hook-three", "data/+/linksmart/#")
	f.publish(f.agent, "data/sp_data/influx_data/handlers", `{"data":[{"bn":"sp_g7/power","bu":"W","t":1593599018,"v":31}]}`)
	f.publish(f.agent, "data/sp_data/linksmart/handlers", `{"data":[{"bn":"sp_g7/power","bu":"W","t":1593599019,"v":32}]}`)
	for _, heard := range []<-chan bus.Message{first, second} {
		await(t, heard, "the message of the agent", func(m bus.Message) bool { return m.Topic == "data/sp_data/influx_data/handlers" })
	}
	await(t, own, "the message for the other handler", func(m bus.Message) bool { return m.Topic == "data/sp_data/linksmart/handlers" })
	f.stored(t, "/api/out/influx_query/handlers/power?id=sp_g7", `"v":31`)
	if a := f.rest("/api/out/influx_query/handlers/power?id=sp_g7"); strings.Contains(a.body, `"v":32`) {
		t.Errorf("what is for another handler was stored: %v", a)
	}
}

func showsIDs(t *testing.T, f *former) {
	payload := `{"data":[{"bt":1593599018,"n":"sp_w.r12.c3/power","u":"W","v":1}`
	good := []string{"sp_w.r12.c3", "sp_g3", "sp_m2", "alexa_x2", "alexa_y.r120.c902", "echo-dot_g2", "echo-dot_x.r1.c0", "sp_f2.w.r0.c0", "sp_f-1.p0", "sp_hall7"}
	for _, id := range good[1:] {
		payload += `,{"n":"` + id + `/power","u":"W","v":1}`
	}
	f.publish(f.agent, "data/ids/influx_data/ids", payload+"]}")
	for _, id := range good {
		f.stored(t, "/api/out/influx_query/ids/power?id="+id, `"v":1`)
	}
	f.stored(t, "/api/out/influx_query/ids/power?id=w.r12.c3", `"v":1`) // the oldest spelling
	for _, id := range []string{"SP_g3", "sp_w.r1", "sp_r1c2", "sp_g03", "sp_g", "sp_g3'", "_g3"} {
		if a := f.rest("/api/out/influx_query/ids/power?id=" + id); a.status != http.StatusBadRequest || !strings.Contains(a.body, "id") {
			t.Errorf("%s: %v, want a mistake in id", id, a)
		}
	}
}

func showsTypes(t *testing.T, f *former) {
	f.valued(t, "sp/power?type=g&to=1593599100", "sp_g7/power+10=7")
	f.valued(t, "sp/power?type=p&to=1593599100", "sp_p7/power+10=300")
	f.valued(t, "sp/power?type=w&row=7&column=1&to=1593599100", "sp_w.r7.c1/power+5.5=120.1")
}

func showsOwners(t *testing.T, f *former) {
	if a := f.rest("/api/v1/devices/" + cached); a.status != http.StatusOK || !strings.Contains(a.body, `"owner":"42"`) {
		t.Errorf("no owner 42: %v", a)
	}
}
