package main

import (
	"context"
	"flag"
	"net/http"
	"net/url"
)

var plugColumns = []column{
	col("PLUG", "mac", "device_id", "id"), col("PLACE", "device", "place"), col("MODEL", "model"), col("HARDWARE", "hardware"), col("FIRMWARE", "firmware"),
	col("ADDRESS", "address"), col("GATEWAY", "gateway"), col("ALIAS", "alias"), col("LAST SEEN", "seen", "last_seen"), col("PROBLEM", "problem"),
}

func plugCommands() []command {
	return []command{
		{name: "plugs list", short: "every plug that is known", bind: plugsList},
		{
			name: "plugs found", short: "plugs that answer and have no place yet", bind: plugsFound,
			examples: []string{"wattline plugs found", "wattline plugs place AC:84:C6:59:D9:A1 sp_f2.g3"},
		},
		{
			name: "plugs place", args: "PLUG ID", short: "put a plug at a place", bind: plugsPlace,
			long:     "PLUG is a MAC or a deviceId. A plug that is at another place leaves it; its\nreadings from then on belong to the new one.",
			examples: []string{"wattline plugs place AC:84:C6:59:D9:A1 sp_f2.g3"},
		},
		{
			name: "plugs swap", args: "ID PLUG", short: "another plug at a place, whose history goes on", bind: plugsSwap,
			examples: []string{`wattline plugs swap sp_f2.g3 AC:84:C6:59:D9:A2 --reason "the old one was hot"`},
		},
		{name: "plugs unplace", args: "ID...", short: "take the plugs away from places", bind: plugsUnplace},
		{name: "plugs forget", args: "PLUG...", short: "forget plugs; those that answer are found again", bind: plugsForget},
	}
}

func plugsList(f *flag.FlagSet) action {
	l := filters{}
	l.add(f, "gateway", "only those that this `gateway` sees")
	l.add(f, "model", "only this `model`")
	l.add(f, "placed", "yes: only those at a place, no: only the others")
	l.add(f, "problem", "only those with this `problem`: locked, unsupported, vanished")
	limit := f.Int("limit", 0, "at most `n`; all without")
	return func(ctx context.Context, s *session, args []string) error {
		if err := none(args); err != nil {
			return err
		}
		return s.list(ctx, "/api/v1/plugs", l.query(), plugColumns, "There are no such plugs. A gateway tells of those that it finds.", *limit)
	}
}

func plugsFound(f *flag.FlagSet) action {
	gateway := f.String("gateway", "", "only those that this `gateway` sees")
	return func(ctx context.Context, s *session, args []string) error {
		if err := none(args); err != nil {
			return err
		}
		q := url.Values{"placed": {"no"}}
		if *gateway != "" {
			q.Set("gateway", *gateway)
		}
		return s.list(ctx, "/api/v1/plugs", q, plugColumns, "No plug waits for a place.", 0)
	}
}

func plugsPlace(f *flag.FlagSet) action { return placing(f, 0, 1, "a plug and the id of a place") }

func plugsSwap(f *flag.FlagSet) action { return placing(f, 1, 0, "the id of a place and a plug") }

// placing puts the plug among the arguments at the place among them.
func placing(f *flag.FlagSet, plug, place int, what string) action {
	c := &changing{}
	c.bind(f)
	address := f.String("address", "", "`host` or host:port of the plug, where it was not found")
	return func(ctx context.Context, s *session, args []string) error {
		if len(args) != 2 {
			return usage("want %s, got %d arguments", what, len(args))
		}
		body := members{"plug": args[plug]}
		if *address != "" {
			body["address"] = *address
		}
		if _, err := s.change(ctx, c, http.MethodPut, under("devices", args[place])+"/plug", body); err != nil {
			return err
		}
		c.done(s, "%s is at %s.", args[plug], args[place])
		return nil
	}
}

func plugsUnplace(f *flag.FlagSet) action {
	c := &changing{}
	c.bind(f)
	return func(ctx context.Context, s *session, args []string) error {
		if err := some(args, "the ids of places"); err != nil {
			return err
		}
		return s.each(c, args, func(c *changing, id string) error {
			if _, err := s.change(ctx, c, http.MethodDelete, under("devices", id)+"/plug", nil); err != nil {
				return err
			}
			c.done(s, "%s has no plug any more.", id)
			return nil
		})
	}
}

func plugsForget(f *flag.FlagSet) action {
	return deleting(f, "plugs", "the MACs or deviceIds of plugs", "%s is forgotten.", question{"Forget %s", "Forget %d plugs"})
}
