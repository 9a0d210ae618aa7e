package alerting

import (
	"slices"

	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/shared/contract"
)

// written is what fires as far as the disk has it: nobody is told of anything else.
// What has begun since is left out, and what has ended since fires on. The caller
// holds the lock.
func (a *Alerting) written() []contract.Alert {
	all := a.engine.Firing()
	if len(a.unsaved) == 0 {
		return all
	}
	begun, over := make(map[string]bool), make(map[string]contract.Alert)
	for _, c := range a.unsaved {
		switch c.Kind {
		case engine.Raised, engine.Flapping:
			begun[c.Alert.ID] = true
		case engine.Ended:
			over[c.Alert.ID] = c.Alert
		case engine.Reminder, engine.Wakened, engine.Updated, engine.Late:
		}
	}
	all = slices.DeleteFunc(all, func(one contract.Alert) bool { return begun[one.ID] })
	for id, one := range over {
		if begun[id] {
			continue
		}
		one.State, one.Ended = contract.Firing, 0
		if h := one.Hushed; h != nil && h.Until == 0 {
			one.State = contract.Acknowledged
		}
		all = append(all, one)
	}
	return all
}

// endUnwritten reports whether the alert of a topic is over and the disk does not
// have it yet. The caller holds the lock.
func (a *Alerting) endUnwritten(topic string) bool {
	return slices.ContainsFunc(a.unsaved, func(c engine.Change) bool { return c.Kind == engine.Ended && topicOf(c.Alert) == topic })
}
