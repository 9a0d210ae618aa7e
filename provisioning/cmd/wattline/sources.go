package main

import (
	"context"
	"flag"
)

var sourceColumns = []column{
	col("SOURCE", "source"), col("KIND", "kind"), col("LEDGER", "ledger"), col("LAST HEARD", "heard"), col("MESSAGES", "messages"), col("STORED", "records"),
	col("QUARANTINED", "quarantined"), col("LIMITED", "limited"), col("MALFORMED", "malformed"), col("SERIES", "series"), col("LAST ERROR", "error"),
}

func sourceCommands() []command {
	return []command{
		{
			name: "sources", args: "[NAME]", short: "who sends readings, gateways and agents, and what became of them", bind: sources,
			long:     "Counted since the site began. LIMITED are messages that were not taken because\ntheir source was beyond its limits (influx_data.limits of the cloud). LEDGER is\nnumbered for a source whose completeness is proven, receipted for one that asks\nfor receipts, none for one whose lost messages nobody misses.",
			examples: []string{"wattline sources", "wattline sources lab-weather"},
		},
	}
}

func sources(f *flag.FlagSet) action {
	l := filters{}
	l.add(f, "prefix", "only sources whose `name` begins so")
	limit := f.Int("limit", 0, "at most `n`; all without")
	return func(ctx context.Context, s *session, args []string) error {
		if len(args) == 0 {
			return s.list(ctx, "/api/v1/sources", l.query(), sourceColumns, "Nothing was heard from any source yet.", *limit)
		}
		name, err := one(args, "the name of one source")
		if err != nil {
			return err
		}
		d, _, err := s.get(ctx, under("sources", name))
		if err != nil {
			return err
		}
		return s.show(d)
	}
}
