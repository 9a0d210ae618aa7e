package influxdata_test

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	influxdata "github.com/wattline/wattline/cloud/hooks/influx_data"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook/scan"
)

var reader = influxdata.New(influxdata.Options{Now: func() device.Micros { return 1_800_000_000_000_000 }}, quiet)

func both(t *testing.T, payload []byte) (quick bool) {
	t.Helper()
	quick, same, why := influxdata.Both(reader, bus.Message{Payload: payload})
	if !same {
		t.Errorf("%s\n%s", payload, why)
	}
	return quick
}

func TestBatchesOfGatewaysAreReadTheShortWay(t *testing.T) {
	if !both(t, batchOf(t, 1, 1000, 1_700_000_000_000_000).Payload) {
		t.Error("a batch was read the long way")
	}
	for _, payload := range []string{
		`{"id":"00000000000000aa-2","response_topic":"responses/g/receipts","batch":{"previous":null,"replaces":["00000000000000aa-1..1"],"readings":5,"from":1,"to":2},"data":[]}`,
		`{"data":[{"bn":"sp_w.r0.c0/power","bu":"W","t":1593599018.039568,"v":0}]}`,
		` { "data" : [ { "bver" : 10 , "n" : "sp_g1/x" , "t" : 1593599018 , "vb" : true } , { } , { "bn" : "sp_g2/", "bt":1593599018 } , {"n":"y","vb":false}] } `,
		`{"batch":{"previous":"00000000000000aa-9","readings":1,"from":1,"to":2,"x":{"y":["}"]}},"data":[{"n":"sp_g1/x","t":1593599018,"v":1e2}]}`,
	} {
		if !both(t, []byte(payload)) {
			t.Errorf("%s was read the long way", payload)
		}
	}
}

func TestTheShortWayGivesUpOnTheUnusual(t *testing.T) {
	record := func(members string) string { return `{"data":[{"n":"sp_g1/x","t":1593599018,` + members + `}]}` }
	for name, payload := range map[string]string{
		"a text": record(`"vs":"x"`), "two values": record(`"v":1,"vb":true`), "a key twice": record(`"v":1,"v":2`), "a sum": record(`"v":1,"s":2`),
		"an unknown key": record(`"v":1,"x":2`), "a number with a leading zero": record(`"v":01`), "no digits": record(`"v":-`), "NaN": record(`"v":NaN`),
		"too large": record(`"v":1e999`), "no value": record(`"u":"W"`), "two versions": record(`"bver":10,"v":1},{"bver":26`), "version 11": record(`"bver":11,"v":1`),
		"a comma too many": record(`"v":1,`), "an escape": `{"data":[{"n":"sp_g1\/x","t":1593599018,"v":1}]}`, "no time": `{"data":[{"n":"sp_g1/x","v":1}]}`,
		"negative time": `{"data":[{"n":"sp_g1/x","bt":1593599018,"t":-1,"v":1}]}`, "seven decimals": `{"data":[{"n":"sp_g1/x","t":1593599018.1234567,"v":1}]}`,
		"the future": `{"data":[{"n":"sp_g1/x","t":1993599018,"v":1}]}`, "no such id": `{"data":[{"n":"sp_g01/x","t":1593599018,"v":1}]}`, "no data": `{"id":"x"}`,
		"data twice": `{"data":[],"data":[]}`, "another key": `{"data":[],"Data":[]}`, "id null": `{"id":null,"data":[]}`, "a batch that is none": `{"batch":{"previous":1},"data":[]}`,
		"a tail": `{"data":[]}x`, "cut off": `{"data":[{"n":"sp_g1/x"`, "an open batch": `{"batch":{"x":"}`, "nothing": ``,
		"names much longer than the pack": `{"data":[{"bn":"sp_g1/` + strings.Repeat("x", 200) + `","bt":1593599018,"v":1}` + strings.Repeat(`,{"v":1}`, 300) + `]}`, "not UTF-8": "{\"id\":\"\xff\",\"data\":[]}",
	} {
		if both(t, []byte(payload)) {
			t.Errorf("%s: read the short way", name)
		}
	}
}

func TestNumbersAreWrittenTheSameBothWays(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	texts := []string{"0", "-0", "0.0", "-0.0", "1", "-1", "10", "1.50", "0.000001", "0.0000009", "0.0000010", "123456789012345", "1234567890123456", "9007199254740993", "0.1234567890123456", "12345678.9012345", "1e21", "1e-7", "5e-324", "100000000000000000000000"}
	for range 2000 {
		v := random.NormFloat64() * math.Pow(10, float64(random.IntN(30)-15))
		texts = append(texts, strconv.FormatFloat(v, 'f', random.IntN(12), 64), strconv.FormatFloat(v, 'g', -1, 64), strconv.FormatFloat(v, 'f', -1, 64))
	}
	for _, text := range texts {
		if !both(t, fmt.Appendf(nil, `{"data":[{"n":"sp_g1/x","t":1593599018,"v":%s}]}`, text)) {
			t.Errorf("%s was read the long way", text)
		}
	}
}

