package hook_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/hook/scan"
	"github.com/wattline/wattline/shared/senml"
)

// batchOf is a batch as gateways send it: n readings of 100 workplaces, five
// records each.
func batchOf(tb testing.TB, n int) bus.Message {
	tb.Helper()
	var records []senml.Record
	for i := range n {
		plug := i % 100
		name := fmt.Sprintf("sp_f2.w.r%d.c%d/", plug/5, plug%5)
		at := 1_700_000_000_000_000 + device.Micros(i)*10_000
		for j, m := range []struct{ name, unit string }{{"power", "W"}, {"voltage", "V"}, {"current", "A"}, {"energy", "Wh"}, {"status", "/"}} {
			v := []float64{float64(i*7919%100_000) / 1000, 229 + float64(i*31%3000)/1000, float64(i%900) / 1000, float64(i) / 1000, 1}[j]
			records = append(records, senml.Record{Name: name + m.name, Unit: m.unit, Time: at, Absolute: true, Kind: senml.Number, Value: v})
		}
	}
	pack, err := senml.Append(nil, records)
	if err != nil {
		tb.Fatal(err)
	}
	id := contract.BatchID{Epoch: 0x9f3c, Sequence: 7}
	head := contract.BatchHead{Readings: n, From: records[0].Time, To: records[len(records)-1].Time}
	payload, err := bus.Envelope{ID: id.String(), ResponseTopic: bus.ReceiptsTopic("edge-f2"), Batch: &head, Data: pack}.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	return bus.Message{Topic: "data/edge-f2/influx_data/sp/" + id.String(), Payload: payload}
}

var now = time.Unix(1_800_000_000, 0)

// both decodes a message both ways; they must agree. The decoder has read others
// before.
func both(t *testing.T, d *hook.Decoder, m bus.Message) (short bool) {
	t.Helper()
	want, wrong := hook.Decode(m, now)
	got, err := d.Decode(m, now)
	switch {
	case (err == nil) != (wrong == nil) || err != nil && err.Error() != wrong.Error():
		t.Errorf("%s %s: %v, the long way says %v", m.Topic, m.Payload, err, wrong)
	case got.Topic != want.Topic || got.Source != want.Source || got.Database != want.Database || got.ID != want.ID ||
		got.State != want.State || got.Cleared != want.Cleared || got.Retained != want.Retained || got.Answer() != want.Answer():
		t.Errorf("%s %s: %+v, the long way says %+v", m.Topic, m.Payload, got, want)
	case len(got.Readings) != len(want.Readings):
		t.Errorf("%s %s: %d readings, the long way says %d", m.Topic, m.Payload, len(got.Readings), len(want.Readings))
	default:
		for i, r := range got.Readings {
			if w := want.Readings[i]; r != w || math.Signbit(r.Value) != math.Signbit(w.Value) {
				t.Errorf("%s %s: %+v, the long way says %+v", m.Topic, m.Payload, r, w)
			}
		}
	}
	return d.Shortly(m, now)
}

func data(payload string) bus.Message {
	return bus.Message{Topic: "data/edge-f2/influx_data/sp", Payload: []byte(payload)}
}

func TestWhatGatewaysSendIsReadTheShortWay(t *testing.T) {
	var d hook.Decoder
	batch := batchOf(t, 300)
	for name, m := range map[string]bus.Message{
		"a batch": batch, "a compressed one": {Topic: batch.Topic, Payload: bus.Compress(batch.Payload), Retained: true},
		"a state":          {Topic: "state/edge-f2/sp_f2.g3", Payload: []byte(`[{"bver":26,"bn":"sp_f2.g3/","bt":1700000000.5,"n":"power","u":"W","v":61.5},{"n":"energy","u":"Wh","v":1}]`), Retained: true},
		"a tombstone":      data(`{"id":"00000000000000aa-2","response_topic":"responses/edge-f2/receipts","batch":{"previous":null,"replaces":["00000000000000aa-1..1"],"readings":5,"from":1,"to":2},"data":[]}`),
		"an agent's":       data(` { "data" : [ { "bver" : 10 , "n" : "sp_g1/x" , "t" : 1593599018 , "vb" : true } , { } , { "bn" : "sp_g2/", "bt":1593599018 } , {"n":"y","vb":false}] } `),
		"IoToad's":         {Topic: "data/agent/influx_data", Payload: []byte(`{"id":"x","response_topic":"responses/other/x","data":[{"bn":"w.r0.c0/power","bu":"W","t":1593599018.039568,"v":-0.0}]}`)},
		"an id of its own": data(`{"id":"x","response_topic":"responses/edge-f2/x","data":[{"n":"sp_g1/x","t":1593599018,"v":1e2}]}`),
	} {
		if !both(t, &d, m) {
			t.Errorf("%s was read the long way", name)
		}
	}
}

