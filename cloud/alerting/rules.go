package alerting

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/wattline/wattline/cloud/alerting/archive"
	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/contract"
)

func listRules(_ context.Context, a *Alerting, _ contract.RegistryRequest) (contract.RegistryAnswer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return contract.RegistryAnswer{Content: text(a.file), Revision: a.revision}, nil
}

func getRule(_ context.Context, a *Alerting, r contract.RegistryRequest) (answer contract.RegistryAnswer, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := find(&a.file, r.Key)
	if i < 0 {
		return answer, unknownRule(r.Key)
	}
	return contract.RegistryAnswer{Content: text(a.file.Rules[i]), Revision: a.revision}, nil
}

func exportRules(_ context.Context, a *Alerting, _ contract.RegistryRequest) (answer contract.RegistryAnswer, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	out, err := rule.Write(a.file)
	return contract.RegistryAnswer{Content: text(string(out)), Revision: a.revision}, err
}

func createRule(_ context.Context, a *Alerting, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	return a.changeFile(r, "create rule", func(f *rule.File) (any, error) {
		var one rule.Rule
		if err := content(r, &one); err != nil {
			return nil, err
		}
		if find(f, one.Name) >= 0 {
			return nil, problem(contract.Conflict, "there is a rule %q already; change that, or choose another name", one.Name)
		}
		if err := one.Validate(); err != nil { // named as the rule's, not as the file's
			return nil, mistaken(err)
		}
		f.Rules = append(f.Rules, one)
		return one, nil
	})
}

// changeRule replaces a rule as a whole, its name excepted: alerts carry that for
// ever.
func changeRule(_ context.Context, a *Alerting, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	return a.changeFile(r, "change rule", func(f *rule.File) (any, error) {
		var one rule.Rule
		if err := content(r, &one); err != nil {
			return nil, err
		}
		i := find(f, r.Key)
		switch {
		case i < 0:
			return nil, unknownRule(r.Key)
		case one.Name != r.Key:
			return nil, problem(contract.Invalid, "name: a rule is never renamed; delete %q and create %.64q", r.Key, one.Name)
		}
		if err := one.Validate(); err != nil {
			return nil, mistaken(err)
		}
		f.Rules[i] = one
		return one, nil
	})
}

func deleteRule(_ context.Context, a *Alerting, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	return a.changeFile(r, "delete rule", func(f *rule.File) (any, error) {
		i := find(f, r.Key)
		if i < 0 {
			return nil, unknownRule(r.Key)
		}
		f.Rules = slices.Delete(f.Rules, i, i+1)
		return nil, nil
	})
}

// importRules replaces all rules and calendars by those of a YAML text.
func importRules(_ context.Context, a *Alerting, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	return a.changeFile(r, "import rules", func(f *rule.File) (any, error) {
		var given struct {
			Text string `json:"text"`
		}
		if err := content(r, &given); err != nil {
			return nil, err
		}
		file, err := rule.Read([]byte(given.Text), "rules")
		if err != nil {
			return nil, mistaken(err)
		}
		difference := differ(f, &file)
		*f = file
		return difference, nil
	})
}

// difference is what an import changes, by the names of rules.
type difference struct {
	Added     []string `json:"added"`
	Changed   []string `json:"changed"`
	Deleted   []string `json:"deleted"`
	Calendars bool     `json:"calendars_changed"`
}

func differ(before, after *rule.File) difference {
	d := difference{Added: []string{}, Changed: []string{}, Deleted: []string{}, Calendars: string(text(before.Calendars)) != string(text(after.Calendars))}
	for _, r := range after.Rules {
		switch i := find(before, r.Name); {
		case i < 0:
			d.Added = append(d.Added, r.Name)
		case string(text(before.Rules[i])) != string(text(r)):
			d.Changed = append(d.Changed, r.Name)
		}
	}
	for _, r := range before.Rules {
		if find(after, r.Name) < 0 {
			d.Deleted = append(d.Deleted, r.Name)
		}
	}
	return d
}

// changeFile changes a copy of the rules, checks it as a whole, and lets the
// engine watch by it once it is written.
func (a *Alerting) changeFile(r contract.RegistryRequest, what string, change func(*rule.File) (any, error)) (answer contract.RegistryAnswer, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.Revision != 0 && r.Revision != a.revision {
		return answer, problem(contract.Changed, "the rules have changed since you looked: they are at revision %d, you have %d; look again and repeat what still holds", a.revision, r.Revision)
	}
	file := a.file
	file.Rules = slices.Clone(a.file.Rules)
	result, err := change(&file)
	if err != nil {
		return answer, err
	}
	if err := file.Validate(); err != nil {
		return answer, mistaken(err)
	}
	if err := a.knownReceivers(&file); err != nil {
		return answer, err
	}
	if r.DryRun {
		return contract.RegistryAnswer{Content: text(result), Revision: a.revision}, nil
	}
	revision, err := a.archive.SetRules(file, a.audited(r, what, r.Key))
	if err != nil {
		return answer, err
	}
	a.file, a.revision = file, revision
	a.change(a.engine.SetRules(file, a.micros()))
	return contract.RegistryAnswer{Content: text(result), Revision: revision}, nil
}

// knownReceivers refuses rules that tell somebody who is not configured.
func (a *Alerting) knownReceivers(f *rule.File) error {
	if err := a.config.checkRules(f); err != nil {
		return mistaken(err)
	}
	return nil
}

// checkRules names the rules that tell somebody who is not configured.
func (c *Config) checkRules(f *rule.File) error {
	known := c.names()
	var errs []error
	for i, r := range f.Rules {
		for _, name := range r.Receivers {
			if !slices.Contains(known, name) {
				errs = append(errs, fmt.Errorf("rules[%d].receivers: no receiver %.64q is configured; there are %s", i, name, strings.Join(known, ", ")))
			}
		}
	}
	return errors.Join(errs...)
}

func find(f *rule.File, name string) int {
	return slices.IndexFunc(f.Rules, func(r rule.Rule) bool { return r.Name == name })
}

func unknownRule(name string) error {
	return fmt.Errorf("rule %.64q: %w", name, archive.ErrUnknown)
}
