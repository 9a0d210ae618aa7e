package interop_test

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/wattline/wattline/shared/bus"
)

// insult is a message that nobody should send, and what must come of it.
type insult struct {
	topic   string // "" is data/rude/influx_data/sp
	payload string // RESPOND stands for the topic to answer on
	moves   string // the counter that tells of it
	says    string // in the answer; "" is no answer
}

const (
	malformed   = "wattline_influx_data_malformed_total"
	quarantined = "wattline_influx_data_quarantined_total"
)

// good is a record that nothing is wrong with, for messages that have another
// that is.
const good = `{"n":"sp_g60/power","u":"W","t":1593599018,"v":1}`

// pack is an envelope around records, with an id and a response topic.
func pack(records string) string {
	return `{"id":"rude","response_topic":"RESPOND","data":[` + records + `]}`
}

func named(name string) string {
	return pack(`{"n":"` + name + `","u":"W","t":1593599018,"v":1}`)
}

func timed(t string) string {
	return pack(`{"n":"sp_g60/power","u":"W","t":` + t + `,"v":1}`)
}

func valued(v string) string {
	return pack(`{"n":"sp_g60/power","u":"W","t":1593599018,` + v + `}`)
}

func zstdOf(text []byte) string {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err) // the options are right
	}
	defer w.Close()
	return string(w.EncodeAll(text, nil))
}

func gzipOf(text []byte, times int) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	for range times {
		_, _ = w.Write(text) // into memory
	}
	_ = w.Close()
	return b.String()
}

