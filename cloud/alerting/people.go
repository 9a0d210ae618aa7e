package alerting

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/wattline/wattline/cloud/alerting/archive"
	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
)

// tryTimeout bounds a trial that is not queued; who asked waits for it.
const tryTimeout = 5 * time.Second

// maxWindow is the longest maintenance window.
const maxWindow = 366 * 24 * 60 * 60 * 1_000_000

func listWindows(_ context.Context, a *Alerting, _ contract.RegistryRequest) (contract.RegistryAnswer, error) {
	windows, err := a.archive.Windows(a.micros())
	return contract.RegistryAnswer{Content: text(windows)}, err
}

func createWindow(_ context.Context, a *Alerting, r contract.RegistryRequest) (answer contract.RegistryAnswer, err error) {
	var w struct {
		Select rule.Select   `json:"select"`
		From   device.Micros `json:"from"`
		To     device.Micros `json:"to"`
		Reason string        `json:"reason"`
	}
	if err := content(r, &w); err != nil {
		return answer, err
	}
	if w.Reason == "" {
		w.Reason = r.Reason
	}
	now := a.micros()
	switch {
	case w.To <= now:
		return answer, wrong("to", "a time that is over")
	case w.To <= w.From:
		return answer, wrong("to", "not after from")
	case w.To-w.From > maxWindow:
		return answer, wrong("to", "more than a year after from; change or switch off the rules instead")
	case w.Reason == "":
		return answer, wrong("reason", "missing: whoever looks at the alerts must know why nobody is told")
	}
	one := engine.Maintenance{ID: hook.Instance(), Select: w.Select, From: w.From, To: w.To, Who: r.Who, Reason: w.Reason}
	return contract.RegistryAnswer{Content: text(one)}, a.setWindows(r, "create maintenance", one.ID, func(all []engine.Maintenance) ([]engine.Maintenance, error) {
		if len(all) >= archive.MaxWindows {
			return nil, problem(contract.Conflict, "%d maintenance windows, which are all that there may be; delete some", len(all))
		}
		return append(all, one), nil
	})
}

func deleteWindow(_ context.Context, a *Alerting, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	return contract.RegistryAnswer{}, a.setWindows(r, "delete maintenance", r.Key, func(all []engine.Maintenance) ([]engine.Maintenance, error) {
		i := slices.IndexFunc(all, func(m engine.Maintenance) bool { return m.ID == r.Key })
		if i < 0 {
			return nil, fmt.Errorf("maintenance %.64q: %w", r.Key, archive.ErrUnknown)
		}
		return slices.Delete(all, i, i+1), nil
	})
}

func (a *Alerting) setWindows(r contract.RegistryRequest, what, id string, change func([]engine.Maintenance) ([]engine.Maintenance, error)) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.micros()
	all := slices.DeleteFunc(slices.Clone(a.windows), func(m engine.Maintenance) bool { return m.To <= now })
	all, err := change(all)
	if err != nil || r.DryRun {
		return err
	}
	if err := a.archive.SetWindows(all, a.audited(r, what, id)); err != nil {
		return err
	}
	a.windows = all
	a.engine.Maintain(all)
	return nil
}

func wrong(field, detail string) error {
	return &contract.Problem{Kind: contract.Invalid, Detail: field + ": " + detail, Mistakes: []contract.Mistake{{Field: field, Detail: detail}}}
}

func listReceivers(_ context.Context, a *Alerting, _ contract.RegistryRequest) (contract.RegistryAnswer, error) {
	all := a.desk.Statuses()
	for _, s := range a.states {
		all = append(all, s.Status())
	}
	return contract.RegistryAnswer{Content: text(all)}, nil
}

// testReceiver queues a trial; who is told a state is told at once, and the answer
// says whether that was taken.
func testReceiver(ctx context.Context, a *Alerting, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	now := a.micros()
	for _, s := range a.states {
		if s.Status().Name != r.Key {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, tryTimeout)
		defer cancel()
		if err := s.Try(ctx, notify.Trial(r.Key, r.Who, now)); err != nil {
			return contract.RegistryAnswer{}, problem(contract.NotNow, "receiver %s does not take a trial: %v", r.Key, err)
		}
		return contract.RegistryAnswer{}, nil
	}
	return contract.RegistryAnswer{}, a.desk.Try(r.Key, r.Who, now)
}

// listAudit gives who did what to alerts and rules, the newest first.
func listAudit(_ context.Context, a *Alerting, r contract.RegistryRequest) (answer contract.RegistryAnswer, err error) {
	var f archive.AuditFilter
	for _, key := range slices.Sorted(maps.Keys(r.Filter)) {
		value := r.Filter[key]
		switch key {
		case "who":
			f.Who = value
		case "what":
			f.What = value
		case "object":
			f.Object = value
		case "result":
			f.Result = value
		case "from":
			f.From, err = parseTime(value)
		case "to":
			f.To, err = parseTime(value)
		default:
			err = errors.New("no such filter: there are who, what, object, result, from, to")
		}
		if err != nil {
			return answer, wrong(key, err.Error())
		}
	}
	page, next, err := a.archive.Audited(f, r.Cursor, r.Limit)
	return contract.RegistryAnswer{Content: text(page), Next: next}, err
}
