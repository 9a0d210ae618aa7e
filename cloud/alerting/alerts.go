package alerting

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wattline/wattline/cloud/alerting/archive"
	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// maxAtOnce bounds the alerts that one command hushes.
const maxAtOnce = 10_000

func listAlerts(_ context.Context, a *Alerting, r contract.RegistryRequest) (answer contract.RegistryAnswer, err error) {
	filter, err := filterOf(r.Filter)
	if err != nil {
		return answer, err
	}
	page, next, err := a.archive.List(filter, r.Cursor, r.Limit)
	if err == nil && len(page) == 0 {
		err = a.strange(&filter)
	}
	return contract.RegistryAnswer{Content: text(page), Next: next}, err
}

func getAlert(_ context.Context, a *Alerting, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	alert, err := a.archive.Get(r.Key)
	return contract.RegistryAnswer{Content: text(alert)}, err
}

func statistics(_ context.Context, a *Alerting, r contract.RegistryRequest) (answer contract.RegistryAnswer, err error) {
	filter, err := filterOf(r.Filter)
	if err != nil {
		return answer, err
	}
	filter.Firing, filter.States = false, nil
	all, err := a.archive.Statistics(filter)
	if err == nil && len(all) == 0 {
		err = a.strange(&filter)
	}
	return contract.RegistryAnswer{Content: text(all)}, err
}

// filterOf reads a filter; without a state it takes what fires.
func filterOf(filter map[string]string) (f archive.Filter, err error) {
	f.Firing = true
	var mistakes []contract.Mistake
	for _, key := range slices.Sorted(maps.Keys(filter)) {
		if err := setFilter(&f, key, filter[key]); err != nil {
			mistakes = append(mistakes, contract.Mistake{Field: key, Detail: err.Error()})
		}
	}
	if len(mistakes) > 0 {
		return f, &contract.Problem{Kind: contract.Invalid, Detail: mistakes[0].Field + ": " + mistakes[0].Detail, Mistakes: mistakes}
	}
	return f, nil
}

func setFilter(f *archive.Filter, key, value string) (err error) {
	switch key {
	case "state":
		return setStates(f, value)
	case "rule":
		f.Rule = value
	case "severity":
		f.Severity = contract.Severity(value)
		if !slices.Contains([]contract.Severity{contract.Critical, contract.Warning, contract.Info}, f.Severity) {
			return fmt.Errorf("%.40q is none of critical, warning, info", value)
		}
	case "device":
		f.Device, err = device.Parse(value)
	case "gateway":
		f.Gateway = value
	case "floor":
		for text := range strings.SplitSeq(value, ",") {
			floor, err := strconv.Atoi(strings.TrimSpace(text))
			if err != nil {
				return fmt.Errorf("%.40q is no floor", text)
			}
			f.Floors = append(f.Floors, floor)
		}
	case "from":
		f.From, err = parseTime(value)
	case "to":
		f.To, err = parseTime(value)
	case "late":
		if value == "all" {
			return nil
		}
		late := value == "yes"
		f.Late = &late
		if !late && value != "no" {
			return fmt.Errorf("%.40q is none of yes, no, all", value)
		}
	default:
		return fmt.Errorf("no filter %.40q: there are state, rule, severity, device, gateway, floor, from, to, late", key)
	}
	return err
}

func setStates(f *archive.Filter, value string) error {
	f.Firing = false
	if value == "all" {
		return nil
	}
	for text := range strings.SplitSeq(value, ",") {
		state := contract.AlertState(strings.TrimSpace(text))
		if !slices.Contains([]contract.AlertState{contract.Firing, contract.Acknowledged, contract.Resolved}, state) {
			return fmt.Errorf("%.40q is none of firing, acknowledged, resolved, all", text)
		}
		f.States = append(f.States, state)
	}
	f.Firing = !slices.Contains(f.States, contract.Resolved)
	return nil
}

func parseTime(s string) (at device.Micros, err error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return device.MicrosOf(t), nil
	}
	if err := at.UnmarshalJSON([]byte(s)); err != nil {
		return 0, fmt.Errorf("%.40q is neither POSIX seconds nor a time such as 2026-11-01T08:00:00Z", s)
	}
	return at, nil
}

