package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const alertsPath = "/api/v1/alerts"

func alertCommands() []command {
	commands := []command{
		{
			name: "alerts", args: "[list]", short: "what is wrong now", bind: alertsList,
			long: "One line for each alert that fires or was acknowledged, newest first. What one\nalert explains is listed in it and has no line of its own: `alerts show` names it.\n\n" +
				"More: alerts history, show, ack, snooze, wake, statistics, rules, maintenance,\nreceivers, test, audit. What each rule means and what to do: docs/alerts.",
			examples: []string{"wattline alerts", "wattline alerts --severity critical --floor 2", "wattline alerts --json"},
		},
		{
			name: "alerts history", short: "what was wrong, newest first", bind: alertsHistory,
			long:     "What is marked late was only learned when it was over, from readings that had\nwaited; nobody was notified of it.",
			examples: []string{"wattline alerts history --from 7d", "wattline alerts history --rule plug-unreachable --device sp_f2.g3", "wattline alerts history --late no --limit 500"},
		},
		{
			name: "alerts show", args: "ID", short: "one alert, all that is known of it", bind: noFlags(alertsShow), long: alertNames,
			examples: []string{"wattline alerts show gateway-offline/edge-f2"},
		},
	}
	return slices.Concat(commands, hushCommands(), ruleCommands(), maintenanceCommands(), receiverCommands())
}

const alertNames = "An alert is named by its id, or by what `wattline alerts` shows: the rule and what\nit is about. Of several with that name the one that fires is meant."

// alertFilters are the flags that narrow a list of alerts.
func alertFilters(f *flag.FlagSet) filters {
	l := filters{}
	l.add(f, "rule", "only of this `rule`")
	l.add(f, "severity", "only critical, warning or info")
	l.add(f, "device", "only of this `place`")
	l.add(f, "gateway", "only of this `gateway` and its places")
	l.add(f, "floor", "only on these `floors`, as 1,2")
	return l
}

// times adds the flags of a span of the past; they are read when the command runs.
func (l filters) times(f *flag.FlagSet) {
	l.add(f, "from", "from this `time` on: 7d ago, RFC 3339 or POSIX seconds")
	l.add(f, "to", "until before this `time`")
}

// when are the parameters of a list, with times that mean the same everywhere.
func (l filters) when(now time.Time) (url.Values, error) {
	q := l.query()
	for _, name := range []string{"from", "to"} {
		if text := q.Get(name); text != "" {
			at, err := moment(text, now, true)
			if err != nil {
				return nil, usage("--%s: %v", name, err)
			}
			q.Set(name, at)
		}
	}
	return q, nil
}

// moment reads a time: RFC 3339, POSIX seconds, or a span such as 2h or 7d from
// now, into the past where back says so. Bare dates are days of this machine's zone.
func moment(text string, now time.Time, back bool) (string, error) {
	if _, err := time.Parse(time.RFC3339, text); err == nil {
		return text, nil
	}
	if n, err := strconv.ParseFloat(text, 64); err == nil && n >= 0 {
		return text, nil
	}
	if day, err := time.ParseInLocation(time.DateOnly, text, now.Location()); err == nil {
		return day.Format(time.RFC3339), nil
	}
	d, err := span(text)
	if err != nil {
		return "", fmt.Errorf("%q is no time: want one such as 2026-11-01T08:00:00Z, 2026-11-01 or %s", text, "2h or 7d")
	}
	if back {
		d = -d
	}
	return now.Add(d).UTC().Format(time.RFC3339), nil
}

// maxSpan keeps a span within what counts as a time.
const maxSpan = 100 * 365 * 24 * time.Hour

// span reads 30m, 2h or 7d.
func span(text string) (d time.Duration, err error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || !(n > 0 && n <= maxSpan.Hours()/24) {
			return 0, fmt.Errorf("%q is no time such as 30m, 2h or 7d", text)
		}
		return time.Duration(n * 24 * float64(time.Hour)), nil
	}
	if d, err = time.ParseDuration(text); err != nil || d <= 0 || d > maxSpan {
		return 0, fmt.Errorf("%q is no time such as 30m, 2h or 7d", text)
	}
	return d, nil
}

// lasting is a span in words for a table: its greatest unit, and the next one
// where the first is small.
func lasting(d time.Duration) string {
	d = max(d, 0)
	days, hours, minutes := int(d.Hours())/24, int(d.Hours())%24, int(d.Minutes())%60
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", minutes)
	case days == 0:
		return fmt.Sprintf("%dh%02dm", hours, minutes)
	case days < 3:
		return fmt.Sprintf("%dd%dh", days, hours)
	default:
		return fmt.Sprintf("%dd", days)
	}
}

// timeAt is the time at a path, zero where there is none.
func (d document) timeAt(path string) time.Time {
	text, _ := d.at(path).(string)
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return at
}

// sinceTail is the end of an alert's id: the time it began.
var sinceTail = regexp.MustCompile(`/-?[0-9]{6,}$`)

