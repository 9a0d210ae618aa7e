package signals_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
)

// TestFactsOfAHeartbeat says for each fact when it appears, and when it must not.
func TestFactsOfAHeartbeat(t *testing.T) {
	trouble := func(place, reason string) func(*contract.Status) {
		return func(s *contract.Status) {
			s.Plugs.Reachable--
			s.Plugs.Problems = []contract.PlugProblem{{Device: id(t, place), Reason: reason}}
		}
	}
	for name, c := range map[string]struct {
		change          func(*contract.Status)
		signal, subject string
		want            *float64
	}{
		"it beats":                         {nil, "gateway.online", "edge-f1", new(1.0)},
		"an empty outbox":                  {nil, "gateway.outbox", "edge-f1", new(0.0)},
		"a full one":                       {func(s *contract.Status) { s.Outbox.Bytes = 915 }, "gateway.outbox", "edge-f1", new(91.5)},
		"one without limit":                {func(s *contract.Status) { s.Outbox.Limit = 0 }, "gateway.outbox", "edge-f1", nil},
		"nothing waits":                    {nil, "gateway.oldest", "edge-f1", new(0.0)},
		"a reading waits":                  {func(s *contract.Status) { s.Outbox.Oldest = new(s.Time - minute) }, "gateway.oldest", "edge-f1", new(60.0)},
		"age by the gateway's own clock":   {func(s *contract.Status) { s.Time -= 60 * minute; s.Outbox.Oldest = new(s.Time - minute) }, "gateway.oldest", "edge-f1", new(60.0)},
		"nothing dropped":                  {nil, "gateway.dropped", "edge-f1", new(0.0)},
		"dropped and refused":              {func(s *contract.Status) { s.Outbox.Dropped, s.Outbox.Refused = 3, 4 }, "gateway.dropped", "edge-f1", new(7.0)},
		"set aside":                        {func(s *contract.Status) { s.Outbox.SetAside = []contract.BatchID{{Epoch: epoch, Sequence: 3}} }, "gateway.set_aside", "edge-f1", new(1.0)},
		"damaged":                          {func(s *contract.Status) { s.Outbox.Damaged = "outbox.db.damaged" }, "gateway.damaged", "edge-f1", new(1.0)},
		"whole":                            {nil, "gateway.damaged", "edge-f1", new(0.0)},
		"a clock that is right":            {nil, "gateway.clock_offset", "edge-f1", new(0.0)},
		"a clock that is behind":           {func(s *contract.Status) { s.Time -= 60 * minute }, "gateway.clock_offset", "edge-f1", new(3600.0)},
		"a clock that is ahead":            {func(s *contract.Status) { s.Time += minute }, "gateway.clock_offset", "edge-f1", new(60.0)},
		"a clock that was never set":       {func(s *contract.Status) { s.Clock.Set, s.Time = false, 0 }, "gateway.clock_offset", "edge-f1", nil},
		"and says so":                      {func(s *contract.Status) { s.Clock.Set = false }, "gateway.clock_unset", "edge-f1", new(1.0)},
		"a clock that was set":             {nil, "gateway.clock_unset", "edge-f1", new(0.0)},
		"the newest configuration":         {nil, "gateway.config_refused", "edge-f1", new(0.0)},
		"one refused":                      {func(s *contract.Status) { s.ConfigRefused = &contract.ConfigRefused{Version: 7} }, "gateway.config_refused", "edge-f1", new(1.0)},
		"an older configuration":           {func(s *contract.Status) { s.ConfigVersion = 6 }, "gateway.config_refused", "edge-f1", new(1.0)},
		"a plug that is read":              {nil, "plug.reached", "sp_f1.g0", new(1.0)},
		"a plug that is not":               {trouble("sp_f1.g0", "offline"), "plug.reached", "sp_f1.g0", new(0.0)},
		"the plug beside it":               {trouble("sp_f1.g0", "offline"), "plug.reached", "sp_w.r0.c1", new(1.0)},
		"a place without plug":             {nil, "plug.reached", "sp_f1.g9", nil},
		"a plug of another gateway":        {nil, "plug.reached", "sp_f2.p0", nil},
		"not all plugs were polled yet":    {func(s *contract.Status) { s.Plugs.Reachable = 1 }, "plug.reached", "sp_f1.g0", nil},
		"but one with a problem":           {func(s *contract.Status) { s.Plugs.Configured = 9; trouble("sp_f1.g0", "offline")(s) }, "plug.reached", "sp_f1.g0", new(0.0)},
		"a plug that answers":              {nil, "plug.locked", "sp_f1.g0", new(0.0)},
		"a locked plug":                    {trouble("sp_f1.g0", "locked"), "plug.locked", "sp_f1.g0", new(1.0)},
		"a plug that is silent only":       {trouble("sp_f1.g0", "silent"), "plug.locked", "sp_f1.g0", new(0.0)},
		"no suspects":                      {nil, "plug.suspects", "sp_f1.g0", new(0.0)},
		"suspects":                         {func(s *contract.Status) { s.Plugs.Suspects = map[device.ID]int{id(t, "sp_f1.g0"): 12} }, "plug.suspects", "sp_f1.g0", new(12.0)},
		"no firmware is known":             {nil, "plug.firmware", "sp_f1.g0", nil},
		"a will says nothing of plugs":     {func(s *contract.Status) { *s = contract.Status{Epoch: epoch} }, "plug.reached", "sp_f1.g0", nil},
		"but that the gateway is away":     {func(s *contract.Status) { *s = contract.Status{Epoch: epoch} }, "gateway.online", "edge-f1", new(0.0)},
		"somebody else's status":           {func(s *contract.Status) { s.Gateway = "edge-f2" }, "gateway.online", "edge-f1", nil},
		"leaving in order, with all facts": {func(s *contract.Status) { s.Online = false }, "gateway.outbox", "edge-f1", nil},
	} {
		t.Run(name, func(t *testing.T) {
			st := newStage(t)
			samples := st.beat("edge-f1", c.change)
			want(t, samples, c.signal, c.subject, c.want)
			for _, s := range samples {
				if signal, fact := rule.SignalOf(s.Signal); !fact || s.At != st.now || (signal.Kind == rule.OfDevice) == s.Subject.Device.IsZero() {
					t.Errorf("sample %+v is no fact of now about a %s", s, signal.Kind)
				}
			}
		})
	}
}

