package webhook_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	hookwebhook "github.com/wattline/wattline/cloud/hooks/webhook"
	"github.com/wattline/wattline/cloud/influx/line"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/senml"
)

// Whatever a receiver answers, it gets everything once it takes it, and nothing
// else was skipped for it.
func TestAReceiverThatMisbehavesGetsEverythingInTheEnd(t *testing.T) {
	s := newSite(t)
	s.backlog(start(), 0, 5)
	elsewhere := newInbox(t)
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"refuses":      func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no such thing", http.StatusBadRequest) },
		"is too small": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestEntityTooLarge) },
		"sends away": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.url, http.StatusTemporaryRedirect)
		},
		"hangs up":      func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"hangs":         func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"talks garbage": func(w http.ResponseWriter, _ *http.Request) { garbage(t, w) },
	} {
		t.Run(name, func(t *testing.T) {
			box := newInbox(t)
			box.set(func(n int, w http.ResponseWriter, r *http.Request) bool {
				if n%2 == 1 && n < 12 {
					answer(w, r)
					return false
				}
				return true
			})
			m, stop := s.run(t.TempDir(), func(c *hookwebhook.Config) { c.Receivers[0].Timeout = time.Second }, box)
			box.await(s.want)
			stop()
			if n := box.repeats(); n > 0 {
				t.Errorf("%d readings came twice", n)
			}
			refused := value(t, m, `wattline_webhook_refused_total{receiver="r0"}`)
			if wants := name == "refuses" || name == "is too small" || name == "sends away"; wants != (refused > 0) {
				t.Errorf("refused %v times", refused)
			}
		})
	}
	if elsewhere.asked > 0 {
		t.Error("a redirect was followed")
	}
}

func garbage(t *testing.T, w http.ResponseWriter) {
	hijacker, _ := w.(http.Hijacker)
	conn, _, err := hijacker.Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	_, _ = conn.Write([]byte("\x16\x03\x01 what?\r\n\r\n"))
	_ = conn.Close()
}

func TestInfluxDBAndBrokerMayGo(t *testing.T) {
	s := newSite(t)
	at := start()
	s.backlog(at, 0, 10)
	box := newInbox(t)
	taken := make(chan struct{}, 1000)
	box.set(func(int, http.ResponseWriter, *http.Request) bool { taken <- struct{}{}; return true })
	_, _ = s.run(t.TempDir(), nil, box)
	<-taken
	if err := syscall.Kill(s.influx.Embedded.PID(), syscall.SIGKILL); err != nil { // it is started again
		t.Fatal(err)
	}
	s.mqtt.Kill()
	s.mqtt.Start()
	box.await(s.want)
	<-s.stores
	if err := s.link.AwaitUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		s.publish(s.batch(at, 200+i, 1))
	}
	box.await(s.want)
}

// Seen to fail without the copy: the receiver begins at its configured start.
func TestADamagedFileIsMovedAsideAndItsCopyCounts(t *testing.T) {
	for name, damage := range map[string]func(string) error{
		"cut off":     func(file string) error { return os.Truncate(file, 9000) },
		"empty":       func(file string) error { return os.Truncate(file, 0) },
		"overwritten": func(file string) error { return os.WriteFile(file, []byte(strings.Repeat("garbage ", 5000)), 0o600) },
		"pages gone": func(file string) error {
			text, err := os.ReadFile(file)
			for i := 8192; i < len(text); i++ {
				text[i] = 0xff
			}
			return cmpErr(err, os.WriteFile(file, text, 0o600))
		},
		"gone": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			at := start()
			s.backlog(at, 0, 5)
			box, dir := newInbox(t), t.TempDir()
			m, stop := s.run(dir, nil, box)
			box.await(s.want)
			box.answered(m)
			stop()
			if err := damage(filepath.Join(dir, "webhook", "webhook.db")); err != nil {
				t.Fatal(err)
			}
			s.publish(s.batch(at, 400, 1))
			_, stop = s.run(dir, nil, box)
			box.await(s.want)
			stop()
			if n := box.repeats(); n > 0 {
				t.Errorf("%d readings came twice, though the copy was new", n)
			}
			aside, _ := filepath.Glob(filepath.Join(dir, "webhook", "*.damaged-*"))
			if name != "gone" && name != "empty" && len(aside) != 1 {
				t.Errorf("moved aside: %v", aside)
			}
		})
	}
}

