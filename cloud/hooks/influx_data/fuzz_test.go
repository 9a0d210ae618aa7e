package influxdata_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

// Whatever comes, nothing panics, and what is receipted was written: the points
// of a stored batch, the bytes of a quarantined one, the entry of each.
func FuzzHandle(f *testing.F) {
	good := pack("a-1", reading("g1"))
	f.Add(good.Topic, good.Payload)
	f.Add(good.Topic, bus.Compress(good.Payload))
	f.Add("data/g/influx_data/wattline", good.Payload)
	f.Add("data/g/influx_data/sp", pack("a-1", reading("g01")).Payload)
	f.Add("data/g/influx_data", []byte(`{"id":"00000000000000aa-1","response_topic":"responses/g/x","batch":{"previous":null,"replaces":["00000000000000aa-2..5"],"readings":1,"from":1,"to":2},"data":[]}`))
	f.Add("data/g,h=\\ \"/influx_data/sp", []byte(`{"id":"\"\\\n","response-topic":"responses/g,h=\\ \"/x","data":[{"n":"sp_g1/x","u":"a\u0000","t":1705319000,"vs":"\\"}]}`))
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		s := newHook(t, nil)
		s.handle(bus.Message{Topic: topic, Payload: payload})
		receipts := s.receipts()
		n := len(receipts["stored"]) + len(receipts["quarantined"]) + len(receipts["expired"])
		if n > 1 || n != len(s.entries) {
			t.Fatalf("receipts %v, entries %v", receipts, s.entries)
		}
		digest := contract.DigestOf(payload).String()
		if len(receipts["quarantined"]) == 1 && !strings.Contains(s.lines["wattline"], `digest="`+digest+`"`) {
			t.Errorf("quarantined, and not kept: %v", s.lines)
		}
		if n == 0 {
			return
		}
		if got := s.sent[len(s.sent)-1]; !strings.Contains(got.payload, digest) || !strings.HasPrefix(got.topic, "responses/") {
			t.Errorf("sent %v", got)
		}
		if len(receipts["stored"]) == 1 {
			records, text := 0, bytes.TrimSpace(payload)
			for database, lines := range s.lines {
				if database == "wattline" {
					t.Errorf("data in the system's database: %s", lines)
				}
				records += strings.Count(lines, "\n")
			}
			if e, err := bus.Decode(text); err != nil || records == 0 && string(bytes.TrimSpace(e.Data)) != "[]" && !bytes.Contains(e.Data, []byte("{")) {
				t.Errorf("stored, and nothing was written: %v", err)
			}
		}
	})
}
