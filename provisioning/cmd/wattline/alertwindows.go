package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/wattline/wattline/provisioning/client"
)

func maintenanceCommands() []command {
	return []command{
		{name: "alerts maintenance", args: "[list]", short: "times in which somebody works on something and nobody is notified", bind: noFlags(maintenanceList), examples: []string{"wattline alerts maintenance"}},
		{
			name: "alerts maintenance add", args: "--for D | --to TIME  --reason WHY", short: "notify nobody of a part of the site for a while", bind: maintenanceAdd,
			long: "What fires meanwhile is shown and kept; what still fires at the end is told then.\nWithout --floor, --gateway, --type and --device the whole site is meant; of those\nthat are given all must fit.",
			examples: []string{
				"wattline alerts maintenance add --floor 2 --for 4h --reason 'new sockets'", "wattline alerts maintenance add --gateway edge-f2 --from 2026-12-01T07:00:00Z --to 2026-12-01T12:00:00Z --reason 'new switch'",
			},
		},
		{name: "alerts maintenance remove", args: "ID...", short: "end windows early", bind: maintenanceRemove, examples: []string{"wattline alerts maintenance remove 7"}},
	}
}

func maintenanceList(ctx context.Context, s *session, args []string) error {
	if err := listWord(args); err != nil {
		return err
	}
	columns := []column{
		col("ID", "id"), col("FROM", "from"), col("TO", "to"),
		{title: "WHAT", of: func(d document) string {
			if text := d.text("select"); text != "" {
				return text
			}
			return "the whole site"
		}},
		col("WHO", "who"), col("WHY", "reason"),
	}
	return s.list(ctx, alertsPath+"/maintenance", nil, columns, "No maintenance is planned.", 0)
}

func maintenanceAdd(f *flag.FlagSet) action {
	floors := f.String("floor", "", "these `floors`, as 1,2")
	gateways := f.String("gateway", "", "these `gateways`, as edge-f1,edge-f2")
	types := f.String("type", "", "places of these `types`: w, g, p")
	devices := f.String("device", "", "these `places`, as sp_f2.g3,sp_f2.g4")
	from := f.String("from", "", "from this `time` on; now without")
	to := f.String("to", "", "until this `time`")
	length := f.String("for", "", "how `long`: 30m, 2h, 7d")
	c := &changing{}
	c.bind(f)
	return func(ctx context.Context, s *session, args []string) error {
		if err := none(args); err != nil {
			return err
		}
		sel := map[string]any{}
		if *floors != "" {
			list, err := numbers(*floors)
			if err != nil {
				return usage("--floor: %v", err)
			}
			sel["floors"] = list
		}
		for name, text := range map[string]string{"gateways": *gateways, "types": *types, "devices": *devices} {
			if text != "" {
				sel[name] = strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
			}
		}
		body := map[string]any{"select": sel}
		if err := windowOf(body, *from, *to, *length, time.Now()); err != nil {
			return err
		}
		if c.reason == "" {
			return usage("--reason is required: whoever looks at the alerts must know why nobody is told")
		}
		body["reason"] = c.reason
		d, err := s.change(ctx, c, http.MethodPost, alertsPath+"/maintenance", body)
		if err != nil {
			return err
		}
		said := fmt.Sprintf("Nobody is notified of it until %s.", d.first("to"))
		if !c.dry { // a trial has an id that nobody knows
			said += fmt.Sprintf(" `wattline alerts maintenance remove %s` ends that early.", d.text("id"))
		}
		c.done(s, "%s", said)
		return nil
	}
}

// windowOf sets the begin and the end of a window.
func windowOf(body map[string]any, from, to, length string, now time.Time) error {
	begin := now
	if from != "" {
		text, err := moment(from, now, false)
		if err != nil {
			return usage("--from: %v", err)
		}
		body["from"] = text
		if at, err := time.Parse(time.RFC3339, text); err == nil {
			begin = at
		} else if length != "" {
			return usage("--for goes with a --from by RFC 3339; give --to")
		}
	}
	if (to == "") == (length == "") {
		return usage("want either --for, as 4h, or --to: maintenance has an end")
	}
	if length != "" {
		d, err := span(length)
		if err != nil {
			return usage("--for: %v", err)
		}
		body["to"] = begin.Add(d).UTC().Format(time.RFC3339)
		return nil
	}
	text, err := moment(to, now, false)
	if err != nil {
		return usage("--to: %v", err)
	}
	body["to"] = text
	return nil
}

