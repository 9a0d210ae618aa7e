package webhook_test

import (
	"testing"

	"github.com/wattline/wattline/cloud/hooks/webhook"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/senml"
)

// Seen to fail without the loop that lets the oldest go.
func TestTheMemoryOfBatchesIsBounded(t *testing.T) {
	const most = 1 << 20
	messages := make([]bus.Message, 500)
	for i := range messages {
		messages[i] = bus.Message{Topic: "data/s/influx_data/sp", Payload: make([]byte, 10_000)}
	}
	if taken, last := webhook.HeardBytes(most, messages); taken > most || taken < most/2 || !last {
		t.Errorf("%d bytes of at most %d; the newest is there: %v", taken, most, last)
	}
	if taken, last := webhook.HeardBytes(most, []bus.Message{{Payload: make([]byte, 2*most)}}); taken != 0 || last {
		t.Errorf("one that does not fit takes %d bytes", taken)
	}
}

// Nothing that comes from the bus may end the hook, and what comes of it is SenML.
func FuzzHear(f *testing.F) {
	f.Add("data/a/influx_data/sp/00000000000000aa-1", []byte(`{"id":"00000000000000aa-1","response_topic":"responses/a/r","data":[{"bn":"sp_f1.g0/","bt":1767323045.5,"n":"power","u":"W","v":1},{"n":"energy","u":"Wh","v":2e30},{"n":"x","vs":"\u0000<"}]}`))
	f.Add("data/a/influx_data", []byte(`{"data":[{"n":"w.r1.c1/status","t":1767323045,"vb":true},{"n":"sp_g1/raw","t":1767323045,"vd":"AA"}]}`))
	f.Add("data//", []byte("\x28\xb5\x2f\xfd"))
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		body := webhook.Hear(bus.Message{Topic: topic, Payload: payload})
		if body == nil {
			return
		}
		records, err := senml.Decode(body, 1_000_000)
		if err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		for _, r := range records {
			if !r.Absolute {
				t.Errorf("%s has no absolute time", r.Name)
			}
		}
	})
}