func TestWhatIsUnusualIsReadTheLongWay(t *testing.T) {
	record := func(members string) bus.Message {
		return data(`{"data":[{"n":"sp_g1/x","t":1593599018,` + members + `}]}`)
	}
	state := func(topic, payload string) bus.Message { return bus.Message{Topic: topic, Payload: []byte(payload)} }
	long := strings.Repeat("x", 200)
	var d hook.Decoder
	for name, m := range map[string]bus.Message{
		"a text": record(`"vs":"x"`), "binary data": record(`"vd":"eA"`), "a sum": record(`"s":2`), "a key twice": record(`"v":1,"v":2`), "no value": record(`"u":"W"`),
		"too large": record(`"v":1e999`), "an escape": data(`{"data":[{"n":"sp_g1\/x","t":1593599018,"v":1}]}`), "no time": data(`{"data":[{"n":"sp_g1/x","v":1}]}`),
		"the future": data(`{"data":[{"n":"sp_g1/x","t":1993599018,"v":1}]}`), "no such id": data(`{"data":[{"n":"sp_g01/x","t":1593599018,"v":1}]}`),
		"no name": data(`{"data":[{"t":1593599018,"v":1}]}`), "no data": data(`{"id":"x"}`), "another key": data(`{"data":[],"response-id":"responses/edge-f2/x"}`),
		"a tail": data(`{"data":[]}x`), "cut off": data(`{"data":[{"n":"sp_g1/x"`), "nothing": data(``), "not UTF-8": data("{\"id\":\"\xff\",\"data\":[]}"),
		"a torn frame": data("\x28\xb5\x2f\xfd123"), "a long name": data(`{"data":[{"n":"sp_g1/` + long + long + `","t":1593599018,"v":1}]}`),
		"names much longer than the pack": data(`{"data":[{"bn":"sp_g1/` + long + `","bt":1593599018,"v":1}` + strings.Repeat(`,{"v":1}`, 300) + `]}`),
		"another topic":                   {Topic: "data/a/b/c/d/e", Payload: []byte(`{"data":[]}`)}, "a long topic": {Topic: "data/" + strings.Repeat(long, 6), Payload: []byte(`{"data":[]}`)},
		"a state of another": state("state/g/sp_f1.g0", `[{"n":"sp_f1.g1/power","t":1700000000,"v":1}]`), "of nothing": state("state/g/nonsense", `[]`),
		"taken back": state("state/g/sp_f1.g0", ``), "an envelope": state("state/g/sp_f1.g0", `{"data":[]}`), "two packs": state("state/g/sp_f1.g0", `[][]`),
	} {
		if both(t, &d, m) {
			t.Errorf("%s: read the short way", name)
		}
	}
}

// Packs put together at random from what is usual, odd and wrong.
func TestRandomMessagesAreReadTheSameBothWays(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	pick := func(of ...string) string {
		if random.IntN(3) > 0 {
			return of[0]
		}
		return of[random.IntN(len(of))]
	}
	members := []func() string{
		func() string { return `"n":` + pick(`"power"`, `"x"`, `"/x"`, `""`, `"sp_g1/x"`, `"a b"`, `1`) },
		func() string { return `"v":` + pick(`61.753`, `0`, `-0`, `1e2`, `01`, `.5`, `12345678901234567890`) },
		func() string { return `"bn":` + pick(`"sp_g1/"`, `"sp_f2.w.r1.c3/"`, `"g7/"`, `"sp_"`, `""`) },
		func() string { return `"bt":` + pick(`1593599018`, `1593599018.5`, `1.5e9`, `9999999999`, `100`) },
		func() string { return `"t":` + pick(`0`, `0.5`, `1593599018`, `-1`, `0.0000001`) },
		func() string { return `"u":` + pick(`"W"`, `""`, `"°C"`, `"\u0041"`) },
		func() string {
			return pick(`"vb":true`, `"vb":false`, `"vs":"x"`, `"bu":"V"`, `"bver":26`, `"bver":10`, `"x":1`, `"bv":1`)
		},
	}
	var d hook.Decoder
	short := 0
	for range 20_000 {
		pack := `[{"bn":"sp_g1/","bt":1593599018,"n":"y","v":1}`
		for range random.IntN(4) {
			var list []string
			for range random.IntN(4) {
				list = append(list, members[random.IntN(len(members))]())
			}
			if random.IntN(2) == 0 {
				list = []string{members[0](), members[1]()}
			}
			pack += ",{" + strings.Join(list, ",") + "}"
		}
		m := data(`{"id":"x","data":` + pack + `]}`)
		if random.IntN(3) == 0 {
			m = bus.Message{Topic: "state/edge-f2/sp_g1", Payload: []byte(pack + "]")}
		}
		if both(t, &d, m) {
			short++
		}
	}
	if short < 4_000 {
		t.Errorf("%d messages were read the short way: too few to mean anything", short)
	}
}

