package hook_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/hook"
)

// heavy is a hook that says when a socket draws more than 2 kW. It hears the
// newest readings of all gateways, and may run in any number: replicas share them.
func heavy(ctx context.Context, broker string, out io.Writer) error {
	h := hook.Readings{
		Name:    "heavy",
		Filters: []string{bus.StateFilter},
		Handle: func(_ context.Context, d hook.Delivery) error {
			for _, r := range d.Readings {
				if r.Measurement == "power" && r.Value > 2000 {
					fmt.Fprintf(out, "%v draws %.0f %s since %v\n", r.Device, r.Value, r.Unit, r.Time.Time().UTC())
				}
			}
			return nil
		},
	}
	return h.Run(ctx, bus.Options{URL: broker}, slog.Default())
}

// A hook of twenty lines, which runs until it is interrupted.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := heavy(ctx, "tcp://127.0.0.1:1883", os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}
