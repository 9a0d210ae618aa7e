package main

import (
	"context"
	"flag"
	"net/http"
	"strings"
)

var gatewayColumns = []column{
	col("ID", "id", "gateway"), col("FLOOR", "floor"), col("LABEL", "label"), col("ONLINE", "online"), col("TRUST", "trust"), col("VERSION", "status.version"),
	{title: "PLUGS", of: plugsOf},
	col("WAITING", "status.outbox.readings"),
	{title: "CONFIG", of: configOf},
	col("LAST HEARD", "heard"),
}

// plugsOf is how many plugs answer of how many.
func plugsOf(d document) string {
	if d.at("status") == nil {
		return d.text("places")
	}
	return d.text("status.plugs.reachable") + "/" + d.text("status.plugs.configured")
}

// configOf is the configuration that a gateway runs, and the one it should.
func configOf(d document) string {
	runs, wanted := d.text("status.config_version"), d.text("config_version_wanted")
	if runs == wanted || wanted == "" || runs == "" {
		return runs
	}
	return runs + " (" + wanted + " wanted)"
}

func gatewayCommands() []command {
	return []command{
		{name: "gateways list", short: "gateways and how they are", bind: noFlags(gatewaysList)},
		{name: "gateways show", args: "ID", short: "one gateway, all that is known of it", bind: noFlags(gatewaysShow)},
		{
			name: "gateways create", args: "ID --floor N", short: "make a gateway, for a box to become", bind: gatewaysCreate,
			long:     "The id is for ever and never given to another; people may rename the label.",
			examples: []string{`wattline gateways create edge-f2 --floor 2 --label "Second floor"`, "wattline gateways join-token edge-f2"},
		},
		{name: "gateways change", args: "ID", short: "change what is said of a gateway", bind: gatewaysChange, examples: []string{"wattline gateways change edge-f2 --poll 5 --stagger 500"}},
		{name: "gateways delete", args: "ID...", short: "take gateways away that have no places", bind: gatewaysDelete},
		{
			name: "gateways join-token", args: "ID", short: "a token with which one box may ask to be this gateway", bind: gatewaysJoin,
			long: "The token is shown once; a new one makes the one before void. With --out it goes\ninto a file instead of onto the screen.",
			examples: []string{
				"wattline gateways join-token edge-f2 --days 7", "wattline gateways join-token edge-f2 --out join.token",
			},
		},
		{name: "gateways requests", short: "boxes that wait to be approved, and how far the others are", bind: noFlags(gatewaysRequests)},
		{
			name: "gateways approve", args: "ID", short: "trust the box that asks to be this gateway", bind: gatewaysApprove,
			long:     "Compare the key with what the box shows on its page before you approve it;\n--key approves only a box whose key begins so.",
			examples: []string{"wattline gateways requests", "wattline gateways approve edge-f2 --key 3f9a12"},
		},
		{name: "gateways refuse", args: "ID", short: "send the box away that asks to be this gateway", bind: trusting("refuse", "%s is refused; a box needs a new join token to ask again.", "")},
		{
			name: "gateways revoke", args: "ID", short: "let a box not connect any more: lost, stolen, cloned", bind: gatewaysRevoke,
			long: "All certificates of the gateway, or with --serial that one, are refused from now\non, and its connections are cut. What its outbox holds stays there.",
		},
	}
}

func gatewaysList(ctx context.Context, s *session, args []string) error {
	if err := none(args); err != nil {
		return err
	}
	return s.list(ctx, "/api/v1/gateways", nil, gatewayColumns, "There are no gateways yet. `wattline gateways create` makes one.", 0)
}

func gatewaysShow(ctx context.Context, s *session, args []string) error {
	id, err := one(args, "the id of one gateway")
	if err != nil {
		return err
	}
	d, _, err := s.get(ctx, under("gateways", id))
	if err != nil {
		return err
	}
	return s.show(d)
}

func (m members) gateway(f *flag.FlagSet) {
	m.text(f, "label", "label", "what people call it")
	m.whole(f, "floor", "floor", "`number` of its floor")
	m.number(f, "poll", "poll_seconds", "`seconds` between two polls of a plug; 10 without")
	m.whole(f, "stagger", "stagger_ms", "`ms` between two plugs that one command switches on; 250 without")
	m.text(f, "database", "database", "where its readings are stored; sp without")
	m.ranges(f)
}

// ranges adds the flags for where a gateway looks for plugs.
func (m members) ranges(f *flag.FlagSet) {
	look := func() map[string]any {
		if d, ok := m["discovery"].(map[string]any); ok {
			return d
		}
		d := map[string]any{}
		m["discovery"] = d
		return d
	}
	f.Func("scan", "address `ranges` in which it looks for plugs, as 10.2.0.0/22,10.3.0.10-10.3.0.90", func(v string) error {
		look()["ranges"] = strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' })
		return nil
	})
	f.BoolFunc("broadcast", "look for plugs in the networks it is in itself; --broadcast=false stops it", func(v string) error {
		look()["broadcast"] = v != "false"
		return nil
	})
}