func insults() map[string]insult {
	spaces := bytes.Repeat([]byte(" "), 1<<20)
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	return map[string]insult{
		"no JSON":                           {payload: "hello", moves: malformed},
		"nothing":                           {payload: "", moves: malformed},
		"a bare array":                      {payload: "[" + good + "]", moves: malformed},
		"a number":                          {payload: "1", moves: malformed},
		"cut off":                           {payload: `{"id":"rude","response_topic":"RESPOND","data":[{"n":"sp_g60/po`, moves: malformed},
		"wrong UTF-8 for JSON":              {payload: "\xff\xfe{\x00}\x00", moves: malformed},
		"wrong UTF-8 in a name":             {payload: named("sp_g60/po\xffwer"), moves: quarantined, says: `"quarantined"`},
		"a NaN that is no JSON":             {payload: valued(`"v":NaN`), moves: malformed},
		"deeply nested":                     {payload: `{"data":` + nested(500_000) + `}`, moves: malformed},
		"deeply nested inside a record":     {payload: pack(`{"n":"sp_g60/power","t":1593599018,"v":1,"x":` + nested(5_000) + `}`), moves: quarantined, says: `"quarantined"`},
		"a bomb of zstd":                    {payload: zstdOf(bytes.Repeat(spaces, 48)), moves: malformed},
		"a bomb of gzip":                    {payload: gzipOf(spaces, 48), moves: malformed},
		"zstd cut off":                      {payload: zstdOf([]byte(pack(good)))[:20], moves: malformed},
		"garbage that begins as zstd":       {payload: "\x28\xb5\x2f\xfd" + strings.Repeat("\xff", 1000), moves: malformed},
		"garbage that begins as gzip":       {payload: "\x1f\x8b\x08" + strings.Repeat("\xff", 1000), moves: malformed},
		"a type of its own for data":        {payload: `{"id":"rude","response_topic":"RESPOND","data":"x"}`, moves: quarantined, says: `"quarantined"`},
		"no data":                           {payload: `{"id":"rude","response_topic":"RESPOND"}`, moves: quarantined, says: `"quarantined"`},
		"an envelope of wrong types":        {payload: `{"id":"rude","response_topic":"RESPOND","batch":7,"data":[]}`, moves: malformed, says: `"error"`},
		"records that are no objects":       {payload: pack(`1,"a",null`), moves: quarantined, says: `"quarantined"`},
		"no name":                           {payload: pack(`{"t":1593599018,"v":1}`), moves: quarantined, says: `"quarantined"`},
		"an id that does not parse":         {payload: named("sp_g01/power"), moves: quarantined, says: `"quarantined"`},
		"no measurement":                    {payload: named("sp_g60/"), moves: quarantined, says: `"quarantined"`},
		"line protocol in a name":           {payload: named(`sp_g60/x value=1 1\npower,id=evil value=666 1`), moves: quarantined, says: `"quarantined"`},
		"line protocol in an id":            {payload: named(`sp_g60,id=evil value=1/power`), moves: quarantined, says: `"quarantined"`},
		"line protocol in a unit":           {payload: pack(`{"n":"sp_g60/power","u":"W value=1\npower,id=evil value=1","t":1593599018,"v":1}`), moves: quarantined, says: `"quarantined"`},
		"a long name":                       {payload: named("sp_g60/" + strings.Repeat("x", 70_000)), moves: quarantined, says: `"quarantined"`},
		"a long unit":                       {payload: pack(`{"n":"sp_g60/power","u":"` + strings.Repeat("W", 70_000) + `","t":1593599018,"v":1}`), moves: quarantined, says: `"quarantined"`},
		"a long text":                       {payload: valued(`"vs":"` + strings.Repeat("x", 100_000) + `"`), moves: quarantined, says: `"quarantined"`},
		"a value that is infinite":          {payload: valued(`"v":1e999`), moves: quarantined, says: `"quarantined"`},
		"a value that is the text NaN":      {payload: valued(`"v":"NaN"`), moves: quarantined, says: `"quarantined"`},
		"a sum that is infinite":            {payload: pack(`{"bn":"sp_g60/power","bt":1593599018,"bv":1.7e308,"v":1.7e308}`), moves: quarantined, says: `"quarantined"`},
		"no value":                          {payload: pack(`{"n":"sp_g60/power","t":1593599018}`), moves: quarantined, says: `"quarantined"`},
		"two values":                        {payload: valued(`"v":1,"vs":"x"`), moves: quarantined, says: `"quarantined"`},
		"a time in 1970":                    {payload: timed("500000000"), moves: quarantined, says: `"quarantined"`},
		"a time before 1970":                {payload: timed("-5000000000"), moves: quarantined, says: `"quarantined"`},
		"a time in two hours":               {payload: timed(fmt.Sprint(time.Now().Add(2 * time.Hour).Unix())), moves: quarantined, says: `"quarantined"`},
		"a time in a thousand years":        {payload: timed("35000000000"), moves: quarantined, says: `"quarantined"`},
		"a time out of all bounds":          {payload: timed("1e300"), moves: quarantined, says: `"quarantined"`},
		"a time in nanoseconds":             {payload: timed("1593599018000000000"), moves: quarantined, says: `"quarantined"`},
		"a time relative to now":            {payload: timed("-5"), moves: quarantined, says: `"quarantined"`},
		"no time":                           {payload: pack(`{"n":"sp_g60/power","v":1}`), moves: quarantined, says: `"quarantined"`},
		"one bad record among good ones":    {payload: pack(good + `,{"n":"sp_g60/power","t":1593599019}`), moves: quarantined, says: `"quarantined"`},
		"too many records":                  {payload: pack(strings.Repeat("{},", 100_000) + good), moves: quarantined, says: `"quarantined"`},
		"a version of SenML yet to come":    {payload: pack(`{"bver":99,"n":"sp_g60/power","t":1593599018,"v":1}`), moves: quarantined, says: `"quarantined"`},
		"the system's own database":         {topic: "data/rude/influx_data/wattline", payload: pack(good), moves: quarantined, says: `"quarantined"`},
		"a database that is a statement":    {topic: `data/rude/influx_data/sp"; DROP DATABASE "sp`, payload: pack(good), moves: quarantined, says: `"quarantined"`},
		"a topic with too many levels":      {topic: "data/rude/influx_data/sp/x/y/z", payload: pack(good), moves: malformed},
		"a topic of another batch":          {topic: "data/rude/influx_data/sp/other", payload: pack(good), moves: malformed, says: `"error"`},
		"a topic with control characters":   {topic: "data/ru\x07de/influx_data/sp", payload: pack(good), moves: malformed},
		"a topic without a source":          {topic: "data//influx_data/sp", payload: pack(good), moves: malformed},
		"an id too long":                    {payload: `{"id":"` + strings.Repeat("x", 10_000) + `","response_topic":"RESPOND","data":[` + good + `]}`, moves: malformed, says: `"error"`},
		"an answer to somebody else":        {payload: `{"id":"rude","response_topic":"responses/edge-f1/receipts","data":[` + good + `]}`, moves: "wattline_influx_data_misdirected_total"},
		"an answer to a wildcard":           {payload: `{"id":"rude","response_topic":"responses/#","data":[` + good + `]}`, moves: "wattline_influx_data_misdirected_total"},
		"a batch claiming nonsense":         {payload: `{"id":"rude","response_topic":"RESPOND","batch":{"previous":"x","readings":-1,"from":9e99,"to":-1},"data":[` + good + `]}`, moves: malformed, says: `"error"`},
		"a query that is no JSON":           {topic: "query/influx_query/sp/power", payload: "\xff\xff", moves: "wattline_query_malformed_total"},
		"a query that is a bomb":            {topic: "query/influx_query/sp/power", payload: gzipOf(spaces, 24), moves: "wattline_query_malformed_total"},
		"a query of wrong types":            {topic: "query/influx_query/sp/power", payload: `{"response_topic":"RESPOND","data":{"id":["x"],"from":{}}}`, moves: "wattline_query_mistaken_total", says: `"error"`},
		"a query nested deeply":             {topic: "query/influx_query/sp/power", payload: `{"response_topic":"RESPOND","data":{"id":` + nested(5_000) + `}}`, moves: "wattline_query_mistaken_total", says: `"error"`},
		"a query with the topic as a path":  {topic: "query/influx_query/sp/../../power", payload: `{"response_topic":"RESPOND","data":{}}`, moves: "wattline_query_mistaken_total", says: `"error"`},
		"a query of the ledger, no JSON":    {topic: "query/ledger_query", payload: "{", moves: "wattline_ledger_query_malformed_total"},
		"a command that is no JSON":         {topic: "command/sp_command/sp_g1", payload: "on!", moves: "wattline_sp_command_malformed_total"},
		"a command of wrong types":          {topic: "command/sp_command/sp_g1", payload: `{"response_topic":"RESPOND","data":[1]}`, moves: "wattline_sp_command_malformed_total", says: `"error"`},
		"a command that says two things":    {topic: "command/sp_command/sp_g1", payload: `{"response_topic":"RESPOND","data":{"status":1,"status":0}}`, moves: "wattline_sp_command_malformed_total", says: `"error"`},
		"a command for an infinite time":    {topic: "command/sp_command/sp_g1", payload: `{"response_topic":"RESPOND","data":{"on":true,"deadline_s":1e308}}`, moves: "wattline_sp_command_malformed_total", says: `"error"`},
		"a command with a million targets":  {topic: "command/sp_command", payload: `{"response_topic":"RESPOND","data":{"status":1},"subtopics":[` + strings.Repeat(`"x",`, 1_000_000) + `"x"]}`, moves: "wattline_sp_command_malformed_total", says: `"error"`},
		"a command with a target too deep":  {topic: "command/sp_command" + strings.Repeat("/x", 20), payload: `{"response_topic":"RESPOND","data":{"status":1}}`, moves: "wattline_sp_command_malformed_total", says: `"error"`},
		"a replay of what is not there":     {topic: "command/ledger_query/replay", payload: `{"response_topic":"RESPOND","data":{"id":"' OR 1=1"}}`, moves: "wattline_ledger_query_mistaken_total", says: `"error"`},
		"a topic that the broker denies":    {topic: "responses/edge-f1/receipts", payload: `{"data":{"stored":[]}}`, moves: "wattline_broker_denied_total"},
		"a topic of more levels than a few": {topic: "data/rude/influx_data/sp" + strings.Repeat("/x", 80), payload: pack(good), moves: "wattline_broker_denied_total"},
	}
}

