package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// Subject is what a sample is about: a device, a gateway, or with neither the
// site.
type Subject struct {
	Device  device.ID
	Gateway string // of a gateway's own samples only
}

// Site is the subject of what is about no single device or gateway.
const Site = "site"

func (s Subject) String() string {
	switch {
	case !s.Device.IsZero():
		return s.Device.String()
	case s.Gateway != "":
		return s.Gateway
	default:
		return Site
	}
}

func (s Subject) kind() rule.Kind {
	switch {
	case !s.Device.IsZero():
		return rule.OfDevice
	case s.Gateway != "":
		return rule.OfGateway
	default:
		return rule.OfSite
	}
}

// House is what the engine must know of the building. It is asked from within the
// engine's methods.
type House interface {
	Site() contract.Site
	Place(id device.ID) (contract.Place, bool)
	Gateway(name string) (contract.GatewayInfo, bool)
	// Devices are those of a gateway, sorted; of all gateways for the empty name.
	Devices(gateway string) []device.ID
	// Whole reports whether all of it must have been heard; until then nothing is
	// gone that is not there.
	Whole() bool
}

// Sample is one value of a signal.
type Sample struct {
	Subject Subject
	Signal  string
	// Gateway is who sent it, where the house does not know the device.
	Gateway string
	At      device.Micros // when it was so
	Value   float64
	Text    string // of signals that are texts
	Unit    string // of measurements; facts have their own
}

// where is what the house says of a subject.
type where struct {
	gateway string
	floor   *int
	label   string
	place   contract.Place
	placed  bool // place is known
}

// spot is what rules depend on in a where.
type spot struct {
	gateway, owner string
	floor          int
	onFloor        bool
	placed         bool
	power          float64
}

func (w *where) spot() spot {
	s := spot{gateway: w.gateway, owner: w.place.Gateway, onFloor: w.floor != nil, placed: w.placed, power: float64(w.place.MaxPower)}
	if s.onFloor {
		s.floor = *w.floor
	}
	return s
}

func (e *Engine) where(s Subject, source string) where {
	switch s.kind() {
	case rule.OfSite:
		return where{label: e.house.Site().Name}
	case rule.OfGateway:
		info, ok := e.house.Gateway(s.Gateway)
		if !ok {
			return where{gateway: s.Gateway}
		}
		return where{gateway: s.Gateway, floor: &info.Floor, label: info.Label}
	case rule.OfDevice:
	}
	w := where{gateway: source}
	if place, ok := e.house.Place(s.Device); ok {
		w = where{gateway: place.Gateway, label: place.Label, place: place, placed: true}
	}
	floor, ok := s.Device.Floor()
	if !ok {
		floor = e.house.Site().DefaultFloor
	}
	w.floor = &floor
	return w
}

// fits reports whether a rule is about a subject.
func fits(sel *rule.Select, s Subject, w *where) bool {
	return in(sel.Gateways, w.gateway) &&
		(len(sel.Floors) == 0 || w.floor != nil && slices.Contains(sel.Floors, *w.floor)) &&
		in(sel.Types, s.Device.PlaceType()) && in(sel.Devices, s.Device) && !slices.Contains(sel.Except, s.Device)
}

func in[T comparable](list []T, v T) bool { return len(list) == 0 || slices.Contains(list, v) }

// summary fills in what the rule's sentence leaves open.
func summary(r *rule.Rule, a *contract.Alert, limit *float64, at device.Micros) string {
	label := a.Subject
	if a.Label != "" && a.Label != a.Subject {
		label = fmt.Sprintf("%s (%s)", a.Label, a.Subject)
	}
	floor := "?"
	if a.Floor != nil {
		floor = fmt.Sprint(*a.Floor)
	}
	return strings.NewReplacer("{label}", label, "{subject}", a.Subject, "{gateway}", a.Gateway, "{floor}", floor,
		"{value}", Amount(a.Value, a.Unit), "{limit}", Amount(limit, a.Unit), "{for}", Span(time.Duration(at-a.Since)*time.Microsecond)).Replace(r.Summary)
}

// Amount is a value with its unit, as people read it: three significant digits,
// times in words.
func Amount(v *float64, unit string) string {
	if v == nil {
		return "an unknown amount"
	}
	switch unit {
	case "s":
		return Span(time.Duration(*v * float64(time.Second)))
	case "h":
		return Span(time.Duration(*v * float64(time.Hour)))
	case "d":
		return Span(time.Duration(*v * float64(24*time.Hour)))
	case "", "/":
		return digits(*v)
	default:
		return digits(*v) + " " + unit
	}
}

func digits(v float64) string {
	if v >= 100 || v <= -100 || v == float64(int64(v)) {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// Span is a time in words, in the largest unit of which there are two.
func Span(d time.Duration) string {
	for _, u := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "days"}, {time.Hour, "hours"}, {time.Minute, "minutes"}} {
		if d >= 2*u.of {
			return fmt.Sprintf("%d %s", d/u.of, u.name)
		}
	}
	if d < 0 {
		return "no time"
	}
	return fmt.Sprintf("%.0f seconds", d.Seconds())
}
