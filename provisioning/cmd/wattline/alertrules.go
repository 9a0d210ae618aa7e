package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/wattline/wattline/provisioning/client"
)

const (
	rulesPath     = alertsPath + "/rules"
	rulesFilePath = alertsPath + "/rules.yaml"
	// maxRules bounds a file of rules in bytes; a server takes no more.
	maxRules = 1 << 20
)

var ruleColumns = []column{
	col("RULE", "name"),
	{title: "ON", of: func(d document) string {
		if d.at("off") == true {
			return "off"
		}
		return "on"
	}},
	col("SEVERITY", "severity"), col("SIGNAL", "signal"),
	{title: "WHEN", of: whenOf},
	{title: "FOR", of: func(d document) string { return tidy(d.text("for")) }},
	col("HOURS", "hours"), col("COVERED BY", "covered_by"),
}

// tidy leaves out what is 0 of 1h0m0s.
func tidy(d string) string {
	if strings.HasSuffix(d, "m0s") {
		d = strings.TrimSuffix(d, "0s")
	}
	if strings.HasSuffix(d, "h0m") {
		d = strings.TrimSuffix(d, "0m")
	}
	return d
}

// whenOf is the condition of a rule in words.
func whenOf(d document) string {
	when, _ := d.at("when").(map[string]any)
	var parts []string
	for name, v := range when {
		switch {
		case v == true:
			parts = append(parts, name)
		case name != "clear":
			parts = append(parts, strings.ReplaceAll(name, "_", " ")+" "+textOf(v))
		}
	}
	slices.Sort(parts)
	if clear := textOf(when["clear"]); clear != "" {
		parts = append(parts, "clear "+clear)
	}
	return strings.Join(parts, ", ")
}

func ruleCommands() []command {
	return []command{
		{
			name: "alerts statistics", short: "how often and how long each rule fired", bind: alertsStatistics,
			long:     "A rule that fires often and that nobody acts on is worth another limit.",
			examples: []string{"wattline alerts statistics --from 30d", "wattline alerts statistics --from 7d --floor 2"},
		},
		{name: "alerts rules", args: "[list]", short: "what is watched for", bind: noFlags(rulesList), examples: []string{"wattline alerts rules", "wattline alerts rules --json"}},
		{name: "alerts rules show", args: "NAME", short: "one rule", bind: noFlags(rulesShow), examples: []string{"wattline alerts rules show left-on"}},
		{name: "alerts rules enable", args: "NAME...", short: "watch for it", bind: rulesSwitch(false), examples: []string{"wattline alerts rules enable standby"}},
		{
			name: "alerts rules disable", args: "NAME...", short: "watch for it no longer, and keep the rule", bind: rulesSwitch(true),
			long: "What it raised ends.", examples: []string{"wattline alerts rules disable standby --reason 'too many printers'"},
		},
		{name: "alerts rules delete", args: "NAME...", short: "take rules away", bind: rulesDelete, examples: []string{"wattline alerts rules delete my-rule --yes"}},
		{
			name: "alerts rules export", short: "all rules and calendars as a YAML file", bind: rulesExport,
			long:     "Importing what was exported changes nothing.",
			examples: []string{"wattline alerts rules export --out rules.yaml"},
		},
		{
			name: "alerts rules import", args: "FILE", short: "take rules and calendars from a YAML file, in place of all", bind: rulesImport,
			long:     "The file is taken as a whole, or not at all: every mistake is named with its line.\nRules that it does not name are gone. - is standard input.",
			examples: []string{"wattline alerts rules import rules.yaml --dry-run", "wattline alerts rules import rules.yaml --reason 'holidays of 2027'"},
		},
	}
}

func alertsStatistics(f *flag.FlagSet) action {
	l := alertFilters(f)
	l.times(f)
	return func(ctx context.Context, s *session, args []string) error {
		if err := none(args); err != nil {
			return err
		}
		q, err := l.when(time.Now())
		if err != nil {
			return err
		}
		a, err := s.do(ctx, client.Request{Method: http.MethodGet, Path: alertsPath + "/statistics", Query: q})
		if err != nil {
			return err
		}
		if s.json {
			return s.raw(a.Body)
		}
		var page struct {
			Items []document `json:"items"`
		}
		if err := a.Decode(&page); err != nil {
			return err
		}
		seconds := func(name string) func(document) string {
			return func(d document) string {
				n, err := parseNumber(d.text(name))
				if err != nil || n == 0 {
					return ""
				}
				return lasting(time.Duration(min(n, maxSpan.Seconds()) * float64(time.Second)))
			}
		}
		return s.table(page.Items, []column{
			col("RULE", "rule"), col("SEVERITY", "severity"), col("ALERTS", "alerts"), col("FIRING", "firing"),
			{title: "TOGETHER", of: seconds("seconds")},
			{title: "LONGEST", of: seconds("longest_seconds")},
			col("FLAPPING", "flapping"), col("LATE", "late"),
		}, "Nothing fired in that time.")
	}
}