// testMessages sends each insult and waits for its counter and its answer.
func testMessages(t *testing.T, b *besieged) {
	answers := make(chan bus.Message, 100)
	link := b.client("rude", func(ctx context.Context, session *bus.Session) error {
		return session.Subscribe(ctx, "responses/rude/#", func(m bus.Message) { answers <- m })
	})
	before := b.shape(t)
	rows := 0
	for name, i := range insults() {
		t.Run(name, func(t *testing.T) {
			rows++
			respond := fmt.Sprintf("responses/rude/%d", rows)
			topic := cmp.Or(i.topic, "data/rude/influx_data/sp")
			b.insult(t, link, bus.Message{Topic: topic, Payload: []byte(strings.ReplaceAll(i.payload, "RESPOND", respond))}, i.moves, b.metric(i.moves))
			timeout := time.After(10 * time.Second)
			for answered := i.says == ""; !answered; {
				select {
				case m := <-answers:
					answered = m.Topic == respond // not to what was sent twice before
					if answered && !strings.Contains(string(m.Payload), i.says) {
						t.Errorf("%s is not in the answer %.500s", i.says, m.Payload)
					}
				case <-timeout:
					t.Fatalf("no answer, want %s", i.says)
				}
			}
		})
	}
	if after := b.shape(t); strings.Contains(after, "evil") || strings.Count(after, "name") != strings.Count(before, "name") {
		t.Errorf("InfluxDB has changed:\n%s\nbefore:\n%s", after, before)
	}
	if a := b.rest("/api/v1/quarantine?limit=1000"); strings.Count(a.body, `"rude"`) < 20 {
		t.Errorf("the quarantine does not list what is in it: %.1000v", a)
	}
}

// insult sends a message until the counter has moved beyond count: the broker
// may have shown the sender the door for the message before.
func (b *besieged) insult(t *testing.T, link *bus.Link, m bus.Message, moves string, count float64) {
	t.Helper()
	tries := 0
	var sent time.Time
	eventually(t, 15*time.Second, moves+" moves", func() bool {
		if time.Since(sent) > time.Second && link.Send(m) == nil {
			sent = time.Now()
			tries++
		}
		return tries > 0 && b.metric(moves) > count
	})
}
