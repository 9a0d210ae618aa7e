package republish_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wattline/wattline/cloud/broker"
	"github.com/wattline/wattline/cloud/hooks/republish"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/bus/bustest"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// floor is a house with a broker, and somebody who listens to what is
// republished.
type floor struct {
	t       *testing.T
	ctx     context.Context
	options bus.Options // of the roles
	link    *bus.Link   // plays the registry and the gateways
	metrics *metrics.Registry

	mu   sync.Mutex // protects heard
	said map[string]string
	news chan struct{}
}

func TestABrokerThatStartsAgainIsToldEverythingAgain(t *testing.T) {
	b := bustest.Start(t)
	f := newFloor(t, bus.Options{URL: b.URL}, bus.Options{})
	f.furnish(place("sp_f1.g0", ""))
	f.start()
	const config = "homeassistant/device/wattline_sp_f1_g0/config"
	f.state("sp_f1.g0", time.Now(), 1)
	f.until(config, "outlet")
	f.until("wattline/sp_f1.g0/power", `"value":1`)
	b.Kill()
	f.mu.Lock()
	clear(f.said)
	f.mu.Unlock()
	b.Start() // it has forgotten all that was retained
	f.until(config, "outlet")
	f.until("wattline/sp_f1.g0/power", `"value":1`)
	f.until("wattline/gateways/edge-f1/availability", "online")
	f.until("wattline/availability", "online")
	f.state("sp_f1.g0", time.Now().Add(time.Second), 2)
	f.until("wattline/sp_f1.g0/power", `"value":2`)

	f.mu.Lock()
	clear(f.said)
	f.mu.Unlock()
	if err := f.link.Publish(f.ctx, bus.Message{Topic: "homeassistant/status", Payload: []byte("online")}); err != nil {
		t.Fatal(err)
	}
	f.until(config, "outlet") // it has started and remembers nothing
	f.until("wattline/sp_f1.g0/power", `"value":2`)
}

func TestAGatewayThatGoesIsSeenToGo(t *testing.T) {
	f := onMosquitto(t)
	f.furnish(place("sp_f1.g0", ""))
	f.start()
	f.until("wattline/gateways/edge-f1/availability", "online")
	f.beat(false)
	f.until("wattline/gateways/edge-f1/availability", "offline")
	f.beat(true)
	f.until("wattline/gateways/edge-f1/availability", "online")
}