func gatewaysCreate(f *flag.FlagSet) action {
	m, c := members{}, &changing{}
	m.gateway(f)
	c.bind(f)
	return func(ctx context.Context, s *session, args []string) error {
		id, err := one(args, "the id of one gateway, such as edge-f2")
		if err != nil {
			return err
		}
		if m["floor"] == nil {
			return usage("--floor is required")
		}
		m["gateway"] = id
		if _, err := s.change(ctx, c, http.MethodPost, "/api/v1/gateways", m); err != nil {
			return err
		}
		c.done(s, "%s is made. `wattline gateways join-token %s` lets a box become it.", id, id)
		return nil
	}
}

func gatewaysChange(f *flag.FlagSet) action {
	m, c := members{}, &changing{}
	m.gateway(f)
	c.bind(f)
	return func(ctx context.Context, s *session, args []string) error {
		id, err := one(args, "the id of one gateway")
		if err != nil {
			return err
		}
		if err := s.edit(ctx, c, under("gateways", id), m); err != nil {
			return err
		}
		c.done(s, "%s is changed.", id)
		return nil
	}
}

func gatewaysDelete(f *flag.FlagSet) action {
	return deleting(f, "gateways", "the ids of gateways", "%s is deleted.", question{"Delete %s", "Delete %d gateways"})
}

// gatewaysJoin shows a secret once, on the screen or in a file of mode 0600.
func gatewaysJoin(f *flag.FlagSet) action {
	m, c := members{}, &changing{}
	days := amountVar(f, "days", maxDays, "how many `days` it may lie unused; 30 without")
	out := f.String("out", "", "`file` for the token, which must not be there yet")
	c.bind(f)
	return func(ctx context.Context, s *session, args []string) error {
		id, err := one(args, "the id of one gateway")
		if err != nil {
			return err
		}
		if days.value > 0 {
			m["days"] = days.value
		}
		file, err := newSecretFile(*out)
		if err != nil {
			return err
		}
		defer file.drop()
		quiet := *s
		quiet.json = false // the answer is printed here
		d, err := quiet.change(ctx, c, http.MethodPost, under("gateways", id)+"/join-token", m)
		if err != nil {
			return err
		}
		s.opened = quiet.opened
		token := d.text("join_token")
		switch {
		case *out != "":
			if err := file.keep(token); err != nil {
				return err
			}
			delete(d, "join_token")
			if s.json {
				return s.show(d)
			}
			c.done(s, "The token is in %s.", *out)
			return nil
		case s.json:
			return s.show(d)
		}
		c.done(s, "%s\nOne box may ask with it to be %s, until %s. It is not shown again.", token, id, d.text("expires"))
		return nil
	}
}

func gatewaysRequests(ctx context.Context, s *session, args []string) error {
	if err := none(args); err != nil {
		return err
	}
	columns := []column{
		col("GATEWAY", "gateway"), col("TRUST", "trust"), col("ASKS WITH KEY", "asked.key"), col("SINCE", "asked.at"), col("JOIN TOKEN UNTIL", "join_expires"),
		{title: "CERTIFICATE UNTIL", of: func(d document) string {
			list, _ := d.at("certificates").([]any)
			if len(list) == 0 {
				return ""
			}
			newest, _ := list[len(list)-1].(map[string]any)
			return textOf(newest["expires"])
		}},
	}
	return s.list(ctx, "/api/v1/enrolments", nil, columns, "No gateway has been given a join token yet.", 0)
}

func gatewaysApprove(f *flag.FlagSet) action {
	return trustingWith(f, "approve", "key", "only a box whose key begins with these `digits`", "%s is trusted and gets its certificate.", "")
}

func gatewaysRevoke(f *flag.FlagSet) action {
	return trustingWith(f, "revoke", "serial", "only the certificate of this `number`", "%s is revoked.", "Revoke %s? Its boxes cannot connect any more")
}

// trusting is the bind of a step of trust.
func trusting(verb, done, question string) func(*flag.FlagSet) action {
	return func(f *flag.FlagSet) action { return trustingWith(f, verb, "", "", done, question) }
}

func trustingWith(f *flag.FlagSet, verb, member, usage, done, question string) action {
	m, c := members{}, &changing{}
	if member != "" {
		m.text(f, member, member, usage)
	}
	c.bind(f)
	yes := question == ""
	if question != "" {
		f.BoolVar(&yes, "yes", false, "do not ask")
	}
	return func(ctx context.Context, s *session, args []string) error {
		id, err := one(args, "the id of one gateway")
		if err != nil {
			return err
		}
		if err := s.confirm(yes || c.dry, strings.ReplaceAll(question, "%s", id)+"?"); err != nil {
			return err
		}
		if _, err := s.change(ctx, c, http.MethodPost, under("gateways", id)+"/"+verb, m); err != nil {
			return err
		}
		c.done(s, done, id)
		return nil
	}
}