func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestOnlyWhatAReceiverWantsIsDelivered(t *testing.T) {
	s := newSite(t)
	at := start()
	some := func(c *hookwebhook.Config) {
		c.Receivers[0].Devices, c.Receivers[0].Measurements = []string{"sp_f1.g1"}, []string{"power", "status"}
	}
	want := map[string]bool{}
	box, dir := newInbox(t), t.TempDir()
	s.backlog(at, 0, 3) // from InfluxDB
	_, stop := s.run(dir, some, box)
	for i := range 5 { // from memory
		s.publish(s.batch(at, 50+i, 1))
	}
	for one := range s.want {
		if strings.HasPrefix(one, "sp_f1.g1/power") || strings.HasPrefix(one, "sp_f1.g1/status") {
			want[one] = true
		}
	}
	box.await(want)
	stop()
	if got := box.got; len(got) != len(want) {
		t.Errorf("%d readings, want %d", len(got), len(want))
	}
}

// An agent that writes whole seconds puts more into one time than fits into
// memory at once.
func TestATimeWithMoreThanFitsIsReadInPieces(t *testing.T) {
	s := newSite(t)
	at := start()
	var records []senml.Record
	for i := range 5000 {
		name := fmt.Sprintf("sp_f1.g%d/power", i)
		records = append(records, senml.Record{Name: name, Unit: "W", Time: at, Absolute: true, Kind: senml.Number, Value: float64(i)})
	}
	s.publish(records[:2500], records[2500:])
	box := newInbox(t)
	s.run(t.TempDir(), nil, box)
	box.await(s.want)
	if n := box.repeats(); n > 0 || box.most > 100 {
		t.Errorf("%d readings came twice, up to %d in a request", n, box.most)
	}
}

// The forms that a pack may have, from memory and from InfluxDB alike.
func TestMemoryAndInfluxDBSayTheSame(t *testing.T) {
	s := newSite(t)
	at := start()
	kinds := []senml.Record{
		{Name: "sp_f1.g0/power", Unit: "W", Time: at, Absolute: true, Kind: senml.Number, Value: -1e-9},
		{Name: "sp_f1.g0/energy", Unit: "Wh", Time: at, Absolute: true, Kind: senml.Number, Value: 1e22},
		{Name: "sp_f1.g0/status", Unit: "/", Time: at + 1, Absolute: true, Kind: senml.Bool, Value: 0},
		{Name: "sp_f1.g0/switched", Time: at + 2, Absolute: true, Kind: senml.Text, Text: "{\"who\": \"<é>\", \\ \n}"},
		{Name: "weather_x1/raw", Time: at + 3, Absolute: true, Kind: senml.Data, Text: "AAEC"},
	}
	live, later := newInbox(t), newInbox(t)
	_, stop := s.run(t.TempDir(), nil, live)
	s.publish(kinds)
	live.until(func() bool { return len(live.got) == len(kinds) })
	stop()
	s.run(t.TempDir(), nil, later)
	later.until(func() bool { return len(later.got) == len(kinds) })
	for id, body := range live.bodies {
		if later.bodies[id] != body {
			t.Errorf("from memory\n%s\nfrom InfluxDB\n%v", body, later.bodies)
		}
	}
}