func TestRetainedStatusMakesNoFacts(t *testing.T) {
	st := newStage(t)
	payload := contract.Status{Gateway: "edge-f1", Online: true, Epoch: epoch, Time: begin - 600*minute, Clock: contract.ClockStatus{Set: true}}
	if got := st.hear(bus.StatusTopic("edge-f1"), payload, true); len(got) > 0 {
		t.Errorf("%d samples of a status that may be of any age: %+v", len(got), got)
	}
}

func TestRestartOfTheCloudRaisesNothing(t *testing.T) {
	st := newStage(t)
	st.hear(bus.StatusTopic("edge-f1"), contract.Status{Online: true, Epoch: epoch, Time: begin - 60*minute}, true)
	st.hear(bus.StatusTopic("edge-f2"), contract.Status{Epoch: epoch}, true) // its will, when the broker went down
	if got := st.pass(25); len(got) > 0 {
		t.Errorf("samples before anybody has had time to beat: %+v", got)
	}
	st.beat("edge-f2", nil)
	got := st.pass(15)
	want(t, got, "gateway.online", "edge-f1", new(0.0))
	want(t, got, "gateway.online", "edge-f2", new(1.0))
	want(t, got, "plug.reached", "sp_f1.g0", nil)
}

func TestGatewayThatWasNeverHeard(t *testing.T) {
	for trust, offline := range map[contract.Trust]*float64{
		"": new(0.0), contract.Trusted: new(0.0), contract.Expected: nil, contract.Pending: nil, contract.Revoked: nil,
	} {
		t.Run("trust "+string(trust), func(t *testing.T) {
			st := newStage(t)
			st.pass(300)
			st.hear(bus.GatewaysInfoPrefix+"edge-f3", contract.GatewayInfo{Gateway: "edge-f3", Floor: 3, Trust: trust}, false)
			want(t, st.pass(30), "gateway.online", "edge-f3", nil)
			want(t, st.pass(10), "gateway.online", "edge-f3", offline)
		})
	}
}

