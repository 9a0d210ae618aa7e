package signals_test

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/cloud/alerting/signals"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/senml"
)

// watched is a stage whose samples go to an engine with the rules that a site
// starts with. Each gateway in well beats, and sends readings, every ten seconds.
type watched struct {
	*stage

	e     *engine.Engine
	well  map[string]func(*contract.Status)
	batch int
	told  []string
}

func newWatched(t *testing.T) *watched {
	t.Helper()
	st := newStage(t)
	return &watched{stage: st, e: engine.New(rule.Defaults(), st.s.House()), well: map[string]func(*contract.Status){"edge-f1": nil, "edge-f2": nil}}
}

func (w *watched) note(changes []engine.Change) {
	for _, c := range changes {
		if c.Kind != engine.Updated {
			w.told = append(w.told, fmt.Sprintf("%s %s %s", c.Kind, c.Alert.Rule, c.Alert.Subject))
		}
	}
}

func (w *watched) take(samples []engine.Sample) {
	for _, s := range samples {
		w.note(w.e.Take(s, w.now))
	}
}

// live lets seconds pass as the role does.
func (w *watched) live(seconds int) {
	w.t.Helper()
	for n := range seconds {
		w.take(w.pass(1))
		for _, gateway := range []string{"edge-f1", "edge-f2"} {
			change, well := w.well[gateway]
			if !well || n%10 != 9 {
				continue
			}
			w.take(w.beat(gateway, change))
			w.batch++
			w.send(gateway, w.batch, 60)
		}
		w.note(w.e.Tick(w.now))
		if w.s.Changed() {
			w.note(w.e.Rehouse(w.now))
		}
	}
}

// send sends a reading measured now.
func (w *watched) send(gateway string, batch int, power float64) (topic string, payload []byte) {
	w.t.Helper()
	device := map[string]string{"edge-f1": "sp_f1.g0", "edge-f2": "sp_f2.p0"}[gateway]
	name := fmt.Sprintf("%v-%d", epoch, batch)
	topic, payload = "data/"+gateway+"/influx_data/sp/"+name, data(w.t, name, senml.Record{Name: device + "/power", Unit: "W", Time: w.now, Value: power})
	w.take(w.hear(topic, payload, false))
	return topic, payload
}

func (w *watched) wantTold(want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.told); diff != "" {
		w.t.Errorf("told (-want +got):\n%s", diff)
	}
	w.told = nil
}

func TestNothingIsWrongSoNothingIsTold(t *testing.T) {
	w := newWatched(t)
	w.live(3600)
	w.wantTold()
}

func TestDeadGatewayIsOneAlert(t *testing.T) {
	w := newWatched(t)
	w.live(300)
	delete(w.well, "edge-f1")
	w.take(w.hear(bus.StatusTopic("edge-f1"), contract.Status{Epoch: epoch}, false))
	w.live(1800)
	w.wantTold("raised gateway-offline edge-f1")

	// The cloud is started again meanwhile.
	remembered := w.e.Remember()
	w.s = signals.New(slog.New(slog.DiscardHandler))
	w.e = engine.New(rule.Defaults(), w.s.House())
	w.note(w.e.Recall(remembered, w.now))
	w.s.Connected(w.now)
	w.live(5)
	w.registry()
	w.live(1800)
	w.wantTold()
	w.well["edge-f1"] = nil
	w.live(1800)
	w.wantTold("ended gateway-offline edge-f1")
}

func TestOutageOfTheBrokerRaisesNothing(t *testing.T) {
	w := newWatched(t)
	w.live(300)
	well := w.well
	w.s.Disconnected()
	w.well = nil
	w.live(1800)
	w.s.Connected(w.now)
	w.registry()
	w.live(20)
	w.well = well
	w.live(600)
	w.wantTold()
}

func TestBoxWithAWrongClockLosesNoAlert(t *testing.T) {
	w := newWatched(t)
	w.live(300)
	w.well["edge-f1"] = func(s *contract.Status) {
		s.Time -= 60 * minute
		s.Plugs.Reachable = 1
		s.Plugs.Problems = []contract.PlugProblem{{Device: id(t, "sp_f1.g0"), Reason: "offline"}}
	}
	w.live(1200)
	w.wantTold("raised clock-wrong edge-f1", "raised plug-unreachable sp_f1.g0")
}

func TestGatewayOnlineWithoutData(t *testing.T) {
	w := newWatched(t)
	w.live(300)
	delete(w.well, "edge-f1")
	for range 40 {
		w.live(10)
		w.take(w.beat("edge-f1", nil))
	}
	w.wantTold("raised no-data edge-f1")
	w.well["edge-f1"] = nil
	w.live(300)
	w.wantTold("ended no-data edge-f1")
}

func TestBatchesSentAgainAreToldOnce(t *testing.T) {
	w := newWatched(t)
	w.place("sp_f2.p0", contract.Place{Gateway: "edge-f2", Address: "10.0.0.1", MaxPower: 2000})
	w.live(300)
	type message struct {
		topic   string
		payload []byte
	}
	var sent []message
	for n := range 30 {
		w.live(1)
		topic, payload := w.send("edge-f2", 1000+n, 2400)
		sent = append(sent, message{topic, payload})
	}
	w.live(300)
	w.wantTold("raised over-power sp_f2.p0", "ended over-power sp_f2.p0")
	for range 5 {
		for _, m := range sent {
			w.take(w.hear(m.topic, m.payload, false))
		}
		w.live(900)
	}
	w.wantTold()
}

func TestDeadDatabaseIsOneAlert(t *testing.T) {
	w := newWatched(t)
	answer := signals.Answers{Store: &signals.Store{OK: true}}
	ask := func(rounds int) {
		for range rounds {
			w.take(w.s.Take(answer, w.now))
			w.live(30)
		}
	}
	ask(10)
	answer.Store = &signals.Store{Took: 10e9}
	ask(20)
	w.wantTold("raised influxdb-down site")
	answer.Store = nil // the broker was away for a moment
	ask(1)
	answer.Store = &signals.Store{OK: true}
	ask(10)
	w.wantTold("ended influxdb-down site")
}
