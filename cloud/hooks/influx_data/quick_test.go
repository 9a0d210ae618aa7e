package influxdata_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"

	influxdata "github.com/wattline/wattline/cloud/hooks/influx_data"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/device"
)

const late = device.Micros(1_800_000_000_000_000)

func both(t *testing.T, payload []byte) (quick bool) {
	t.Helper()
	quick, same, why := influxdata.Both(bus.Message{Payload: payload}, late)
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
		"a tail": `{"data":[]}x`, "cut off": `{"data":[{"n":"sp_g1/x"`, "an open batch": `{"batch":{"x":"}`, "nothing": ``, "not UTF-8": "{\"id\":\"\xff\",\"data\":[]}",
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

func TestManyNamesTakeBoundedMemory(t *testing.T) {
	h := influxdata.New(influxdata.Options{Store: discard{}, Ledger: discard{}}, quiet)
	var payload []byte
	for i := range 40_000 {
		payload = fmt.Appendf(payload[:0], `{"data":[{"n":"sp_g%d/x%d","t":1593599018,"v":1},{"n":"sp_g1/power","t":1593599018,"v":1}]}`, i%999_999, i)
		h.Handle(t.Context(), []bus.Message{{Topic: "data/s/influx_data/sp", Payload: payload}}, discard{}.send)
	}
	if got, want := influxdata.Heads(h), 2*16_384+1; got > want {
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