func TestSilenceIsOffline(t *testing.T) {
	st := newStage(t)
	st.beat("edge-f1", nil)
	want(t, st.pass(30), "gateway.online", "edge-f1", new(1.0))
	want(t, st.pass(10), "gateway.online", "edge-f1", new(0.0))
	want(t, st.beat("edge-f1", nil), "gateway.online", "edge-f1", new(1.0))
	want(t, st.pass(10), "gateway.online", "edge-f1", new(1.0))
}

func TestWillOfAnEarlierRunDoesNotCount(t *testing.T) {
	st := newStage(t)
	st.beat("edge-f1", nil)
	st.beat("edge-f1", func(s *contract.Status) { s.Epoch = 2 })
	want(t, st.hear(bus.StatusTopic("edge-f1"), contract.Status{Epoch: epoch}, false), "gateway.online", "edge-f1", nil)
	want(t, st.pass(10), "gateway.online", "edge-f1", new(1.0))
	want(t, st.hear(bus.StatusTopic("edge-f1"), contract.Status{Epoch: 2}, false), "gateway.online", "edge-f1", new(0.0))
	want(t, st.pass(10), "gateway.online", "edge-f1", new(0.0))
}

func TestOutageOfTheBrokerSaysNothing(t *testing.T) {
	st := newStage(t)
	st.beat("edge-f1", nil)
	st.s.Disconnected()
	if got := st.pass(600); len(got) > 0 {
		t.Errorf("samples without a connection: %+v", got)
	}
	st.s.Connected(st.now)
	st.registry()
	if got := st.pass(25); len(got) > 0 {
		t.Errorf("samples before anybody has had time to beat: %+v", got)
	}
	st.beat("edge-f1", nil)
	got := st.pass(15)
	want(t, got, "gateway.online", "edge-f1", new(1.0))
	want(t, got, "gateway.online", "edge-f2", new(0.0))
}

func TestFirmwareAndLocksThatDiscoverySees(t *testing.T) {
	st := newStage(t)
	found := contract.Found{Gateway: "edge-f1", Plugs: []contract.FoundPlug{
		{Device: "sp_f1.g0", Firmware: "1.5.2"},
		{Device: "sp_w.r0.c1", Firmware: strings.Repeat("x", 1000), Problem: "locked"},
		{Device: "", Firmware: "1.0.0"},
		{Device: "sp_f2.p0", Firmware: "1.0.0", Problem: "locked"}, // another gateway's place
	}}
	st.hear(bus.FoundTopic("edge-f1"), found, true)
	samples := st.beat("edge-f1", nil)
	if got, _ := find(samples, "plug.firmware", "sp_f1.g0"); got.Text != "1.5.2" {
		t.Errorf("firmware is %q, want 1.5.2", got.Text)
	}
	want(t, samples, "plug.firmware", "sp_w.r0.c1", nil)
	want(t, samples, "plug.locked", "sp_f2.p0", nil)
	want(t, samples, "plug.locked", "sp_f1.g0", new(0.0))
	found.Plugs = []contract.FoundPlug{{Device: "sp_f1.g0", Firmware: "1.5.2", Problem: "locked"}}
	st.hear(bus.FoundTopic("edge-f1"), found, false)
	want(t, st.beat("edge-f1", nil), "plug.locked", "sp_f1.g0", new(1.0))
	st.hear(bus.FoundTopic("edge-f1"), []byte{}, false)
	want(t, st.beat("edge-f1", nil), "plug.firmware", "sp_f1.g0", nil)
}