func shortID(id string) string { return sinceTail.ReplaceAllString(id, "") }

// whereOf is the place of an alert in words.
func whereOf(d document) string {
	where := cmp.Or(d.text("label"), d.first("device", "gateway", "subject"))
	if floor := d.text("floor"); floor != "" {
		where += " (floor " + floor + ")"
	}
	return where
}

// hushOf says why an alert notifies nobody.
func hushOf(d document) string {
	who := d.text("hushed.who")
	switch {
	case d.at("hushed") == nil:
		return ""
	case d.text("hushed.until") != "":
		return "until " + d.text("hushed.until") + " by " + who
	default:
		return "seen by " + who
	}
}

// whatOf is the summary, and what a reader must know beside it.
func whatOf(d document) string {
	what := d.text("summary")
	n := 0
	if covers, ok := d.at("covers").([]any); ok {
		n = len(covers)
	}
	if more, err := strconv.Atoi(d.text("covers_more")); err == nil {
		n += more
	}
	if n > 0 {
		what += fmt.Sprintf(" Explains %d others.", n)
	}
	if d.at("flapping") == true {
		what += " It comes and goes."
	}
	return what
}

func alertColumns(now time.Time) []column {
	return []column{
		{title: "AGE", of: func(d document) string {
			if since := d.timeAt("since"); !since.IsZero() {
				return lasting(now.Sub(since))
			}
			return ""
		}},
		col("SEVERITY", "severity"),
		{title: "WHAT", of: whatOf},
		{title: "WHERE", of: whereOf},
		{title: "HUSHED", of: hushOf},
		{title: "ALERT", of: func(d document) string { return shortID(d.text("id")) }},
	}
}

// listWord takes the word list, which may be left out.
func listWord(args []string) error {
	if len(args) > 0 && args[0] == "list" {
		args = args[1:]
	}
	return none(args)
}

func alertsList(f *flag.FlagSet) action {
	l := alertFilters(f)
	return func(ctx context.Context, s *session, args []string) error {
		if len(args) > 0 && args[0] != "list" {
			return usage("there is no `alerts %s`; `wattline help alerts` names what there is", args[0])
		}
		if err := listWord(args); err != nil {
			return err
		}
		empty := "Nothing fires."
		if len(l.query()) > 0 {
			empty = "Nothing of that fires."
		}
		return s.list(ctx, alertsPath, l.query(), alertColumns(time.Now()), empty, 0)
	}
}

func alertsHistory(f *flag.FlagSet) action {
	l := alertFilters(f)
	l.times(f)
	l.add(f, "late", "yes, no or all; all without")
	l.add(f, "state", "firing, acknowledged, resolved or all; all without")
	limit := f.Int("limit", 50, "the newest `n`; 0 for all")
	return func(ctx context.Context, s *session, args []string) error {
		if err := none(args); err != nil {
			return err
		}
		now := time.Now()
		q, err := l.when(now)
		if err != nil {
			return err
		}
		if q.Get("state") == "" {
			q.Set("state", "all")
		}
		columns := []column{
			col("BEGAN", "since"),
			{title: "LASTED", of: func(d document) string {
				if ended := d.timeAt("ended"); !ended.IsZero() {
					return lasting(ended.Sub(d.timeAt("since")))
				}
				return "fires on"
			}},
			col("SEVERITY", "severity"),
			{title: "WHAT", of: whatOf},
			{title: "WHERE", of: whereOf},
			col("LATE", "late"), col("ALERT", "id"),
		}
		return s.list(ctx, alertsPath, q, columns, "Nothing of that ever fired.", *limit)
	}
}

func alertsShow(ctx context.Context, s *session, args []string) error {
	name, err := one(args, "one alert, as `wattline alerts` shows it")
	if err != nil {
		return err
	}
	id, err := s.alertID(ctx, name)
	if err != nil {
		return err
	}
	d, _, err := s.get(ctx, alertsPath+"/"+url.PathEscape(id))
	if err != nil {
		return err
	}
	return s.show(d)
}

// alertID is the id of an alert that a person has named without its time: the one
// that fires, or else the newest.
func (s *session) alertID(ctx context.Context, name string) (string, error) {
	if sinceTail.MatchString(name) {
		return name, nil
	}
	rule, subject, ok := strings.Cut(name, "/")
	if !ok || rule == "" || subject == "" {
		return "", usage("%q names no alert: want its id, or rule/subject as `wattline alerts` shows it", name)
	}
	for _, state := range []string{"firing,acknowledged", "all"} {
		docs, _, _, err := s.items(ctx, alertsPath, url.Values{"rule": {rule}, "state": {state}}, 0)
		if err != nil {
			return "", err
		}
		for _, d := range docs {
			if id, _ := d["id"].(string); shortID(id) == name {
				return id, nil
			}
		}
	}
	return "", &exit{exitNotDone, fmt.Sprintf("there is no alert %s: `wattline alerts` lists what fires, `wattline alerts history` what did", name)}
}
