package hook_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/hook"
)

// A hook that says when a socket draws more than 2 kW. It hears the newest
// readings of all gateways, and may run in any number: replicas share them.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	heavy := hook.Readings{
		Name:    "heavy",
		Filters: []string{bus.StateFilter},
		Handle: func(_ context.Context, d hook.Delivery) error {
			for _, r := range d.Readings {
				if r.Measurement == "power" && r.Value > 2000 {
					fmt.Printf("%v draws %.0f %s since %v\n", r.Device, r.Value, r.Unit, r.Time.Time())
				}
			}
			return nil
		},
	}
	if err := heavy.Run(ctx, bus.Options{URL: "tcp://127.0.0.1:1883"}, slog.Default()); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}