func TestCertificates(t *testing.T) {
	st := newStage(t)
	day := 24 * 60 * minute
	info := contract.GatewayInfo{Gateway: "edge-f1", Floor: 1, Trust: contract.Trusted, Certificates: []contract.Certificate{
		{Serial: "1", Expires: begin + 3*day}, {Serial: "2", Expires: begin + 90*day},
	}}
	st.hear(bus.GatewaysInfoPrefix+"edge-f1", info, false)
	samples := st.pass(10)
	want(t, samples, "gateway.certificate", "edge-f1", new(90-10.0/86400))
	want(t, samples, "gateway.certificate", "edge-f2", nil)
	st.now = begin + 91*day
	want(t, st.pass(10), "gateway.certificate", "edge-f1", new(-1-1.0/86400))
}

func TestMalformedMessagesAreCountedAndIgnored(t *testing.T) {
	big := func(text string) []byte { return append([]byte(text), bytes.Repeat([]byte(" "), 5<<20)...) } // good but for its size
	for topic, payload := range map[string][]byte{
		"data/edge-f1/influx_data/sp":                         []byte("{"),
		"data/" + strings.Repeat("x", 200) + "/influx_data/a": data(t, "1", senml.Record{Name: "sp_g0/power", Time: begin}),
		"data/edge-f1/influx_data/big":                        big(string(data(t, "1", senml.Record{Name: "sp_g0/power", Time: begin}))),
		"gateways/edge-f1/status":                             []byte(`{"time": "now"}`),
		"gateways/edge-f2/status":                             big(`{"online": true, "epoch": "9f3c0a5be1d27486"}`),
		"registry/places/sp_f1.g2":                            big(`{"device": "sp_f1.g2", "gateway": "edge-f1"}`),
		"gateways/EDGE/status":                                []byte(`{"online": true}`),
		"gateways/edge-f1/found":                              []byte(`[]`),
		"gateways/edge f1/found":                              []byte(`{}`),
		"registry/site":                                       []byte(`7`),
		"registry/places/nowhere":                             []byte(`{}`),
		"registry/places/sp_f1.g0":                            []byte(`{"device": "sp_f1.g1", "gateway": "edge-f1"}`),
		"registry/places/sp_f1.g1":                            []byte(`{"device": "sp_f1.g1", "gateway": "Edge"}`),
		"registry/gateways/edge-f1":                           []byte(`{"gateway": "edge-f2"}`),
		"registry/gateways/../x":                              []byte(`{}`),
	} {
		st := newStage(t)
		if got := st.hear(topic, payload, false); len(got) > 0 {
			t.Errorf("%.40s makes samples: %+v", topic, got)
		}
		if got := st.s.Malformed(); got != 1 {
			t.Errorf("%.40s: %d messages counted, want 1", topic, got)
		}
		want(t, st.beat("edge-f1", nil), "plug.reached", "sp_f1.g0", new(1.0))
	}
	st := newStage(t)
	for _, topic := range []string{"", "/", "gateways/x", "gateways/edge-f1/config", "registry/tokens/x", "alerts/x/y", "gateways//status/"} {
		st.hear(topic, []byte("junk"), false)
	}
	if got := st.s.Malformed(); got != 0 {
		t.Errorf("%d messages of others are counted as malformed", got)
	}
}

func TestClockOfTheCloudGoesBack(t *testing.T) {
	st := newStage(t)
	st.beat("edge-f1", nil)
	st.pass(15)
	st.now -= 60 * minute
	want(t, st.pass(10), "gateway.online", "edge-f1", new(1.0))
	samples := st.pass(20)
	want(t, samples, "gateway.online", "edge-f1", new(0.0))
	want(t, samples, "gateway.online", "edge-f2", new(0.0))
	if !st.s.House().Whole() {
		t.Error("the house counts as unheard until the clock is where it was")
	}
}
