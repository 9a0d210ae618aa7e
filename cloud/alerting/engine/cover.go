package engine

import (
	"maps"
	"slices"

	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/contract"
)

// coverOf finds what explains an instance: a rule that it is covered by and that
// fires, or is pending, for the same gateway, the same device or the site.
func (e *Engine) coverOf(i *instance) (pending *instance) {
	if len(i.rule.CoveredBy) == 0 {
		return nil
	}
	gateway := e.where(i.subject, i.source).gateway
	for _, name := range i.rule.CoveredBy {
		for _, subject := range []Subject{{}, {Gateway: gateway}, i.subject} {
			parent := e.instances[instanceKey{name, subject}]
			switch {
			case parent == nil || parent == i:
			case parent.alert != nil:
				return parent
			case parent.run.since != 0:
				pending = parent
			}
		}
	}
	return pending
}

// cover lists an instance with what explains it, once that fires.
func (e *Engine) cover(parent, i *instance) {
	if parent.alert == nil || i.coveredBy == parent {
		return // it waits
	}
	i.coveredBy = parent
	if parent.symptoms == nil {
		parent.symptoms = make(map[*instance]struct{})
	}
	parent.symptoms[i] = struct{}{}
	parent.covers.add(i.subject.String())
	parent.covers.list(parent.alert)
	parent.news = true
}

// uncover lets what an alert covered hold anew.
func uncover(parent *instance) {
	for i := range parent.symptoms {
		if i.coveredBy == parent {
			i.run, i.ripe, i.coveredBy = run{}, false, nil
		}
	}
	parent.symptoms = nil
}

// listCovered names the devices of a gateway that is in trouble as a whole.
func (e *Engine) listCovered(i *instance, a *contract.Alert) {
	i.covers = make(covered)
	if i.subject.kind() != rule.OfGateway || !e.parents[i.rule.Name] {
		return
	}
	for _, id := range e.house.Devices(i.subject.Gateway) {
		i.covers.add(id.String())
	}
	i.covers.list(a)
}

// covered are the subjects that an alert explains.
type covered map[string]struct{}

func (c covered) add(subject string) { c[subject] = struct{}{} }

// list enters them into the alert, as many as it may name.
func (c covered) list(a *contract.Alert) {
	a.Covers = slices.Sorted(maps.Keys(c))
	a.CoversMore = max(0, len(c)-contract.MaxCovered)
	a.Covers = a.Covers[:len(c)-a.CoversMore]
}
