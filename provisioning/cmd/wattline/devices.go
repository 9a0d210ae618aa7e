package main

import (
	"context"
	"flag"
	"net/http"
)

var deviceColumns = []column{
	col("ID", "id"), col("LABEL", "label"), col("OWNER", "owner"), col("GATEWAY", "gateway"), col("ADDRESS", "plug.address"), col("MAC", "plug.mac"),
	col("PROTECTED", "protected"), col("PROBLEM", "problem.reason"),
}

func deviceCommands() []command {
	return []command{
		{
			name: "devices list", short: "places with their plugs", bind: devicesList,
			examples: []string{"wattline devices list --floor 2 --type w", "wattline devices list --json | jq -r '.[].id'"},
		},
		{name: "devices show", args: "ID", short: "one place, its plug, and what is wrong with it", bind: noFlags(devicesShow), examples: []string{"wattline devices show sp_f2.w.r1.c1"}},
		{
			name: "devices create", args: "ID", short: "make a new place", bind: devicesCreate,
			long:     "The id names floor, type and number, or row and column, for ever. A place that\nreplaces another names it as its predecessor.",
			examples: []string{`wattline devices create sp_f2.g3 --label "Sala Goya"`, "wattline devices create sp_f2.w.r4.c1 --mac AC:84:C6:59:D9:A1 --predecessor sp_f2.w.r3.c9"},
		},
		{
			name: "devices change", args: "ID", short: "change what is said of a place", bind: devicesChange,
			long:     "Only what is given changes; an empty value takes a value away.",
			examples: []string{`wattline devices change sp_f2.g3 --label "Sala Goya" --owner ""`},
		},
		{
			name: "devices delete", args: "ID...", short: "take places away; their history stays", bind: devicesDelete,
			long: "The readings of a deleted place stay and can be asked for by its id. Its plug is\nfree to be placed elsewhere.",
		},
		{
			name: "devices protect", args: "ID... --reason WHY", short: "never switch these places, whoever asks", bind: devicesProtect,
			examples: []string{`wattline devices protect sp_f1.g5 --reason "the switch of the network"`},
		},
		{name: "devices unprotect", args: "ID...", short: "let these places be switched again", bind: devicesUnprotect},
	}
}

func devicesList(f *flag.FlagSet) action {
	l := filters{}
	for _, name := range []string{"type", "floor", "row", "column", "gateway"} {
		l.add(f, name, "only these, as in a `list` 1,2")
	}
	limit := f.Int("limit", 0, "at most `n`; all without")
	return func(ctx context.Context, s *session, args []string) error {
		if err := none(args); err != nil {
			return err
		}
		empty := "There are no such places."
		if len(l.query()) == 0 {
			empty = "There are no places yet. `wattline import FILE` or `wattline devices create` makes them."
		}
		return s.list(ctx, "/api/v1/devices", l.query(), deviceColumns, empty, *limit)
	}
}

func devicesShow(ctx context.Context, s *session, args []string) error {
	id, err := one(args, "the id of one place")
	if err != nil {
		return err
	}
	d, _, err := s.get(ctx, under("devices", id))
	if err != nil {
		return err
	}
	return s.show(d)
}

// describe adds the flags for what can be said of a place.
func (m members) describe(f *flag.FlagSet) {
	m.text(f, "label", "label", "what people call it")
	m.text(f, "owner", "owner", "whose it is")
	m.number(f, "max-power", "max_power_w", "plausible maximum in `W`")
	m.text(f, "predecessor", "predecessor", "`id` of the place that was here before")
	m.text(f, "gateway", "gateway", "`id` of its gateway; the one on its floor without")
	m.number(f, "poll", "poll_seconds", "`seconds` between two polls, instead of the gateway's")
}

func devicesCreate(f *flag.FlagSet) action {
	m, c := members{}, &changing{}
	m.describe(f)
	m.text(f, "protected", "protected", "never switch it; `why`")
	m.text(f, "address", "address", "`host` or host:port of its plug")
	m.text(f, "mac", "mac", "MAC of its plug")
	m.text(f, "device-id", "device_id", "40 hex digits of its plug")
	m.text(f, "driver", "driver", "`driver` of its plug, hs110 or shelly; hs110 without")
	c.bind(f)
	return func(ctx context.Context, s *session, args []string) error {
		id, err := one(args, "the id of one place")
		if err != nil {
			return err
		}
		m["device"] = id
		if _, err := s.change(ctx, c, http.MethodPost, "/api/v1/devices", m); err != nil {
			return err
		}
		c.done(s, "%s is made.", id)
		return nil
	}
}

func devicesChange(f *flag.FlagSet) action {
	m, c := members{}, &changing{}
	m.describe(f)
	m.text(f, "address", "address", "`host` or host:port of its plug")
	c.bind(f)
	return func(ctx context.Context, s *session, args []string) error {
		id, err := one(args, "the id of one place")
		if err != nil {
			return err
		}
		if err := s.edit(ctx, c, under("devices", id), m); err != nil {
			return err
		}
		c.done(s, "%s is changed.", id)
		return nil
	}
}

func devicesDelete(f *flag.FlagSet) action {
	return deleting(f, "devices", "the ids of places", "%s is deleted; its readings stay.", question{"Delete %s, whose readings stay", "Delete %d places, whose readings stay"})
}

func devicesProtect(f *flag.FlagSet) action {
	c := &changing{}
	c.bind(f)
	return func(ctx context.Context, s *session, args []string) error {
		if c.reason == "" {
			return usage("--reason is required: why the places must never be switched")
		}
		return s.protect(ctx, c, args, c.reason, "%s is protected; it counts when its gateway has confirmed it.")
	}
}

func devicesUnprotect(f *flag.FlagSet) action {
	c := &changing{}
	c.bind(f)
	return func(ctx context.Context, s *session, args []string) error {
		return s.protect(ctx, c, args, nil, "%s may be switched again.")
	}
}

func (s *session) protect(ctx context.Context, c *changing, ids []string, reason any, done string) error {
	if err := some(ids, "the ids of places"); err != nil {
		return err
	}
	return s.each(c, ids, func(c *changing, id string) error {
		if err := s.edit(ctx, c, under("devices", id), members{"protected": reason}); err != nil {
			return err
		}
		c.done(s, done, id)
		return nil
	})
}