func maintenanceRemove(f *flag.FlagSet) action {
	c := &changing{}
	c.bind(f)
	return func(ctx context.Context, s *session, args []string) error {
		if err := some(args, "the ids of maintenance windows, as `wattline alerts maintenance` shows them"); err != nil {
			return err
		}
		return s.each(c, args, func(c *changing, id string) error {
			if _, err := s.change(ctx, c, http.MethodDelete, alertsPath+"/maintenance/"+url.PathEscape(id), nil); err != nil {
				return err
			}
			c.done(s, "The window %s is over.", id)
			return nil
		})
	}
}

func receiverCommands() []command {
	return []command{
		{
			name: "alerts receivers", args: "[list]", short: "who is told, and whether it arrives", bind: noFlags(receiversList),
			long:     "Receivers stand in the configuration of the cloud, section alerting.receivers.\nWhat one does not take waits for it.",
			examples: []string{"wattline alerts receivers"},
		},
		{
			name: "alerts test", args: "RECEIVER", short: "send a trial message", bind: noFlags(receiverTest),
			long: "It goes at once, behind what waits already; `wattline alerts receivers` says whether\nit arrived. An Alertmanager is asked while you wait.", examples: []string{"wattline alerts test office"},
		},
		{
			name: "alerts audit", short: "who hushed what and who changed rules", bind: alertsAudit,
			long: "`wattline audit` has it together with everything else.", examples: []string{"wattline alerts audit", "wattline alerts audit --who ana --from 7d"},
		},
	}
}

func receiversList(ctx context.Context, s *session, args []string) error {
	if err := listWord(args); err != nil {
		return err
	}
	columns := []column{
		col("RECEIVER", "name"), col("KIND", "kind"), col("FROM SEVERITY", "from"),
		{title: "STATE", of: func(d document) string {
			if since := d.text("failing_since"); since != "" {
				return "failing since " + since
			}
			return "well"
		}},
		col("WAITING", "waiting"), col("SENDING", "in_flight"), col("LAST SENT", "last_sent"), col("LAST ERROR", "last_error"),
		{title: "NOT REACHED", of: func(d document) string {
			refused, _ := d.at("unreached").(map[string]any)
			return strings.Join(slices.Sorted(maps.Keys(refused)), ", ")
		}},
	}
	return s.list(ctx, alertsPath+"/receivers", nil, columns, "There are no receivers, so that nobody is told. They stand in the cloud's configuration, alerting.receivers.", 0)
}

func receiverTest(ctx context.Context, s *session, args []string) error {
	name, err := one(args, "one receiver, as `wattline alerts receivers` shows it")
	if err != nil {
		return err
	}
	a, err := s.do(ctx, client.Request{Method: http.MethodPost, Path: alertsPath + "/receivers/" + url.PathEscape(name) + "/test"})
	if err != nil {
		return err
	}
	if s.json {
		return s.raw(a.Body)
	}
	s.say("A trial message for %s is on its way; `wattline alerts receivers` says whether it arrived.", name)
	return nil
}

func alertsAudit(f *flag.FlagSet) action {
	l := auditFilters(f)
	limit := f.Int("limit", 50, "the newest `n`; 0 for all")
	return func(ctx context.Context, s *session, args []string) error {
		if err := none(args); err != nil {
			return err
		}
		q, err := l.when(time.Now())
		if err != nil {
			return err
		}
		columns := []column{col("AT", "at"), col("WHO", "who"), col("WHAT", "what"), col("OBJECT", "object"), col("RESULT", "result"), col("FROM", "from"), col("WHY", "reason"), col("DETAIL", "detail")}
		return s.list(ctx, alertsPath+"/audit", q, columns, "Nothing of that is in the audit log.", *limit)
	}
}
