package hook

import (
	"strings"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook/scan"
	"github.com/wattline/wattline/shared/senml"
)

// Decoder reads messages as [Decode] does, several times as fast where they have
// the form that gateways send: it remembers names and units, in bounded memory.
// Who reads many messages holds one. The zero value is ready. Not safe for
// concurrent use.
type Decoder struct {
	reader   *scan.Reader[head]
	readings []Reading // of the message that is read
}

// head is what is the same in all readings of a name and a unit.
type head struct {
	device            device.ID
	measurement, unit string
}

// keepReadings bounds the room for readings that is kept from call to call.
const keepReadings = 20_000

// Decode is [Decode], but that the readings are good until the next call only.
func (d *Decoder) Decode(m bus.Message, now time.Time) (Delivery, error) {
	if got, ok := d.shortly(m, now); ok {
		return got, nil
	}
	return Decode(m, now)
}

// shortly reads a message of the usual form; false means that it has to be read
// the long way.
func (d *Decoder) shortly(m bus.Message, now time.Time) (got Delivery, ok bool) {
	if len(m.Topic) > maxTopic {
		return got, false
	}
	if d.reader == nil {
		d.reader = scan.New(learn)
	}
	if d.readings = d.readings[:0]; cap(d.readings) > keepReadings {
		d.readings = nil
	}
	got = Delivery{Topic: m.Topic, Retained: m.Retained}
	if got.State = strings.HasPrefix(m.Topic, "state/"); got.State {
		ok = d.readState(&got, m.Payload, device.MicrosOf(now))
	} else {
		ok = d.readData(&got, m.Payload, device.MicrosOf(now))
	}
	got.Readings = d.readings
	return got, ok
}

func (d *Decoder) readState(got *Delivery, payload []byte, now device.Micros) bool {
	gateway, name, _ := strings.Cut(got.Topic[len("state/"):], "/")
	id, err := device.Parse(name)
	got.Source = gateway
	return err == nil && d.reader.Pack(payload, now, func(h *head, v scan.Value) bool {
		return h.device == id && d.add(h, v)
	})
}

func (d *Decoder) readData(got *Delivery, payload []byte, now device.Micros) bool {
	topic, err := bus.ParseData(got.Topic)
	if err != nil {
		return false
	}
	got.Source, got.Database = topic.Source, topic.Database
	e, ok := d.reader.Message(payload, now, d.add)
	got.ID = e.ID
	if MayAnswer(e.ResponseTopic, got.Source) {
		got.answer = e.ResponseTopic
	}
	return ok
}

func (d *Decoder) add(h *head, v scan.Value) bool {
	value, ok := v.Float()
	d.readings = append(d.readings, Reading{Device: h.device, Measurement: h.measurement, Unit: h.unit, Time: v.Time, Kind: v.Kind, Value: value})
	return ok
}

func learn(r senml.Record) (head, bool) {
	id, measurement, err := SplitName(r.Name)
	return head{id, measurement, r.Unit}, err == nil
}