func TestDataWithoutReceiptIsDeliveredWhenItIsHeard(t *testing.T) {
	s := newSite(t)
	box := newInbox(t)
	s.run(t.TempDir(), nil, box)
	records := s.batch(start(), 0, 1)
	pack, err := senml.Append(nil, records)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := bus.Envelope{Data: pack}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []string{`{"data":`, string(payload)} {
		if err := s.link.Publish(t.Context(), bus.Message{Topic: "data/agent/influx_data/" + s.database, Payload: []byte(m)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range records {
		s.want[reading(r)] = true
	}
	box.await(s.want)
}

// What others write into a database is left out where no record can name it.
func TestPointsThatNoRecordCanNameAreLeftOut(t *testing.T) {
	s := newSite(t)
	at := start()
	odd := line.Append(nil, "odd name", []line.Tag{{Key: "id", Value: "sp_f1.g0"}}, []line.Field{line.Float("value", 1)}, int64(at))
	odd = line.Append(odd, "power", []line.Tag{{Key: "host", Value: "x"}}, []line.Field{line.Float("value", 1)}, int64(at))
	odd = line.Append(odd, "power", []line.Tag{{Key: "id", Value: `"]}`}}, []line.Field{line.String("text", "1")}, int64(at))
	if err := s.client.Write(t.Context(), s.database, odd); err != nil {
		t.Fatal(err)
	}
	s.backlog(at, 0, 1)
	box := newInbox(t)
	m, _ := s.run(t.TempDir(), nil, box)
	box.await(s.want)
	if value(t, m, "wattline_webhook_odd_series_total") == 0 {
		t.Error("nothing was counted")
	}
}

func TestRunEndsForWhatCanNeverWork(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := hookwebhook.New(hookwebhook.DefaultConfig(), hookwebhook.Options{Data: file}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Run(t.Context(), bus.Options{URL: "tcp://127.0.0.1:1"}); err == nil {
		t.Error("a file is no directory")
	}
}

func TestEveryMistakeOfTheSettingsIsNamed(t *testing.T) {
	cfg := hookwebhook.DefaultConfig()
	const text = `
memory_bytes: 5
receivers:
  - {name: "A b", url: "http://user:hidden@h/", secret: hidden, databases: [wattline, "A"], devices: [nonsense], measurements: ["a/b"], max_readings: -1, timeout: 1ms, start: yesterday}
  - {name: x, url: "https://h/", secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
  - {name: x, url: "https://h/", secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
`
	err := config.Decode(strings.NewReader(text), "cloud.yaml", &cfg)
	if err == nil {
		t.Fatal("no mistake")
	}
	for _, key := range []string{"memory_bytes", "[0].name", "[0].url", "[0].secret", "[0].databases (line 4): \"wattline\"", "[0].databases (line 4): \"A\"", "[0].devices", "[0].measurements", "[0].max_readings", "[0].timeout", "[0].start", "receivers[2].name"} {
		if !strings.Contains(err.Error(), key) {
			t.Errorf("no word of %s in %v", key, err)
		}
	}
	if strings.Contains(err.Error(), "hidden") || strings.Contains(err.Error(), "receivers[1]") {
		t.Errorf("%v", err)
	}
}

// Where neither the file nor its copy tells where a receiver stood, nothing but
// the beginning is sure to miss nothing.
func TestAReceiverWhosePositionIsLostGetsEverything(t *testing.T) {
	s := newSite(t)
	at := start()
	s.backlog(at, 0, 3)
	now := func(c *hookwebhook.Config) { c.Receivers[0].Start = "now" }
	box, dir := newInbox(t), t.TempDir()
	_, stop := s.run(dir, now, box)
	file := filepath.Join(dir, "webhook", "positions.json")
	box.until(func() bool { text, err := os.ReadFile(file); return err == nil && strings.Contains(string(text), "r0") })
	stop()
	if len(box.got) > 0 {
		t.Errorf("%d readings from before the start", len(box.got))
	}
	for _, name := range []string{"positions.json", "webhook.db"} {
		if err := os.WriteFile(filepath.Join(dir, "webhook", name), []byte(strings.Repeat("garbage ", 3000)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.publish(s.batch(at, 400, 1))
	s.run(dir, now, box)
	box.await(s.want)
}

// What is kept of a receiver takes room that nobody frees later.
func TestAReceiverThatIsNotConfiguredAnyMoreIsForgotten(t *testing.T) {
	s := newSite(t)
	s.backlog(start(), 0, 3)
	stays, goes, dir := newInbox(t), newInbox(t), t.TempDir()
	_, stop := s.run(dir, nil, stays, goes)
	stays.await(s.want)
	goes.await(s.want)
	stop()
	_, stop = s.run(dir, nil, stays)
	stop()
	text, err := os.ReadFile(filepath.Join(dir, "webhook", "positions.json"))
	if err != nil || strings.Contains(string(text), "r1") || !strings.Contains(string(text), "r0") {
		t.Errorf("the copy is %s, %v", text, err)
	}
	back := newInbox(t)
	s.run(dir, nil, stays, back)
	back.await(s.want) // it is a new one
	if n := stays.repeats(); n != 0 {
		t.Errorf("%d readings came twice to the one that stayed", n)
	}
}