func TestADecoderTakesBoundedMemory(t *testing.T) {
	var d hook.Decoder
	const at = 64 // a message
	for i := 0; i < 3*scan.MaxHeads; i += at {
		text := `{"data":[{"n":"sp_g1/power","t":1593599018,"v":1}`
		for name := range at {
			text += fmt.Sprintf(`,{"n":"sp_g%d/x%d","t":1593599018,"v":1}`, i, name)
		}
		if got, err := d.Decode(data(text+"]}"), now); err != nil || len(got.Readings) != at+1 {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if got, want := d.Learned(), 2*scan.MaxHeads+1; got > want {
		t.Errorf("%d names are remembered, at most %d should be", got, want)
	}
}

func TestADecoderAllocatesNothingPerReading(t *testing.T) {
	var d hook.Decoder
	few, many := batchOf(t, 100), batchOf(t, 1000)
	allocs := func(m bus.Message) float64 {
		return testing.AllocsPerRun(10, func() {
			if _, err := d.Decode(m, now); err != nil {
				t.Fatal(err)
			}
		})
	}
	allocs(many)
	if a, b := allocs(few), allocs(many); a > 20 || b > a+5 {
		t.Errorf("%v allocations for 500 records, %v for 5,000", a, b)
	}
}

func FuzzBothWaysDecodeTheSame(f *testing.F) {
	f.Add("data/a/influx_data/sp", []byte(batch("1")))
	f.Add("data/edge-f2/influx_data/sp", batchOf(f, 2).Payload)
	f.Add("data/edge-f2/influx_data/sp/x", bus.Compress(batchOf(f, 2).Payload))
	f.Add("state/g/sp_f1.g0", []byte(`[{"n":"sp_f1.g0/power","t":1700000000,"v":1}]`))
	f.Add("data/a/influx_data", []byte(`{"data":[{"bn":"sp_w.r0.c0/power","bu":"W","t":1593599018.0395682,"v":0}]}`))
	f.Add("data/a/influx_data", []byte(` {"data" : [ {"bn":"sp_g1/","bu":"W","bt":1593599018},{"n":"a","v":1E+2} ] , "id":"x"}`))
	var d hook.Decoder
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		both(t, &d, bus.Message{Topic: topic, Payload: payload})
	})
}

// BenchmarkDecode compares both ways; a reading is five records.
func BenchmarkDecode(b *testing.B) {
	var decoder hook.Decoder
	for _, n := range []int{1, 100, 1000} {
		plain := batchOf(b, n)
		zstd := bus.Message{Topic: plain.Topic, Payload: bus.Compress(plain.Payload)}
		for _, form := range []struct {
			name string
			m    bus.Message
		}{{"plain", plain}, {"zstd", zstd}} {
			for _, way := range []struct {
				name   string
				decode func(bus.Message, time.Time) (hook.Delivery, error)
			}{{"long", hook.Decode}, {"short", decoder.Decode}} {
				b.Run(fmt.Sprintf("%d/%s/%s", n, form.name, way.name), func(b *testing.B) {
					b.ReportAllocs()
					used := cpu(b)
					for b.Loop() {
						if d, err := way.decode(form.m, now); err != nil || len(d.Readings) != 5*n {
							b.Fatal(err)
						}
					}
					b.ReportMetric(float64((cpu(b)-used).Nanoseconds())/float64(b.N)/float64(n), "cpu-ns/reading")
				})
			}
		}
	}
}

// cpu is what this process has computed for: unlike the clock it is the same on
// a busy machine.
func cpu(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