func acknowledge(_ context.Context, a *Alerting, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	return a.hush(r, "acknowledge alert", func(id string, now device.Micros) (engine.Change, error) {
		return a.engine.Hush(id, contract.Hushed{Who: r.Who, Reason: r.Reason, At: now}, now)
	})
}

func snooze(_ context.Context, a *Alerting, r contract.RegistryRequest) (answer contract.RegistryAnswer, err error) {
	var until struct {
		Until device.Micros `json:"until"`
	}
	if err := content(r, &until); err != nil {
		return answer, err
	}
	if until.Until <= a.micros() {
		return answer, &contract.Problem{Kind: contract.Invalid, Detail: "until: a time that is over", Mistakes: []contract.Mistake{{Field: "until", Detail: "a time that is over"}}}
	}
	return a.hush(r, "snooze alert", func(id string, now device.Micros) (engine.Change, error) {
		return a.engine.Hush(id, contract.Hushed{Who: r.Who, Reason: r.Reason, At: now, Until: until.Until}, now)
	})
}

func wake(_ context.Context, a *Alerting, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	return a.hush(r, "wake alert", func(id string, now device.Micros) (engine.Change, error) { return a.engine.Wake(id, now) })
}

// hush does something to the alert of the key, or to all that fire and that the
// filter takes; it answers with them.
func (a *Alerting) hush(r contract.RegistryRequest, what string, do func(id string, now device.Micros) (engine.Change, error)) (answer contract.RegistryAnswer, err error) {
	ids := []string{r.Key}
	if r.Key == "" {
		if ids, err = a.firing(r.Filter); err != nil {
			return answer, err
		}
	}
	if r.DryRun {
		return a.would(ids)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.micros()
	before := make([]contract.Alert, 0, len(ids))
	changes, after, audits := []engine.Change{}, []contract.Alert{}, []contract.Audited{}
	for _, id := range ids {
		if alert, fires := a.engine.Alert(id); fires {
			before = append(before, alert)
		}
		c, err := do(id, now)
		if err != nil && r.Key != "" {
			return answer, err
		}
		if err == nil { // else it has ended meanwhile
			changes, after, audits = append(changes, c), append(after, c.Alert), append(audits, a.audited(r, what, id))
		}
	}
	if err := a.keep(changes, audits...); err != nil {
		a.engine.TakeBack(before)
		return answer, err
	}
	return contract.RegistryAnswer{Content: text(after)}, nil
}

// would gives the alerts that a command would be about.
func (a *Alerting) would(ids []string) (contract.RegistryAnswer, error) {
	all := []contract.Alert{}
	for _, id := range ids {
		alert, err := a.archive.Get(id)
		if err != nil {
			return contract.RegistryAnswer{}, err
		}
		all = append(all, alert)
	}
	return contract.RegistryAnswer{Content: text(all)}, nil
}

// firing are the ids of what fires and the filter takes.
func (a *Alerting) firing(filter map[string]string) (ids []string, err error) {
	if len(filter) == 0 {
		return nil, problem(contract.Invalid, "name an alert by its id, or many by a filter such as rule or floor")
	}
	f, err := filterOf(filter)
	if err != nil {
		return nil, err
	}
	f.Firing = true
	for cursor := ""; len(ids) < maxAtOnce; {
		page, next, err := a.archive.List(f, cursor, archive.MaxPage)
		if err != nil {
			return nil, err
		}
		for _, alert := range page {
			ids = append(ids, alert.ID)
		}
		if cursor = next; next == "" {
			break
		}
	}
	if len(ids) == 0 {
		return nil, a.strange(&f)
	}
	return ids, nil
}

// strange says that a filter which takes nothing names a rule or a gateway that
// there is not: a slip of the pen must not read as good news. Rules that are gone
// may have a history, and sources that are no gateways alerts.
func (a *Alerting) strange(f *archive.Filter) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	house := a.signals.House()
	_, registered := house.Gateway(f.Gateway)
	switch {
	case f.Rule != "" && find(&a.file, f.Rule) < 0:
		return wrong("rule", fmt.Sprintf("there is no rule %.64q, and no such alert of one that there was", f.Rule))
	case f.Gateway != "" && house.Whole() && !registered && !a.engine.Hears(f.Gateway):
		return wrong("gateway", fmt.Sprintf("there is no gateway %.64q, and nobody of that name sends what a rule watches", f.Gateway))
	default:
		return nil
	}
}
