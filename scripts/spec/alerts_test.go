package spec_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/contract"
)

// alertPages is the folder of the pages about alerts, as seen from that of the
// specification.
const alertPages = "../alerts"

// severities in words.
var severities = map[contract.Severity]string{
	contract.Critical: "critical: now", contract.Warning: "warning: today", contract.Info: "info: with the digest",
}

// brief writes a time without what is 0.
func brief(d rule.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// conditionOf is a condition in words.
func conditionOf(r *rule.Rule, unit string) string {
	v := reflect.ValueOf(r.Condition)
	var said, clear string
	for i := range v.NumField() {
		name, f := v.Type().Field(i).Tag.Get("yaml"), v.Field(i)
		if f.IsZero() {
			continue
		}
		text := "`" + name + "`"
		switch value := f.Interface().(type) {
		case *float64:
			text = fmt.Sprintf("`%s: %v`", name, *value)
		case []float64:
			text = fmt.Sprintf("`%s: [%v, %v]`", name, value[0], value[1])
		}
		if name == "clear" {
			clear = text
		} else {
			said = text
		}
	}
	if text := unitWords[unit]; text != "" && !r.Condition.Changed && !r.Condition.Flat && r.Condition.AboveMaxPower == nil {
		said += " " + text
	}
	if clear != "" {
		said += ", over at " + clear
	}
	return said
}

// unitWords are the units as the pages have them.
var unitWords = map[string]string{"%": "%", "W": "W", "V": "V", "s": "seconds", "h": "hours", "d": "days"}

// units of the measurements that the rules of the program watch.
var units = map[string]string{"power": "W", "voltage": "V"}

// linksTo are pages of rules.
func linksTo(names []string) string {
	links := make([]string, len(names))
	for i, name := range names {
		links[i] = "[" + name + "](" + name + ".md)"
	}
	return strings.Join(links, ", ")
}

// headOf is what a page says of a rule by itself.
func headOf(f *rule.File, r *rule.Rule) string {
	signal, fact := rule.SignalOf(r.Signal)
	doc, unit := "a measurement of each "+string(signal.Kind), units[r.Signal]
	if fact {
		doc, unit = "of each "+string(signal.Kind)+": "+signal.Doc, signal.Unit
		if signal.Kind == rule.OfSite {
			doc = signal.Doc
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "> %s\n", r.Summary)
	if r.Advice != "" {
		fmt.Fprintf(&b, ">\n> %s\n", r.Advice)
	}
	b.WriteString("\n| `" + r.Name + "` | |\n| --- | --- |\n")
	line := func(what, text string) {
		if text != "" {
			fmt.Fprintf(&b, "| %s | %s |\n", what, text)
		}
	}
	line("severity", severities[r.Severity])
	line("signal", "`"+r.Signal+"`, "+doc)
	line("condition", conditionOf(r, unit))
	hold := "at once"
	if r.For > 0 {
		hold = brief(r.For)
	}
	line("for", hold)
	line("hours", r.Hours)
	if len(r.Select.Types) > 0 {
		line("places", "of the types "+strings.Join(r.Select.Types, ", "))
	}
	if r.Late > 0 {
		line("late", "readings that come up to "+brief(r.Late)+" late still raise it")
	}
	line("covered by", linksTo(r.CoveredBy))
	var covers []string
	for _, other := range f.Rules {
		if slices.Contains(other.CoveredBy, r.Name) {
			covers = append(covers, other.Name)
		}
	}
	line("explains", linksTo(covers))
	return b.String()
}

// Each rule of the program has a page, and each page a rule.
func TestEveryRuleHasItsPage(t *testing.T) {
	f := rule.Defaults()
	names := map[string]bool{}
	for i := range f.Rules {
		r := &f.Rules[i]
		names[r.Name] = true
		page := filepath.Join(alertPages, "rules", r.Name+".md")
		text := read(t, filepath.Join(hooks, page))
		if !strings.HasPrefix(text, "# "+r.Name+"\n") {
			t.Errorf("%s does not begin with its name", page)
		}
		for _, section := range []string{"What it means", "How it is decided", "What to do", "How to change it"} {
			if _, rest, found := strings.Cut(text, "\n## "+section+"\n\n"); !found || len(rest) < 20 {
				t.Errorf("%s does not say: %s", page, section)
			}
		}
		generated(t, page, headOf(&f, r))
	}
	pages, err := filepath.Glob(filepath.Join(hooks, alertPages, "rules", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		if !names[strings.TrimSuffix(filepath.Base(page), ".md")] {
			t.Errorf("%s is about no rule", page)
		}
	}
}

func TestIndexOfAlertsListsTheRules(t *testing.T) {
	f := rule.Defaults()
	var b strings.Builder
	b.WriteString("| rule | severity | what is told |\n| --- | --- | --- |\n")
	for _, r := range f.Rules {
		fmt.Fprintf(&b, "| [%s](rules/%s.md) | %s | %s |\n", r.Name, r.Name, r.Severity, r.Summary)
	}
	b.WriteString("\n```{toctree}\n:maxdepth: 1\n\n")
	pages, err := filepath.Glob(filepath.Join(hooks, alertPages, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		if name := strings.TrimSuffix(filepath.Base(page), ".md"); name != "index" {
			b.WriteString(name + "\n")
		}
	}
	for _, r := range f.Rules {
		b.WriteString("rules/" + r.Name + "\n")
	}
	b.WriteString("```\n")
	generated(t, filepath.Join(alertPages, "index.md"), b.String())
}

func TestPageOfRulesHasEverySignal(t *testing.T) {
	var b strings.Builder
	b.WriteString("| signal | of each | unit | what it says |\n| --- | --- | --- | --- |\n")
	for _, s := range rule.Facts {
		unit := s.Unit
		if s.Text {
			unit = "text"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", s.Name, s.Kind, unit, s.Doc)
	}
	generated(t, filepath.Join(alertPages, "writing-rules.md"), b.String())
}

// Whoever adds a key to rules finds here that the page wants it.
func TestPageOfRulesHasEveryKey(t *testing.T) {
	text := read(t, filepath.Join(hooks, alertPages, "writing-rules.md"))
	for _, v := range []any{rule.Rule{}, rule.Select{}, rule.Condition{}, rule.Calendar{}} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
			if key := f.Tag.Get("yaml"); !strings.Contains(text, "\n| `"+key+"` | ") {
				t.Errorf("no table has the key %s of %T", key, v)
			}
		}
	}
}

var rulesBlock = regexp.MustCompile("(?s)```yaml\n((?:rules|calendars):\n.*?)\n```")

// Every example of a rule on the pages about alerts is one.
func TestExamplesOfRulesAreRules(t *testing.T) {
	read := 0
	err := filepath.WalkDir(filepath.Join(hooks, alertPages), func(path string, _ os.DirEntry, err error) error {
		if filepath.Ext(path) != ".md" || err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		for _, block := range rulesBlock.FindAllSubmatch(text, -1) {
			read++
			if _, err := rule.Read(block[1], path); err != nil {
				t.Error(err)
			}
		}
		return err
	})
	if err != nil || read < 4 {
		t.Errorf("%d examples, %v", read, err)
	}
}