func rulesList(ctx context.Context, s *session, args []string) error {
	if err := listWord(args); err != nil {
		return err
	}
	a, err := s.do(ctx, client.Request{Method: http.MethodGet, Path: rulesPath})
	if err != nil {
		return err
	}
	if s.json {
		return s.raw(a.Body)
	}
	var page struct {
		Items []document `json:"items"`
	}
	if err := a.Decode(&page); err != nil {
		return err
	}
	return s.table(page.Items, ruleColumns, "There are no rules, so that nothing is watched. `wattline alerts rules import` takes some.")
}

func rulePath(name string) string { return rulesPath + "/" + url.PathEscape(name) }

func rulesShow(ctx context.Context, s *session, args []string) error {
	name, err := one(args, "the name of one rule")
	if err != nil {
		return err
	}
	d, _, err := s.get(ctx, rulePath(name))
	if err != nil {
		return err
	}
	return s.show(d)
}

// rulesSwitch is the bind of enable and disable: the rule as it is, on or off.
func rulesSwitch(off bool) func(*flag.FlagSet) action {
	return func(f *flag.FlagSet) action {
		c := &changing{}
		c.bind(f)
		return func(ctx context.Context, s *session, args []string) error {
			if err := some(args, "the names of rules"); err != nil {
				return err
			}
			return s.each(c, args, func(c *changing, name string) error {
				d, revision, err := s.get(ctx, rulePath(name))
				if err != nil {
					return err
				}
				if c.revision == 0 {
					c.revision = revision
				}
				d["off"] = off
				if _, err := s.change(ctx, c, http.MethodPut, rulePath(name), d); err != nil {
					return err
				}
				c.done(s, "%s is %s.", name, map[bool]string{true: "off", false: "on"}[off])
				return nil
			})
		}
	}
}

func rulesDelete(f *flag.FlagSet) action {
	return deleting(f, "alerts/rules", "the names of rules", "%s is deleted.", question{"Delete the rule %s", "Delete %d rules"})
}

func rulesExport(f *flag.FlagSet) action {
	out := f.String("out", "", "`file` instead of standard output; it is replaced as a whole")
	return func(ctx context.Context, s *session, args []string) error {
		if err := none(args); err != nil {
			return err
		}
		a, err := s.do(ctx, client.Request{Method: http.MethodGet, Path: rulesFilePath, Accept: mediaTypes["yaml"]})
		if err != nil {
			return err
		}
		if *out == "" {
			_, err := s.stdout.Write(a.Body)
			return err
		}
		if err := replaceFile(*out, a.Body); err != nil {
			return err
		}
		fmt.Fprintf(s.stderr, "%s: %d bytes\n", *out, len(a.Body))
		return nil
	}
}

func rulesImport(f *flag.FlagSet) action {
	c := &changing{}
	c.bind(f)
	return func(ctx context.Context, s *session, args []string) error {
		name, err := one(args, "one file, or - for standard input")
		if err != nil {
			return err
		}
		text, err := s.fileOf(name)
		if err != nil {
			return err
		}
		a, err := s.do(ctx, client.Request{
			Method: http.MethodPut, Path: rulesFilePath, Query: c.query(), Body: text, ContentType: mediaTypes["yaml"], Revision: c.revision,
		})
		if err != nil {
			return named(name, err)
		}
		if s.json {
			return s.raw(a.Body)
		}
		var changed map[string]any
		if err := json.Unmarshal(a.Body, &changed); len(a.Body) > 0 && err != nil {
			return fmt.Errorf("read the server's answer: %w", err)
		}
		for _, kind := range [][2]string{{"deleted", "-"}, {"changed", "~"}, {"added", "+"}} {
			names, _ := changed[kind[0]].([]any)
			for _, name := range names {
				s.say("%s %s", kind[1], textOf(name))
			}
		}
		c.done(s, "The rules of %s are in force.", name)
		return nil
	}
}

// fileOf reads a file of rules, or standard input.
func (s *session) fileOf(name string) (text []byte, err error) {
	if name == "-" {
		text, err = io.ReadAll(io.LimitReader(s.stdin, maxRules+1))
		name = "standard input"
	} else {
		text, err = readSmall(name, maxRules)
	}
	if err != nil {
		return nil, usage("%v", err)
	}
	if len(text) > maxRules {
		return nil, usage("%s is larger than %d bytes", name, maxRules)
	}
	if len(strings.TrimSpace(string(text))) == 0 {
		return nil, usage("%s is empty: it would take all rules away", name)
	}
	return text, nil
}
