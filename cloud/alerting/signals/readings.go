package signals

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
)

const (
	maxSource = 128 // bytes of the name of who sends readings
	maxUnit   = 32
)

// hearData takes readings of any source. A batch that a gateway sends again,
// because nobody has answered it, is told once.
func (s *Signals) hearData(m bus.Message) error {
	d, err := s.decoder.Decode(m, s.now.Time())
	if err != nil {
		return err
	}
	if len(d.Source) > maxSource || bus.CheckTopic(d.Source) != nil {
		return fmt.Errorf("%w: source %.40q", errMalformed, d.Source)
	}
	if g := s.registered(d.Source); g != nil {
		if id, err := contract.ParseBatchID(d.ID); err == nil && g.batches.twice(id) {
			return nil
		}
		if len(d.Readings) > 0 && !d.Retained {
			g.data = s.now
		}
	}
	s.out = slices.Grow(s.out, len(d.Readings))
	var heard, spelled device.ID
	for i := range d.Readings {
		r := &d.Readings[i]
		if r.Kind != senml.Number && r.Kind != senml.Bool || isFact(r.Measurement) || s.watched != nil && !s.watched(r.Measurement) {
			continue
		}
		if i == 0 || r.Device != heard {
			heard, spelled = r.Device, s.house.spell(r.Device)
		}
		s.out = append(s.out, engine.Sample{
			Subject: engine.Subject{Device: spelled}, Signal: r.Measurement, Gateway: d.Source, At: r.Time, Value: r.Value, Unit: unitOf(r.Unit),
		})
	}
	return nil
}

// isFact keeps agents from telling what only the cloud may: a measurement may
// have any name.
func isFact(measurement string) bool {
	if !strings.Contains(measurement, ".") {
		return false
	}
	_, fact := rule.SignalOf(measurement)
	return fact
}

// unitOf is a unit that may be shown to people; others are left out.
func unitOf(unit string) string {
	if len(unit) > maxUnit || strings.ContainsFunc(unit, unicode.IsControl) {
		return ""
	}
	return unit
}
