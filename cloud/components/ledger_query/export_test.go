package ledgerquery

import "context"

// Looker gives one look at a time at what the gauges show; Run takes one every
// minute.
func Looker(c *Component) func(ctx context.Context) {
	sources := make(map[string]bool)
	return func(ctx context.Context) { c.look(ctx, sources) }
}

// Watch is the part of Run that needs no broker.
func Watch(ctx context.Context, c *Component) { c.watch(ctx) }
