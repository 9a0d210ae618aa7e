package engine

import (
	"errors"
	"fmt"
	"slices"

	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// ErrNotFiring means that no alert of that id fires (any more).
var ErrNotFiring = errors.New("no such alert fires")

// Maintenance is a time in which people work on something: alerts of it are kept
// and shown, but notify nobody.
type Maintenance struct {
	ID     string        `json:"id"`
	Select rule.Select   `json:"select,omitzero"` // empty: everything
	From   device.Micros `json:"from"`
	To     device.Micros `json:"to"`
	Who    string        `json:"who"`
	Reason string        `json:"reason"`
}

// Maintain takes the maintenance windows, in place of those before. They count
// for what is raised from now on.
func (e *Engine) Maintain(windows []Maintenance) { e.mute = slices.Clone(windows) }

// maintained is the window that hushes a new alert; nil without one. What fires
// at its end notifies then.
func (e *Engine) maintained(i *instance, a *contract.Alert) *contract.Hushed {
	w := where{gateway: a.Gateway, floor: a.Floor}
	for _, m := range e.mute {
		if e.now >= m.From && e.now < m.To && fits(&m.Select, i.subject, &w) {
			return &contract.Hushed{Who: m.Who, Reason: "maintenance: " + m.Reason, At: m.From, Until: m.To}
		}
	}
	return nil
}

// Hush acknowledges an alert (until 0), or lets it sleep until a time.
func (e *Engine) Hush(id string, h contract.Hushed, now device.Micros) (Change, error) {
	e.advance(now)
	if h.Until != 0 && h.Until <= e.now {
		return Change{}, fmt.Errorf("%s: sleep until a time that is over", id)
	}
	i := e.byID(id)
	if i == nil {
		return Change{}, fmt.Errorf("%s: %w", id, ErrNotFiring)
	}
	i.alert.Hushed, i.alert.State = &h, contract.Firing
	if h.Until == 0 {
		i.alert.State = contract.Acknowledged
	}
	return e.updated(i), nil
}

// Wake takes an acknowledgement or a snooze away.
func (e *Engine) Wake(id string, now device.Micros) (Change, error) {
	e.advance(now)
	i := e.byID(id)
	if i == nil {
		return Change{}, fmt.Errorf("%s: %w", id, ErrNotFiring)
	}
	i.alert.Hushed, i.alert.State, i.reminded = nil, contract.Firing, e.now
	return e.updated(i), nil
}

// TakeBack undoes Hush and Wake that could not be written: alerts that still fire
// are hushed as they were when [Engine.Alert] gave before.
func (e *Engine) TakeBack(before []contract.Alert) {
	for _, a := range before {
		if i := e.byID(a.ID); i != nil {
			i.alert.Hushed, i.alert.State = a.Hushed, a.State
		}
	}
}

func (e *Engine) updated(i *instance) Change {
	e.out = e.out[:0]
	e.tell(Updated, i)
	return e.out[0]
}
