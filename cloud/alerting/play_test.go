package alerting_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/alerting"
	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// play is the role with rules of its own, a clock that the test drives, and
// somebody who listens. It has one floor, with a gateway.
type play struct {
	t    *testing.T
	role *alerting.Driven
	now  time.Time
	zone *time.Location
}

// ear is a receiver that keeps what it was told, a line a message.
type ear struct {
	play *play
	down error
	got  []string
	at   []time.Time
	last notify.Message
	// before is what to do before a message is taken; may be nil.
	before func(notify.Message)
}

func (e *ear) Send(_ context.Context, m notify.Message) error {
	if e.before != nil {
		e.before(m)
	}
	if e.down != nil {
		return e.down
	}
	items := make([]string, 0, len(m.Items))
	for _, i := range m.Items {
		items = append(items, fmt.Sprintf("%s %s %s", i.Event, i.Alert.Rule, i.Alert.Subject))
	}
	e.last = m
	e.got, e.at = append(e.got, e.play.now.In(e.play.zone).Format("15:04 ")+strings.Join(items, ", ")), append(e.at, e.play.now)
	return nil
}

// wants compares what was told since it was asked last.
func (e *ear) wants(what string, lines ...string) {
	e.play.t.Helper()
	if d := cmp.Diff(lines, e.got); d != "" {
		e.play.t.Errorf("%s (-want +got):\n%s", what, d)
	}
	e.got = nil
}

// newPlay begins at a time, with rules, and with receivers whose senders are ears
// where they have none.
func newPlay(t *testing.T, begin time.Time, rules string, receivers ...notify.Receiver) (*play, []*ear) {
	t.Helper()
	return newPlayIn(t, t.TempDir(), begin, rules, receivers...)
}

func newPlayIn(t *testing.T, data string, begin time.Time, rules string, receivers ...notify.Receiver) (*play, []*ear) {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	p := &play{t: t, now: begin, zone: zone}
	cfg := alerting.DefaultConfig()
	cfg.Rules = filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(cfg.Rules, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	var ears []*ear
	for i := range receivers {
		cfg.Receivers = append(cfg.Receivers, alerting.Receiver{Name: receivers[i].Name})
		if receivers[i].Sender == nil {
			one := &ear{play: p}
			receivers[i].Sender = one
			ears = append(ears, one)
		}
	}
	if p.role, err = alerting.Drive(cfg, data, receivers, func() time.Time { return p.now }, quiet); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.role.Close() })
	p.hear("registry/site", contract.Site{Name: "Main Street", DefaultFloor: 1, TimeZone: "Europe/Berlin"}, true)
	p.hear("registry/gateways/edge-f1", contract.GatewayInfo{Gateway: "edge-f1", Floor: 1}, true)
	return p, ears
}

func (p *play) hear(topic string, value any, retained bool) {
	p.t.Helper()
	payload, isText := value.(string)
	if !isText {
		text, err := json.Marshal(value)
		if err != nil {
			p.t.Fatal(err)
		}
		payload = string(text)
	}
	p.role.Hear(bus.Message{Topic: topic, Payload: []byte(payload), Retained: retained})
}

// places registers as many places, and names them.
func (p *play) places(n int) (names []string) {
	p.t.Helper()
	for i := range n {
		name := fmt.Sprintf("sp_f1.g%d", i)
		id, err := device.Parse(name)
		if err != nil {
			p.t.Fatal(err)
		}
		p.hear("registry/places/"+name, contract.Place{Device: id, Gateway: "edge-f1", Driver: "hs110", Address: "127.0.0.1", MaxPower: 1000}, true)
		names = append(names, name)
	}
	return names
}

// measure has places draw so many watts at the time of the play.
func (p *play) measure(watts float64, places ...string) {
	p.t.Helper()
	var b strings.Builder
	for n, name := range places {
		if n > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"n":"%s/power","u":"W","t":%f,"v":%g}`, name, float64(p.now.UnixMicro())/1e6, watts)
	}
	p.hear("data/edge-f1/influx_data/sp", `{"id":"x","data":[`+b.String()+"]}", false)
}

// passes lets time pass, a second at a time.
func (p *play) passes(d time.Duration) {
	p.t.Helper()
	p.strides(d, time.Second)
}

// strides lets time pass, a step at a time.
func (p *play) strides(d, step time.Duration) {
	p.t.Helper()
	for end := p.now.Add(d); p.now.Before(end); {
		p.now = p.now.Add(step)
		p.role.Tick(p.t.Context())
	}
}

// does what a request asks, which must work.
func (p *play) does(resource string, r contract.RegistryRequest) contract.RegistryAnswer {
	p.t.Helper()
	a := p.role.Do(resource, r)
	if a.Problem != nil {
		p.t.Fatalf("%s %s: %+v", r.Verb, resource, a.Problem)
	}
	return a
}

// imports replaces the rules.
func (p *play) imports(rules string) {
	p.t.Helper()
	text, err := json.Marshal(map[string]string{"text": rules})
	if err != nil {
		p.t.Fatal(err)
	}
	p.does("rules", contract.RegistryRequest{Verb: "import", Content: text})
}

// kept are the alerts that the archive has, the newest first.
func (p *play) kept(state string) (all []contract.Alert) {
	p.t.Helper()
	if err := json.Unmarshal(p.does("alerts", contract.RegistryRequest{Verb: "list", Filter: map[string]string{"state": state}}).Content, &all); err != nil {
		p.t.Fatal(err)
	}
	return all
}

// monday is a Monday in November, at noon in Berlin.
var monday = time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC)