func TestMistakesInTheSettingsAreNamed(t *testing.T) {
	for key, change := range map[string]func(*republish.Config){
		"prefix":                 func(c *republish.Config) { c.Prefix = "state" },
		"prefix: ":               func(c *republish.Config) { c.Prefix = "a/+" },
		"home_assistant.prefix":  func(c *republish.Config) { c.HomeAssistant.Prefix = "wattline/ha" },
		"rate":                   func(c *republish.Config) { c.Rate = 0 },
		"home_assistant.enabled": func(c *republish.Config) { c.Enabled = false },
	} {
		c := configuration()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
	if c := republish.DefaultConfig(); c.Enabled || c.HomeAssistant.Enabled || c.Validate() != nil {
		t.Errorf("the default is %+v", c)
	}
}

// A flood is kept up with or shed, and the newest is what remains.
func TestAFloodEndsWithTheNewest(t *testing.T) {
	f := onMosquitto(t)
	f.furnish()
	f.start()
	const devices, rounds = 100, 100
	begin := time.Now()
	for n := range rounds {
		var pack strings.Builder
		for d := range devices {
			fmt.Fprintf(&pack, `,{"n":"sp_f1.g%d/power","u":"W","t":%d,"v":%d}`, d, 1_700_000_000+n, n)
		}
		payload := `{"data":[` + pack.String()[1:] + `]}`
		if err := f.link.Publish(f.ctx, bus.Message{Topic: "data/agent/influx_data/sp", Payload: []byte(payload)}); err != nil {
			t.Fatal(err)
		}
	}
	for d := range devices {
		f.until(fmt.Sprintf("wattline/sp_f1.g%d/power", d), fmt.Sprintf(`"value":%d,`, rounds-1))
	}
	t.Logf("%d readings in %v", devices*rounds, time.Since(begin))
}

// A rate that is lower than what is measured gives each topic its turn, and what
// must be known at once does not wait.
func TestValuesKeepToTheRate(t *testing.T) {
	f := onMosquitto(t)
	f.furnish()
	c := configuration()
	c.Rate = 50
	f.startWith(c)
	f.listening()
	const devices = 100
	var pack strings.Builder
	for d := range devices {
		fmt.Fprintf(&pack, `,{"n":"sp_f1.g%d/power","u":"W","t":1700000000,"v":1}`, d+1)
	}
	begin := time.Now()
	if err := f.link.Publish(f.ctx, bus.Message{Topic: "data/agent/influx_data/sp", Payload: []byte(`{"data":[` + pack.String()[1:] + `]}`)}); err != nil {
		t.Fatal(err)
	}
	f.until("wattline/sp_f1.g1/power", `"value":1`)
	f.retain(bus.PlacesPrefix+"sp_f1.g0", place("sp_f1.g0", ""))
	f.until("homeassistant/device/wattline_sp_f1_g0/config", "outlet")
	if f.is(fmt.Sprintf("wattline/sp_f1.g%d/power", devices)) != "" {
		t.Error("the announcement waited for all values")
	}
	f.until(fmt.Sprintf("wattline/sp_f1.g%d/power", devices), `"value":1`)
	if took, least := time.Since(begin), 1500*time.Millisecond; took < least {
		t.Errorf("%d values at %d/s took %v, want at least %v", devices, c.Rate, took, least)
	}
}

func onMosquitto(t *testing.T) *floor {
	return newFloor(t, bus.Options{URL: bustest.Start(t).URL}, bus.Options{})
}

// onOurs is a floor on the embedded broker; who listens is a guest.
func onOurs(t *testing.T) *floor {
	t.Helper()
	cfg := broker.DefaultConfig()
	cfg.Listen, cfg.Password = "127.0.0.1:0", "of the roles"
	b, err := broker.Start(t.Context(), cfg, quiet, broker.WithOutlet(broker.Outlet{Prefix: "wattline", HomeAssistant: "homeassistant", Commands: true}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return newFloor(t, bus.Options{URL: b.URL(), Username: broker.RoleUser, Password: "of the roles"}, bus.Options{URL: b.URL()})
}

func newFloor(t *testing.T, role, guest bus.Options) *floor {
	t.Helper()
	if guest.URL == "" {
		guest = role
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	f := &floor{t: t, ctx: ctx, options: role, metrics: metrics.New(), said: map[string]string{}, news: make(chan struct{}, 1)}
	role.ClientID, guest.ClientID = "house", "guest"
	f.link = bus.NewLink(role, quiet)
	guest.Up = func(ctx context.Context, s *bus.Session) error {
		for _, filter := range []string{"wattline/#", "homeassistant/#"} {
			if err := s.Subscribe(ctx, filter, f.hear); err != nil {
				return err
			}
		}
		return nil
	}
	listening := bus.NewLink(guest, quiet)
	var running sync.WaitGroup
	running.Go(func() { _ = f.link.Run(ctx) })
	running.Go(func() { _ = listening.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	for _, l := range []*bus.Link{f.link, listening} {
		if err := l.AwaitUp(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func (f *floor) hear(m bus.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said[m.Topic] = string(m.Payload)
	select {
	case f.news <- struct{}{}:
	default:
	}
}

func (f *floor) is(topic string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.said[topic]
}

// until waits until what was said on the topic has the text in it; "" means that
// it was taken back.
func (f *floor) until(topic, want string) string {
	f.t.Helper()
	for {
		f.mu.Lock()
		got, said := f.said[topic]
		f.mu.Unlock()
		if said && (want == "" && got == "" || want != "" && strings.Contains(got, want)) {
			return got
		}
		select {
		case <-f.news:
		case <-f.ctx.Done():
			f.t.Fatalf("%s says %q, want %q", topic, got, want)
		}
	}
}

func (f *floor) retain(topic string, v any) {
	f.t.Helper()
	var payload []byte
	if v != nil {
		var err error
		if payload, err = json.Marshal(v); err != nil {
			f.t.Fatal(err)
		}
	}
	if err := f.link.Publish(f.ctx, bus.Message{Topic: topic, Payload: payload, Retained: true}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *floor) furnish(places ...contract.Place) {
	f.t.Helper()
	f.retain(bus.SiteTopic, contract.Site{Name: "House", DefaultFloor: 1, TimeZone: "UTC"})
	f.retain(bus.GatewaysInfoPrefix+"edge-f1", contract.GatewayInfo{Gateway: "edge-f1", Floor: 1})
	f.beat(true)
	for _, p := range places {
		f.retain(bus.PlacesPrefix+p.Device.String(), p)
	}
}

func (f *floor) beat(online bool) {
	f.t.Helper()
	f.retain(bus.StatusTopic("edge-f1"), contract.Status{Gateway: "edge-f1", Online: online, Epoch: 7, Time: device.MicrosOf(time.Now())})
}

func (f *floor) state(id string, at time.Time, watts float64) {
	f.t.Helper()
	pack := fmt.Sprintf(`[{"bn":%q,"bt":%.6f,"n":"power","u":"W","v":%v},{"n":"status","u":"/","v":1}]`, id+"/", float64(at.UnixMicro())/1e6, watts)
	if err := f.link.Publish(f.ctx, bus.Message{Topic: bus.StateTopic("edge-f1", id), Payload: []byte(pack), Retained: true}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *floor) data(source, id string, at time.Time, watts float64) {
	f.t.Helper()
	payload := fmt.Sprintf(`{"id":"1","data":[{"n":%q,"u":"W","t":%.6f,"v":%v}]}`, id+"/power", float64(at.UnixMicro())/1e6, watts)
	if err := f.link.Publish(f.ctx, bus.Message{Topic: "data/" + source + "/influx_data/sp", Payload: []byte(payload)}); err != nil {
		f.t.Fatal(err)
	}
}

// listening waits until the hook hears data.
func (f *floor) listening() {
	f.t.Helper()
	for n := 0; f.is("wattline/sp_f1.x0/power") == "" && f.ctx.Err() == nil; n++ {
		f.data("agent", "sp_f1.x0", time.Now(), float64(n))
		time.Sleep(10 * time.Millisecond) // polling under a deadline
	}
}

func configuration() republish.Config {
	c := republish.DefaultConfig()
	c.Enabled, c.HomeAssistant.Enabled = true, true
	return c
}

// start runs the hook; stop ends it.
func (f *floor) start() (stop func()) {
	f.t.Helper()
	return f.startWith(configuration())
}

func (f *floor) startWith(c republish.Config) (stop func()) {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.ctx)
	done := make(chan error, 1)
	go func() { done <- republish.New(c, f.metrics, quiet).Run(ctx, f.options) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				f.t.Errorf("Run: %v", err)
			}
		})
	}
	f.t.Cleanup(stop)
	f.until("wattline/availability", "online")
	return stop
}

func id(text string) device.ID {
	id, err := device.Parse(text)
	if err != nil {
		panic(err)
	}
	return id
}

func place(name, protected string) contract.Place {
	return contract.Place{Device: id(name), Gateway: "edge-f1", Driver: "hs110", Protected: protected, Label: "Sala Goya"}
}

func TestReadingsArePlainAndTheNewestByMeasurementTime(t *testing.T) {
	for name, on := range map[string]func(*testing.T) *floor{"mosquitto": onMosquitto, "the embedded broker": onOurs} {
		t.Run(name, func(t *testing.T) {
			f := on(t)
			f.furnish(place("sp_f1.g0", ""))
			f.start()
			f.until("homeassistant/device/wattline_sp_f1_g0/config", "outlet")
			now := time.Now().Truncate(time.Second)
			f.state("sp_f1.g0", now, 61.75)
			got := f.until("wattline/sp_f1.g0/power", "61.75")
			want := fmt.Sprintf(`{"value":61.75,"unit":"W","time":%q,"source":"edge-f1"}`, now.UTC().Format(time.RFC3339Nano))
			if got != want {
				t.Errorf("power is\n%s, want\n%s", got, want)
			}
			f.until("wattline/sp_f1.g0/status", `"value":1`)

			// An agent that is no gateway is heard by its data; a gateway's data is not.
			f.listening()
			f.data("agent", "sp_f1.g7", now, 5)
			f.until("wattline/sp_f1.g7/power", `"value":5`)
			f.data("edge-f1", "sp_f1.g0", now.Add(time.Second), 99)
			f.data("agent", "sp_f1.g7", now.Add(-time.Minute), 6) // late
			f.data("agent", "sp_f1.g8", now, 8)
			f.until("wattline/sp_f1.g8/power", `"value":8`)
			if got := f.is("wattline/sp_f1.g7/power"); !strings.Contains(got, `"value":5`) {
				t.Errorf("an older reading took the newest's place: %s", got)
			}
			f.data("agent", "sp_f1.g7", now.Add(time.Second), 7)
			f.until("wattline/sp_f1.g7/power", `"value":7`)
			if got := f.is("wattline/sp_f1.g0/power"); got != want {
				t.Errorf("the data of a gateway made it %s", got)
			}
		})
	}
}

func TestAPlaceThatGoesTakesAllWithIt(t *testing.T) {
	f := onMosquitto(t)
	f.furnish(place("sp_f1.g0", ""), place("sp_f1.g1", ""))
	stop := f.start()
	f.until("homeassistant/device/wattline_sp_f1_g0/config", "outlet")
	f.until("homeassistant/device/wattline_sp_f1_g1/config", "outlet")
	f.state("sp_f1.g0", time.Now(), 1)
	f.state("sp_f1.g1", time.Now(), 2)
	f.until("wattline/sp_f1.g0/power", `"value":1`)
	f.until("wattline/sp_f1.g1/power", `"value":2`)

	f.retain(bus.PlacesPrefix+"sp_f1.g0", nil)
	f.until("homeassistant/device/wattline_sp_f1_g0/config", "")
	f.until("wattline/sp_f1.g0/power", "")
	f.state("sp_f1.g0", time.Now(), 3) // its gateway has not heard of it yet

	stop()
	f.until("wattline/availability", "offline")
	f.retain(bus.PlacesPrefix+"sp_f1.g1", nil) // while nobody looks
	f.start()
	f.until("homeassistant/device/wattline_sp_f1_g1/config", "")
	f.until("wattline/sp_f1.g1/power", "")
	if got := f.is("wattline/sp_f1.g0/power"); got != "" {
		t.Errorf("the place that has gone says %s", got)
	}
}

func TestHomeAssistantUnderstandsEachAnnouncement(t *testing.T) {
	f := onMosquitto(t)
	f.furnish(place("sp_f1.g0", ""), place("sp_f-1.w.r1.c2", "a server"), contract.Place{Device: id("sp_p0"), Gateway: "edge-f1", PollSeconds: 60})
	f.start()
	for object, want := range map[string]string{"sp_f1_g0": `"command_topic":"wattline/sp_f1.g0/set"`, "sp_f-1_w_r1_c2": "binary_sensor", "sp_p0": `"expire_after":300`} {
		topic := "homeassistant/device/wattline_" + object + "/config"
		payload := f.until(topic, want)
		for _, breach := range breaches(topic, []byte(payload)) {
			t.Errorf("%s: %s", object, breach)
		}
		if object == "sp_f-1_w_r1_c2" && strings.Contains(payload, "command_topic") {
			t.Errorf("a protected place can be switched: %s", payload)
		}
	}
	// Protected later: the switch goes, something to look at comes.
	f.retain(bus.PlacesPrefix+"sp_f1.g0", place("sp_f1.g0", "a fridge"))
	payload := f.until("homeassistant/device/wattline_sp_f1_g0/config", "protected")
	if !strings.Contains(payload, `"switch":{"platform":"switch"}`) || strings.Contains(payload, "command_topic") {
		t.Errorf("it is still a switch: %s", payload)
	}
}

func TestHomeAssistantSwitchesThroughSPCommand(t *testing.T) {
	for name, on := range map[string]func(*testing.T) *floor{"mosquitto": onMosquitto, "the embedded broker": onOurs} {
		t.Run(name, func(t *testing.T) {
			f := on(t)
			f.furnish(place("sp_f1.g0", ""), place("sp_f1.g1", "a server"))
			asked := make(chan string, 10)
			component := hook.Component{Name: "sp_command", Family: hook.Commands, Handle: func(_ context.Context, r hook.Request, w *hook.Answer) error {
				asked <- r.Subpath + " " + string(r.Data)
				w.Send(json.RawMessage(`{"id":"1","results":[{"device":"sp_f1.g0","outcome":"confirmed"}]}`), nil)
				return nil
			}}
			ctx, cancel := context.WithCancel(f.ctx)
			var serving sync.WaitGroup
			serving.Go(func() { _ = component.Serve(ctx, f.options, quiet) })
			defer serving.Wait()
			defer cancel()
			f.start()
			f.until("homeassistant/device/wattline_sp_f1_g1/config", "protected")
			guest := bus.NewLink(bus.Options{URL: f.options.URL, ClientID: "home-assistant"}, quiet)
			serving.Go(func() { _ = guest.Run(ctx) })
			say := func(topic, payload string, retained bool) {
				t.Helper()
				if err := guest.Publish(f.ctx, bus.Message{Topic: topic, Payload: []byte(payload), Retained: retained}); err != nil {
					t.Fatal(err)
				}
			}
			say("wattline/sp_f1.g1/set", "OFF", false)    // protected
			say("wattline/sp_f1.g9/set", "OFF", false)    // none
			say("wattline/sp_f1.g0/set", "toggle", false) // no command
			say("wattline/nonsense/set", "ON", false)
			say("wattline/sp_f1.g0/set", "OFF", false)
			want := `sp_f1.g0 {"on":false,"who":"republish","reason":"switched in Home Assistant"}`
			select {
			case got := <-asked:
				if got != want {
					t.Errorf("asked %s, want %s", got, want)
				}
			case <-f.ctx.Done():
				t.Fatal("sp_command was not asked")
			}
			f.counted(`wattline_republish_commands_total{outcome="confirmed"} 1`)
			f.counted(`wattline_republish_commands_total{outcome="refused"} 1`)
			f.counted(`wattline_republish_commands_total{outcome="malformed"} 2`)
			if len(asked) > 0 {
				t.Errorf("also asked %s", <-asked)
			}
		})
	}
}

// counted waits for a line of the metrics.
func (f *floor) counted(line string) {
	f.t.Helper()
	for {
		var b strings.Builder
		if err := f.metrics.WriteText(&b); err != nil {
			f.t.Fatal(err)
		}
		if strings.Contains(b.String(), line+"\n") {
			return
		}
		if f.ctx.Err() != nil {
			_, ours, _ := strings.Cut(b.String(), "# HELP wattline")
			f.t.Fatalf("%s is not in\n%s", line, ours)
		}
		time.Sleep(10 * time.Millisecond) // polling under a deadline
	}
}