// Packs put together at random from what is usual, odd and wrong.
func TestRandomPacksAreReadTheSameBothWays(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	members := map[string][]string{
		`"n"`: {`"power"`, `"x"`, `"/x"`, `""`, `"sp_g1/x"`, `"a b"`, `"x:y.z"`, `1`}, `"bn"`: {`"sp_g1/"`, `"sp_f2.w.r1.c3/"`, `"sp_g1"`, `"sp_"`, `"g7/"`, `""`},
		`"u"`: {`"W"`, `""`, `"a,b"`, `"\u0041"`, `"°C"`}, `"bu"`: {`"V"`, `""`}, `"t"`: {`0`, `1593599018`, `1`, `0.5`, `-1`, `1e3`, `0.0000001`, `00`}, `"bt"`: {`1593599018`, `1593599018.5`, `1.5e9`, `9999999999`, `100`},
		`"v"`: {`1`, `0`, `-0`, `1.5`, `1e2`, `01`, `.5`, `5.`, `-`, `12345678901234567890`, `0.1000`}, `"vb"`: {`true`, `false`, `1`}, `"vs"`: {`"text"`, `"a\nb"`}, `"bver"`: {`10`, `26`, `11`, `10.0`},
		`"bv"`: {`0`, `1`}, `"s"`: {`1`}, `"x"`: {`{}`}, `"x_"`: {`1`},
	}
	common := []string{`"n"`, `"n"`, `"n"`, `"v"`, `"v"`, `"v"`, `"v"`, `"u"`, `"t"`, `"bn"`, `"bt"`, `"vb"`}
	rare := slices.Sorted(maps.Keys(members))
	short := 0
	for range 20_000 {
		pack := []byte(`{"data":[{"bn":"sp_g1/","bt":1593599018,"n":"y","v":1}`)
		for range random.IntN(4) {
			pack = append(pack, ",{"...)
			for i := range random.IntN(5) {
				if i > 0 {
					pack = append(pack, ',')
				}
				key := common[random.IntN(len(common))]
				if random.IntN(12) == 0 {
					key = rare[random.IntN(len(rare))]
				}
				pick := random.IntN(len(members[key]))
				if random.IntN(3) > 0 {
					pick = 0
				}
				pack = append(append(append(pack, key...), ':'), members[key][pick]...)
			}
			pack = append(pack, '}')
		}
		if both(t, append(pack, "]}"...)) {
			short++
		}
	}
	if short < 4_000 {
		t.Errorf("%d packs were read the short way: too few to mean anything", short)
	}
}

func TestManyNamesTakeBoundedMemory(t *testing.T) {
	h := influxdata.New(influxdata.Options{Store: discard{}, Ledger: discard{}}, quiet)
	var payload []byte
	const at = 64 // a message
	for i := 0; i < 3*scan.MaxHeads; i += at {
		payload = append(payload[:0], `{"data":[{"n":"sp_g1/power","t":1593599018,"v":1}`...)
		for name := range at {
			payload = fmt.Appendf(payload, `,{"n":"sp_g%d/x%d","t":1593599018,"v":1}`, i, name)
		}
		payload = append(payload, "]}"...)
		h.Handle(t.Context(), []bus.Message{{Topic: "data/s/influx_data/sp", Payload: payload}}, discard{}.send)
	}
	if got, want := influxdata.Heads(h), 2*scan.MaxHeads+1; got > want {
		t.Errorf("%d names are remembered, at most %d should be", got, want)
	}
}

func FuzzBothWaysAgree(f *testing.F) {
	for _, seed := range []string{
		`{"id":"a","response_topic":"responses/g/receipts","batch":{"previous":null,"readings":1,"from":1,"to":2},"data":[{"bver":26,"bn":"sp_f2.w.r1.c3/","bt":1700000000.123456,"n":"power","u":"W","v":61.753},{"n":"energy","u":"Wh","v":16323}]}`,
		`{"data":[{"bn":"sp_w.r0.c0/power","bu":"W","t":1593599018.0395682,"v":0}]}`, `{"data":[{"n":"sp_g1/x","t":1593599018,"vb":true,"u":""}]}`,
		` {"data" : [ ] , "id":"x"}`, `{"data":[{"n":"sp_g1/x","t":1593599018,"v":-0.000}]}`, `{"data":[{"bn":"sp_g1/","bu":"W","bt":1593599018},{"n":"a","v":1E+2}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) { both(t, payload) })
}
