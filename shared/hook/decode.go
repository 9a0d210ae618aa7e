package hook

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook/scan"
	"github.com/wattline/wattline/shared/senml"
)

// Bounds, in bytes, of what names readings. Their times are those that the storing
// hook takes.
const (
	maxMeasurement = 255
	maxTopic       = 1024
)

// ErrMalformed is the class of errors about messages that are no readings.
var ErrMalformed = errors.New("malformed readings")

// Reading is one decoded record.
type Reading struct {
	Device      device.ID
	Measurement string // the last part of the record's name, such as power
	Unit        string // as SenML names it; "" for none
	Time        device.Micros
	Kind        senml.Kind
	Value       float64 // of a Number; 1 or 0 of a Bool
	Text        string  // of Text and Data
}

// Delivery is what one message brought.
type Delivery struct {
	Topic  string
	Source string // who published: a gateway or any other agent
	// Database and ID are of data only.
	Database, ID string
	// State tells the newest reading of a device, state/<gateway>/<device id>,
	// from data. Cleared is the device whose state was taken back.
	State   bool
	Cleared device.ID
	// Retained tells what the broker had kept from what was published now.
	Retained bool
	Readings []Reading

	answer string // where a receipt may go
}

// Decode reads a message of data/<source>/<hook>/... or state/<gateway>/<device
// id>. An error wraps [ErrMalformed] and means that nothing of the message counts.
// Who reads many messages holds a [Decoder].
func Decode(m bus.Message, now time.Time) (Delivery, error) {
	d := Delivery{Topic: m.Topic, Retained: m.Retained}
	if len(m.Topic) > maxTopic {
		return d, fmt.Errorf("%w: topic of %d bytes", ErrMalformed, len(m.Topic))
	}
	var err error
	if d.State = strings.HasPrefix(m.Topic, "state/"); d.State {
		err = d.readState(m)
	} else {
		err = d.readData(m)
	}
	if err == nil {
		latest := device.MicrosOf(now) + scan.Ahead
		for _, r := range d.Readings {
			if r.Time < scan.Earliest || r.Time > latest {
				err = fmt.Errorf("%v/%s: time %v is not between 2000-01-01 and an hour from now", r.Device, r.Measurement, r.Time.Time())
				break
			}
		}
	}
	if err != nil {
		d.Readings = nil
		return d, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return d, nil
}

func (d *Delivery) readState(m bus.Message) error {
	gateway, name, _ := strings.Cut(m.Topic[len("state/"):], "/")
	id, err := device.Parse(name)
	if err != nil {
		return err
	}
	d.Source = gateway
	if len(m.Payload) == 0 {
		d.Cleared = id
		return nil
	}
	text, err := bus.Inflate(m.Payload)
	if err != nil {
		return err
	}
	if err := d.readPack(text); err != nil {
		return err
	}
	for _, r := range d.Readings {
		if r.Device != id {
			return fmt.Errorf("it is about %v", r.Device)
		}
	}
	return nil
}

func (d *Delivery) readData(m bus.Message) error {
	topic, err := bus.ParseData(m.Topic)
	if err != nil {
		return err
	}
	d.Source, d.Database = topic.Source, topic.Database
	e, err := bus.Decode(m.Payload)
	d.ID = e.ID
	if MayAnswer(e.ResponseTopic, d.Source) {
		d.answer = e.ResponseTopic
	}
	if err != nil {
		return err
	}
	if len(e.Data) == 0 {
		return errors.New("the envelope has no data")
	}
	return d.readPack(e.Data)
}

// readPack takes the records; one with a sum alone is no reading.
func (d *Delivery) readPack(text []byte) error {
	records, err := senml.Decode(text, bus.MaxRecords)
	if err != nil {
		return err
	}
	d.Readings = make([]Reading, 0, len(records))
	for i, r := range records {
		if r.Kind == senml.None {
			continue
		}
		id, measurement, err := SplitName(r.Name)
		if err == nil && !r.Absolute {
			err = fmt.Errorf("%q has no absolute time", r.Name)
		}
		if err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
		d.Readings = append(d.Readings, Reading{id, measurement, r.Unit, r.Time, r.Kind, r.Value, r.Text})
	}
	return nil
}

// SplitName gives device and measurement of <device id>/<measurement>, the full
// name of a record. An id without device type is a smart plug's, as IoToad's
// clients wrote it.
func SplitName(name string) (id device.ID, measurement string, err error) {
	cut := strings.LastIndexByte(name, '/')
	if cut < 0 || cut == len(name)-1 {
		return device.ID{}, "", fmt.Errorf("name %.120q is not <device id>/<measurement>", name)
	}
	text := name[:cut]
	if !strings.Contains(text, "_") {
		text = "sp_" + text
	}
	if n := len(name) - cut - 1; n > maxMeasurement {
		return device.ID{}, "", fmt.Errorf("name %.120q: measurement of %d bytes, at most %d fit", name, n, maxMeasurement)
	}
	id, err = device.Parse(text)
	return id, name[cut+1:], err
}
