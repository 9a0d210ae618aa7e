package outbox

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
)

// encode gives the payload of a batch: the envelope, compressed once and for
// ever unless the site has old hooks that read plain JSON only.
func (o *Outbox) encode(id contract.BatchID, head contract.BatchHead, readings []device.Reading) ([]byte, error) {
	records := make([]senml.Record, 0, 5*len(readings))
	for _, r := range readings {
		records = AppendRecords(records, r)
	}
	pack, err := senml.Append(nil, records)
	if err != nil {
		return nil, fmt.Errorf("encode batch %v: %w", id, err)
	}
	payload, err := bus.Envelope{ID: id.String(), ResponseTopic: bus.ReceiptsTopic(o.options.Gateway), Batch: &head, Data: pack}.Encode()
	if err != nil || o.options.Compression == NoCompression {
		return payload, err
	}
	return bus.Compress(payload), nil
}

// AppendRecords appends the SenML records of a reading: one per field that it
// has, one per suspect field, one per note.
func AppendRecords(records []senml.Record, r device.Reading) []senml.Record {
	prefix := r.Device.String() + "/"
	number := func(name, unit string, v float64) {
		records = append(records, senml.Record{Name: prefix + name, Unit: unit, Time: r.Time, Absolute: true, Kind: senml.Number, Value: v})
	}
	if r.Power != nil {
		number(device.Power, "W", float64(*r.Power))
	}
	if r.Voltage != nil {
		number(device.Voltage, "V", float64(*r.Voltage))
	}
	if r.Current != nil {
		number(device.Current, "A", float64(*r.Current))
	}
	if r.Energy != nil {
		number(device.Energy, "Wh", float64(*r.Energy))
	}
	if r.On != nil {
		v := 0.0
		if *r.On {
			v = 1
		}
		number(device.Status, "/", v)
	}
	text := func(name, s string) {
		records = append(records, senml.Record{Name: prefix + name, Time: r.Time, Absolute: true, Kind: senml.Text, Text: s})
	}
	// One record for all suspects: a point's identity is measurement, tags and
	// time, and two of one name would overwrite each other.
	if len(r.Suspects) > 0 {
		if list, err := json.Marshal(r.Suspects); err == nil { // two strings each: never fails
			text(device.SuspectField, string(list))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Notes)) {
		text(name, r.Notes[name])
	}
	return records
}

// What a batch holds at most, uncompressed: receivers take twice the bytes and
// ten times the records.
const (
	batchBytes   = 2 << 20
	batchRecords = 10_000
)

// sizeOf is an upper bound of what a reading takes in a batch.
func sizeOf(r device.Reading) (bytes, records int) {
	const (
		record  = 256 // a name, a unit, a time and a number
		escaped = 7   // bytes that JSON in JSON makes of one at most
	)
	records = 6 + len(r.Notes)
	bytes = records * record
	for _, s := range r.Suspects {
		bytes += escaped * (len(s.Field) + len(s.Raw))
	}
	for name, text := range r.Notes {
		bytes += escaped * (len(name) + len(text))
	}
	return bytes, records
}

// split cuts readings into what fits into one batch each. One that is larger by
// this measure stands alone; Accept has seen to it that it fits.
func split(readings []device.Reading) (parts [][]device.Reading) {
	from, bytes, records := 0, 0, 0
	for i, r := range readings {
		b, n := sizeOf(r)
		if i > from && (i-from == batchReadings || bytes+b > batchBytes || records+n > batchRecords) {
			parts = append(parts, readings[from:i])
			from, bytes, records = i, 0, 0
		}
		bytes, records = bytes+b, records+n
	}
	if from < len(readings) {
		parts = append(parts, readings[from:])
	}
	return parts
}

// headOf reads what a payload says of its batch.
func headOf(payload []byte) (contract.BatchHead, error) {
	e, err := bus.Decode(payload)
	if err != nil {
		return contract.BatchHead{}, err
	}
	if e.Batch == nil {
		return contract.BatchHead{}, fmt.Errorf("batch %s says nothing of itself", e.ID)
	}
	return *e.Batch, nil
}

// headFor describes readings, which must not be none.
func headFor(previous *contract.BatchID, readings []device.Reading) contract.BatchHead {
	head := contract.BatchHead{Previous: previous, Readings: len(readings), From: readings[0].Time, To: readings[0].Time}
	for _, r := range readings {
		head.From, head.To = min(head.From, r.Time), max(head.To, r.Time)
	}
	return head
}
