package interop_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/bus/bustest"
	"github.com/wattline/wattline/shared/contract"
)

// mosquitto runs one of Mosquitto's own clients and gives its output.
func mosquitto(t *testing.T, name string, m *bustest.Mosquitto, args ...string) string {
	t.Helper()
	out, err := tryMosquitto(t.Context(), name, m, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tryMosquitto(ctx context.Context, name string, m *bustest.Mosquitto, args ...string) (string, error) {
	host, port, _ := strings.Cut(strings.TrimPrefix(m.URL, "tcp://"), ":")
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "mosquitto_"+name, append([]string{"-h", host, "-p", port, "-q", "1"}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("mosquitto_%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// TestMosquittoAsTheBroker runs the cloud as three processes, two of them hooks,
// behind Mosquitto and an InfluxDB of its own.
func TestMosquittoAsTheBroker(t *testing.T) {
	t.Parallel()
	m := bustest.Start(t)
	if _, err := exec.LookPath("mosquitto_sub"); err != nil {
		t.Skip("mosquitto_sub is not installed (Debian package mosquitto-clients)")
	}
	plugs := newOffice(t, "sp_g3", "sp_w.r0.c0")
	database := influxtest.Start(t)
	s := newSite(t, layout{
		broker: m.URL, influx: database, places: plugs.places(), roles: []string{"api,components", "registry,hooks", "hooks"}, edge: "outbox: {compression: none}\n",
	})
	t.Run("mosquitto_sub reads batches as plain JSON", func(t *testing.T) {
		topic, payload, _ := strings.Cut(mosquitto(t, "sub", m, "-t", "data/+/influx_data/#", "-C", "1", "-W", "20", "-F", "%t %p"), " ")
		checkBatch(t, topic, payload)
	})
	t.Run("mosquitto_sub reads the newest states", func(t *testing.T) {
		lines := mosquitto(t, "sub", m, "-t", "state/#", "-C", "2", "-W", "20", "-F", "%t %p")
		for line := range strings.Lines(lines) {
			topic, pack, _ := strings.Cut(line, " ")
			if !strings.HasPrefix(topic, "state/edge-f1/sp_") || !strings.Contains(pack, `"power"`) || !json.Valid([]byte(pack)) {
				t.Errorf("%s", line)
			}
		}
	})
	t.Run("mosquitto_pub is a foreign agent", func(t *testing.T) { testForeignAgent(t, s, m) })
	t.Run("a command crosses all processes", func(t *testing.T) {
		plugs.press(false)
		if a := s.do(http.MethodPut, "/api/v1/devices/sp_g3/relay", `{"on": true}`); a.status != http.StatusOK || !plugs["sp_g3"].On() {
			t.Errorf("%v", a)
		}
		mosquitto(t, "pub", m, "-t", "command/sp_command/sp_w.r0.c0", "-m", `{"data": {"status": 1}}`)
		eventually(t, 10*time.Second, "mosquitto_pub has switched", plugs["sp_w.r0.c0"].On)
	})
	t.Run("two hooks share the batches", func(t *testing.T) { testSharing(t, s, database) })
	t.Run("mosquitto_sub gets zstd by default", func(t *testing.T) {
		s.edge.stop()
		s.write("edge.yaml", fmt.Sprintf("gateway: edge-f1\ndata: %s\nbroker: {url: %q}\nstatus: {listen: \"%s:8081\"}\n", s.file("edge"), s.mqtt(), s.ip))
		s.edge = run(t, "wattline-edge", filepath.Join(s.logs, "edge.log"), program("wattline-edge"), "-config", s.file("edge.yaml"))
		topic, text, _ := strings.Cut(strings.TrimSpace(mosquitto(t, "sub", m, "-t", "data/+/influx_data/#", "-C", "1", "-W", "20", "-F", "%t %x")), " ")
		payload, err := hex.DecodeString(text)
		if err != nil || !strings.HasPrefix(text, "28b52ffd") {
			t.Fatalf("%s: %v", text, err)
		}
		plain, err := bus.Inflate(payload)
		if err != nil {
			t.Fatal(err)
		}
		checkBatch(t, topic, string(plain))
	})
	s.proven(t)
}

// checkBatch reads a batch as somebody who knows SenML and the topics only.
func checkBatch(t *testing.T, topic, payload string) {
	t.Helper()
	var e struct {
		ID            string
		ResponseTopic string `json:"response_topic"`
		Data          []struct {
			BaseName string  `json:"bn"`
			BaseTime float64 `json:"bt"`
			Name     string  `json:"n"`
			Unit     string  `json:"u"`
			Time     float64 `json:"t"`
			Value    float64 `json:"v"`
		}
	}
	if err := json.Unmarshal([]byte(payload), &e); err != nil {
		t.Fatalf("%s: %v", payload, err)
	}
	if topic != "data/edge-f1/influx_data/sp/"+e.ID || e.ResponseTopic != "responses/edge-f1/receipts" {
		t.Errorf("topic %s, id %s, response topic %s", topic, e.ID, e.ResponseTopic)
	}
	base, at := "", 0.0
	now, found := float64(time.Now().Unix()), map[string]string{}
	for _, r := range e.Data {
		if r.BaseName != "" {
			base = r.BaseName
		}
		if r.BaseTime != 0 {
			at = r.BaseTime
		}
		if seconds := at + r.Time; seconds < now-60 || seconds > now+60 {
			t.Errorf("time %v of %s%s", seconds, base, r.Name)
		}
		found[base+r.Name] = r.Unit
	}
	complete := false
	for _, id := range []string{"sp_g3", "sp_w.r0.c0"} {
		complete = complete || found[id+"/power"] == "W" && found[id+"/voltage"] == "V" && found[id+"/current"] == "A" && found[id+"/energy"] == "Wh" && found[id+"/status"] == "/"
	}
	if !complete {
		t.Errorf("no complete reading in %v", found)
	}
}

// testForeignAgent publishes SenML as sp_data of the original did, and with an
// id and a response topic, which asks for a receipt.
func testForeignAgent(t *testing.T, s *site, m *bustest.Mosquitto) {
	mosquitto(t, "pub", m, "-t", "data/sp_data/influx_data/sp", "-m", `{"data":[{"bn":"sp_w.r7.c7/power","bu":"W","t":1593599018.5,"v":7.5},{"bn":"sp_w.r7.c7/status","bu":"S","t":1593599018.5,"v":1}]}`)
	for path, want := range map[string]string{"power": `"v":7.5`, "status": `"v":1`} {
		eventually(t, 20*time.Second, path+" is stored", func() bool {
			return strings.Contains(s.rest("/api/out/influx_query/sp/"+path+"?id=sp_w.r7.c7").body, want)
		})
	}
	heard := make(chan string, 1)
	go func() { // while it waits, the agent publishes
		out, err := tryMosquitto(t.Context(), "sub", m, "-t", "responses/weather/#", "-C", "1", "-W", "20", "-F", "%t %p")
		if err != nil {
			out = err.Error()
		}
		heard <- out
	}()
	payload := []byte(`{"id":"today","response_topic":"responses/weather/receipts","data":[{"n":"weather_x1/temperature","u":"Cel","t":1593599018,"v":21.5}]}`)
	for answered := ""; answered == ""; { // until the one who listens has subscribed
		mosquitto(t, "pub", m, "-t", "data/weather/influx_data/outside", "-m", string(payload))
		select {
		case answered = <-heard:
			want := fmt.Sprintf(`responses/weather/receipts {"data":{"stored":[{"id":"today","digest":"%v"}]}}`, contract.DigestOf(payload))
			if strings.TrimSpace(answered) != want {
				t.Errorf("receipt %s, want %s", answered, want)
			}
		case <-time.After(200 * time.Millisecond):
		}
	}
	if a := s.rest("/api/v1/readings?database=outside&measurement=temperature"); !strings.Contains(a.body, `"value":21.5`) {
		t.Errorf("%v", a)
	}
}

// testSharing sends many batches: each is stored by one of the two hooks, and
// both have work.
func testSharing(t *testing.T, s *site, database *influxtest.Server) {
	const batches = 200
	receipted := make(chan bus.Message, batches)
	link := s.client("sharing", func(ctx context.Context, session *bus.Session) error {
		return session.Subscribe(ctx, "responses/sharing/#", func(m bus.Message) { receipted <- m })
	})
	for i := range batches {
		id := contract.BatchID{Epoch: 0xabc, Sequence: uint64(i + 1)}.String()
		s.publish(link, "data/sharing/influx_data/sp/"+id,
			fmt.Sprintf(`{"id":%q,"response_topic":"responses/sharing/receipts","batch":{"previous":null,"readings":1,"from":%d,"to":%d},"data":[{"n":"sp_g50/power","u":"W","t":%d,"v":%d}]}`, id, begin, begin, begin+i, i))
	}
	ids := map[string]bool{}
	deadline := time.After(30 * time.Second)
	for len(ids) < batches {
		select {
		case m := <-receipted:
			var e struct {
				Data struct{ Stored []struct{ ID string } }
			}
			if err := json.Unmarshal(m.Payload, &e); err != nil {
				t.Fatalf("%s: %v", m.Payload, err)
			}
			for _, r := range e.Data.Stored {
				if ids[r.ID] {
					t.Errorf("batch %s was receipted twice", r.ID)
				}
				ids[r.ID] = true
			}
		case <-deadline:
			t.Fatalf("%d of %d batches receipted", len(ids), batches)
		}
	}
	user, password, _ := strings.Cut(database.Token, ":")
	q := `SELECT count("readings") FROM "batch" WHERE "gateway" = 'sharing' GROUP BY "instance"`
	a := fetch(http.MethodGet, database.URL+"/query?db=wattline&u="+url.QueryEscape(user)+"&p="+url.QueryEscape(password)+"&q="+url.QueryEscape(q), "")
	var answer struct {
		Results []struct {
			Series []struct{ Values [][]any }
		}
	}
	a.into(t, &answer)
	if len(answer.Results) != 1 || len(answer.Results[0].Series) != 2 {
		t.Fatalf("entries by instance: %v", a)
	}
	total := 0.0
	for _, series := range answer.Results[0].Series {
		n, _ := series.Values[0][1].(float64)
		total += n
		if n < batches/10 {
			t.Errorf("one of the two stored %v of %d batches", n, batches)
		}
	}
	if total != batches {
		t.Errorf("%v entries for %d batches", total, batches)
	}
}

// proven waits until the ledger says that nothing of the gateway is missing.
func (s *site) proven(t *testing.T) {
	t.Helper()
	var proofs []struct {
		Missing, Dropped uint64
		Clones           []any
	}
	a := answer{}
	eventually(t, 30*time.Second, "the ledger proves", func() bool {
		a = s.rest("/api/v1/ledger?gateway=" + gatewayName)
		return a.status == http.StatusOK && json.Unmarshal([]byte(a.body), &proofs) == nil && len(proofs) == 1
	})
	if p := proofs[0]; p.Missing != 0 || p.Dropped != 0 || len(p.Clones) > 0 {
		t.Errorf("the ledger says %v", a)
	}
}
