package alerting_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/alerting"
	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/cloud/alerting/signals"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

const floors = 3

// week is a building of 3 floors and 300 plugs, a clock, and two receivers: the
// facility manager's mail and the webhook of those on call.
type week struct {
	t      *testing.T
	data   string
	start  func()
	role   *alerting.Driven
	now    time.Time
	begin  time.Time
	zone   *time.Location
	places [floors + 1][]string
	mail   *letters
	calls  *letters

	dead   map[int]bool              // gateways that are off
	away   map[int]bool              // gateways that have lost the way to the cloud
	kept   map[int][]string          // batches that wait at a gateway
	outbox map[int]int               // how full, percent
	unwell map[string]string         // plugs that are not read, and why
	draws  map[string]func() float64 // places with a life of their own
	store  bool                      // InfluxDB answers
}

// letters are what a receiver got, one line each.
type letters struct {
	week *week
	down bool
	got  []string
}

func (l *letters) Send(_ context.Context, m notify.Message) error {
	if l.down {
		return errors.New("no route to host")
	}
	var items []string
	for _, i := range m.Items {
		text := fmt.Sprintf("%s %s %s", i.Event, i.Alert.Rule, i.Alert.Subject)
		if n := len(i.Alert.Covers) + i.Alert.CoversMore; n > 0 {
			text += fmt.Sprintf(" (covers %d)", n)
		}
		items = append(items, text)
	}
	l.got = append(l.got, l.week.clock()+": "+strings.Join(items, ", "))
	return nil
}

// clock is the day and the hour in the building. On Saturday morning the mail
// server is back, and how soon that is found has some chance in it.
func (w *week) clock() string {
	text := w.now.In(w.zone).Format("Mon 15:04")
	if strings.HasPrefix(text, "Sat 08:0") {
		return "Sat 08:0x"
	}
	return text
}

func newWeek(t *testing.T) *week {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	w := &week{
		t: t, zone: zone, begin: time.Date(2026, 11, 23, 0, 0, 0, 0, zone), dead: map[int]bool{}, away: map[int]bool{}, kept: map[int][]string{}, outbox: map[int]int{},
		unwell: map[string]string{}, draws: map[string]func() float64{}, store: true,
	}
	w.now = w.begin
	w.mail, w.calls = &letters{week: w}, &letters{week: w}
	digest := rule.Clock(8 * 60)
	receivers := []notify.Receiver{
		{Name: "facility", Kind: "email", From: contract.Info, Wait: 30 * time.Second, Most: 12, Digest: &digest, Over: true, Sender: w.mail},
		{Name: "on-call", Kind: "webhook", From: contract.Warning, Over: true, Sender: w.calls},
	}
	w.data = t.TempDir()
	w.start = func() {
		if w.role, err = alerting.Drive(alerting.DefaultConfig(), w.data, receivers, func() time.Time { return w.now }, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		w.house()
	}
	w.start()
	t.Cleanup(func() { _ = w.role.Close() })
	return w
}

// killed is a cloud that is killed, and started again three minutes later.
func (w *week) killed() {
	w.t.Helper()
	if err := w.role.Kill(); err != nil {
		w.t.Fatal(err)
	}
	w.now = w.now.Add(3 * time.Minute)
	w.start()
}

// house is what the registry tells.
func (w *week) house() {
	w.hear("registry/site", contract.Site{Name: "Main Street", DefaultFloor: 1, TimeZone: "Europe/Berlin"}, true)
	for f := 1; f <= floors; f++ {
		w.hear("registry/gateways/"+gateway(f), contract.GatewayInfo{Gateway: gateway(f), Floor: f}, true)
		w.places[f] = []string{fmt.Sprintf("sp_f%d.p0", f), fmt.Sprintf("sp_f%d.g0", f)}
		for n := range perFloor - 2 {
			w.places[f] = append(w.places[f], fmt.Sprintf("sp_f%d.w.r%d.c%d", f, n/4, n%4))
		}
		for _, name := range w.places[f] {
			id, err := device.Parse(name)
			if err != nil {
				w.t.Fatal(err)
			}
			w.hear("registry/places/"+name, contract.Place{Device: id, Gateway: gateway(f), Driver: "hs110", Address: "127.0.0.1", MaxPower: 2000}, true)
		}
	}
}

func gateway(floor int) string { return fmt.Sprintf("edge-f%d", floor) }

func (w *week) hear(topic string, value any, retained bool) {
	w.t.Helper()
	payload, isText := value.(string)
	if !isText {
		text, err := json.Marshal(value)
		if err != nil {
			w.t.Fatal(err)
		}
		payload = string(text)
	}
	w.role.Hear(bus.Message{Topic: topic, Payload: []byte(payload), Retained: retained})
}

// lives lets the building live for a time: a beat of each gateway every twenty
// seconds, a poll of each plug every other minute.
func (w *week) lives(d time.Duration) {
	w.t.Helper()
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(20 * time.Second)
		whole := w.now.Sub(w.begin)%(2*time.Minute) == 0
		for f := 1; f <= floors; f++ {
			if w.dead[f] {
				continue
			}
			if whole {
				w.kept[f] = append(w.kept[f], w.poll(f))
			}
			if w.away[f] {
				continue
			}
			w.beat(f)
			if w.store {
				for _, batch := range w.kept[f] {
					w.hear("data/"+gateway(f)+"/influx_data/sp", batch, false)
				}
				w.kept[f] = nil
			}
		}
		if whole {
			w.role.Answer(signals.Answers{Store: &signals.Store{OK: w.store, Took: 50 * time.Millisecond}})
		}
		w.role.Tick(w.t.Context())
	}
}

