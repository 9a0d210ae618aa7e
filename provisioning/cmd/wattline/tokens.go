package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

func tokenCommands() []command {
	return []command{
		{name: "tokens list", short: "who may do what over REST", bind: noFlags(tokensList)},
		{
			name: "tokens create", args: "NAME --role ROLE", short: "let a person or a program in", bind: tokensCreate,
			long: "Roles: viewer looks, operator switches too, admin changes the site too. The\ntoken is shown once, or goes into a file with --out.",
			examples: []string{
				"wattline tokens create ana --role operator --floors 1,2 --days 365", "wattline tokens create grafana --role viewer --out grafana.token",
			},
		},
		{name: "tokens delete", args: "NAME...", short: "let somebody in no longer", bind: tokensDelete},
		{
			name: "audit", short: "who changed, switched or hushed what, when, why, with what result", bind: auditList,
			examples: []string{"wattline audit --who ana --from 2026-03-01T00:00:00Z", "wattline audit --object sp_f1.g0 --limit 20", "wattline audit --result refused"},
		},
	}
}

func tokensList(ctx context.Context, s *session, args []string) error {
	if err := none(args); err != nil {
		return err
	}
	columns := []column{
		col("ID", "id"), col("NAME", "name"), col("ROLE", "role"),
		{title: "FLOORS", of: func(d document) string {
			if t := d.text("floors"); t != "" {
				return t
			}
			return "all"
		}},
		col("CREATED", "created"), col("EXPIRES", "expires"),
	}
	return s.list(ctx, "/api/v1/tokens", nil, columns, "There are no tokens: only loopback is let in.", 0)
}

func tokensCreate(f *flag.FlagSet) action {
	m, c := members{}, &changing{}
	m.text(f, "role", "role", "viewer, operator or admin")
	days := amountVar(f, "days", maxDays, "`days` until it ends; never without")
	out := f.String("out", "", "`file` for the token, which must not be there yet")
	floors := f.String("floors", "", "only these floors, as a `list` 1,2")
	c.bind(f)
	return func(ctx context.Context, s *session, args []string) error {
		name, err := one(args, "one name")
		if err != nil {
			return err
		}
		m["name"] = name
		if m["role"] == nil {
			return usage("--role is required: viewer, operator or admin")
		}
		if days.value > 0 {
			m["expires"] = time.Now().Add(time.Duration(days.value * 24 * float64(time.Hour))).UTC().Format(time.RFC3339)
		}
		if *floors != "" {
			if m["floors"], err = numbers(*floors); err != nil {
				return usage("--floors: %v", err)
			}
		}
		return s.createToken(ctx, c, m, *out)
	}
}

func numbers(text string) ([]int, error) {
	var list []int
	for item := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(item))
		if err != nil {
			return nil, fmt.Errorf("%q is not a whole number", item)
		}
		list = append(list, n)
	}
	return list, nil
}

func (s *session) createToken(ctx context.Context, c *changing, m members, out string) error {
	file, err := newSecretFile(out)
	if err != nil {
		return err
	}
	defer file.drop()
	quiet := *s
	quiet.json = false // the answer is printed here
	d, err := quiet.change(ctx, c, http.MethodPost, "/api/v1/tokens", m)
	s.opened = quiet.opened
	if err != nil {
		return err
	}
	if out != "" {
		if err := file.keep(d.text("secret")); err != nil {
			return fmt.Errorf("the token %s is made, and lost: %w; `wattline tokens delete %s` takes it away", d.text("id"), err, d.text("id"))
		}
		delete(d, "secret")
	}
	switch {
	case s.json:
		return s.show(d)
	case out != "":
		c.done(s, "The token is in %s; its id is %s.", out, d.text("id"))
	default:
		c.done(s, "%s\nIts id is %s. The token is not shown again.", d.text("secret"), d.text("id"))
	}
	return nil
}

func tokensDelete(f *flag.FlagSet) action {
	return deleting(f, "tokens", "the names or ids of tokens", "%s is let in no longer.", question{"Delete %s", "Delete %d tokens"})
}

// auditFilters narrow a log of who did what.
func auditFilters(f *flag.FlagSet) filters {
	l := filters{}
	l.add(f, "who", "only by this `name`; a * at the end stands for anything")
	l.add(f, "what", "only this `action`, such as \"change place\"")
	l.add(f, "object", "only about this `id`")
	l.add(f, "result", "only with this `result`: done, refused, failed")
	l.add(f, "from", "from this `time` on: 7d ago, RFC 3339 or POSIX seconds")
	l.add(f, "to", "until before this `time`")
	return l
}

func auditList(f *flag.FlagSet) action {
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
		columns := []column{
			col("AT", "at"), col("WHO", "who"), col("WHAT", "what"), col("OBJECT", "object"), col("RESULT", "result"), col("FROM", "from"), col("REASON", "reason"), col("DETAIL", "detail"),
		}
		return s.list(ctx, "/api/v1/audit", q, columns, "Nothing of that is in the audit log.", *limit)
	}
}