// until lets the building live until a day and hour of the week.
func (w *week) until(day int, hour, minute int) {
	w.t.Helper()
	w.lives(time.Date(2026, 11, 23+day, hour, minute, 0, 0, w.zone).Sub(w.now))
}

func (w *week) beat(f int) {
	s := contract.Status{
		Gateway: gateway(f), Online: true, Epoch: contract.Epoch(f), Time: device.MicrosOf(w.now), Clock: contract.ClockStatus{Set: true},
		Outbox: contract.OutboxStatus{Limit: 100, Bytes: int64(w.outbox[f]), File: int64(w.outbox[f])}, Plugs: contract.PlugsStatus{Configured: perFloor, Reachable: perFloor},
	}
	for _, name := range w.places[f] {
		if reason := w.unwell[name]; reason != "" {
			id, err := device.Parse(name)
			if err != nil {
				w.t.Fatal(err)
			}
			s.Plugs.Reachable--
			s.Plugs.Problems = append(s.Plugs.Problems, contract.PlugProblem{Device: id, Reason: reason, Since: s.Time})
		}
	}
	w.hear(bus.StatusTopic(gateway(f)), s, false)
}

// poll is a batch of a floor: what each place draws, and one voltage.
func (w *week) poll(f int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"id":"poll","data":[{"bt":%d,"n":"%s/voltage","u":"V","v":%d.%d}`, w.now.Unix(), w.places[f][0], 228+w.now.Minute()%5, w.now.Hour()%10)
	local := w.now.In(w.zone)
	office := local.Weekday() >= time.Monday && local.Weekday() <= time.Friday && local.Hour() >= 8 && local.Hour() < 18
	for n, name := range w.places[f] {
		if w.unwell[name] != "" {
			continue
		}
		watts := 0.0
		switch {
		case w.draws[name] != nil:
			watts = w.draws[name]()
		case office:
			watts = 40 + float64((n+local.Minute())%60)
		}
		fmt.Fprintf(&b, `,{"n":"%s/power","u":"W","v":%g}`, name, watts)
	}
	return b.String() + "]}"
}

func TestAWeekInABuilding(t *testing.T) {
	t.Parallel()
	w := newWeek(t)

	// Monday: the gateway of floor 2 dies for half an hour.
	w.until(0, 10, 0)
	w.dead[2] = true
	w.until(0, 10, 30)
	w.dead[2] = false

	// Tuesday: the switch of floor 3 flaps for an hour.
	w.until(1, 14, 0)
	for range 10 {
		w.away[3] = true
		w.lives(4 * time.Minute)
		w.away[3] = false
		w.lives(2 * time.Minute)
	}

	// Wednesday at four a heater runs at floor 1 for ten minutes, while the floor has
	// no way to the cloud for a whole day.
	w.until(1, 18, 0)
	w.away[1] = true
	w.until(2, 4, 0)
	w.draws["sp_f1.w.r0.c0"] = func() float64 { return 2500 }
	w.until(2, 4, 10)
	delete(w.draws, "sp_f1.w.r0.c0")
	// Meanwhile the cloud is killed.
	w.until(2, 12, 0)
	w.killed()
	w.until(2, 18, 0)
	w.away[1] = false

	// Thursday: InfluxDB is down for an hour, the outboxes fill.
	w.until(3, 12, 0)
	w.store = false
	w.until(3, 12, 40)
	w.outbox = map[int]int{1: 60, 2: 60, 3: 60}
	w.until(3, 13, 0)
	w.store, w.outbox = true, map[int]int{}

	// In the evening somebody leaves the printer of floor 2 on.
	w.until(3, 19, 30)
	w.draws["sp_f2.p0"] = func() float64 { return 120 }
	w.until(4, 7, 30)
	delete(w.draws, "sp_f2.p0")

	// Friday: the mail server is down for the night, in which somebody forgets a
	// heater for ten minutes, and a plug is pulled until the morning.
	w.until(4, 20, 0)
	w.mail.down = true
	w.until(4, 22, 0)
	w.draws["sp_f3.w.r1.c1"] = func() float64 { return 2400 }
	w.until(4, 22, 10)
	delete(w.draws, "sp_f3.w.r1.c1")
	w.unwell["sp_f3.w.r0.c2"] = "offline"
	w.until(5, 7, 0)
	w.unwell = map[string]string{}
	w.until(5, 8, 0)
	w.mail.down = false
	w.until(7, 0, 0)

	all := fmt.Sprintf(" (covers %d)", perFloor)
	if d := cmp.Diff([]string{
		"Mon 10:03: began gateway-offline edge-f2" + all,
		"Mon 10:31: over gateway-offline edge-f2" + all,
		"Tue 14:03: began gateway-offline edge-f3" + all,
		"Tue 14:05: over gateway-offline edge-f3" + all,
		"Tue 14:09: began gateway-offline edge-f3" + all,
		"Tue 14:11: over gateway-offline edge-f3" + all,
		"Tue 14:15: flaps gateway-offline edge-f3" + all,
		"Tue 15:14: over gateway-offline edge-f3" + all,
		"Tue 18:03: began gateway-offline edge-f1" + all,
		"Wed 18:01: over gateway-offline edge-f1" + all,
		"Thu 12:04: began influxdb-down site (covers 3)",
		"Thu 13:02: over influxdb-down site (covers 3)",
		"Fri 08:00: was left-on sp_f2.p0",
		"Sat 08:0x: began over-power sp_f3.w.r1.c1",
		"Sat 08:0x: over over-power sp_f3.w.r1.c1, was receiver-failing site, was plug-unreachable sp_f3.w.r0.c2",
	}, w.mail.got); d != "" {
		t.Errorf("mail (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{
		"Mon 10:02: began gateway-offline edge-f2" + all,
		"Mon 10:30: over gateway-offline edge-f2" + all,
		"Tue 14:02: began gateway-offline edge-f3" + all,
		"Tue 14:04: over gateway-offline edge-f3" + all,
		"Tue 14:08: began gateway-offline edge-f3" + all,
		"Tue 14:10: over gateway-offline edge-f3" + all,
		"Tue 14:14: flaps gateway-offline edge-f3" + all,
		"Tue 15:13: over gateway-offline edge-f3" + all,
		"Tue 18:02: began gateway-offline edge-f1" + all,
		"Wed 18:00: over gateway-offline edge-f1" + all,
		"Thu 12:04: began influxdb-down site",
		"Thu 13:02: over influxdb-down site (covers 3)",
		"Fri 22:04: began over-power sp_f3.w.r1.c1",
		"Fri 22:12: over over-power sp_f3.w.r1.c1",
		"Fri 22:15: began receiver-failing site",
		"Fri 22:20: began plug-unreachable sp_f3.w.r0.c2",
		"Sat 07:00: over plug-unreachable sp_f3.w.r0.c2",
		"Sat 08:0x: over receiver-failing site",
	}, w.calls.got); d != "" {
		t.Errorf("calls (-want +got):\n%s", d)
	}
}
