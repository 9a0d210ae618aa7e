package gateway

import (
	"context"
	"encoding/json"
	"log/slog"

	"github.com/wattline/wattline/edge/discovery"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/device"
)

// openDiscovery makes the part that looks for plugs.
func (g *Gateway) openDiscovery(o discovery.Options) {
	g.found = make(chan struct{}, 1)
	o.Gateway, o.Clock, o.Metrics, o.Changed = g.config.Gateway, g.clock.Now, g.metrics, g.foundNow
	o.Moved = func(id device.ID, address string) { g.floor.moved(id, address) }
	g.discovery = discovery.New(o, g.log)
}

// foundNow makes the list of plugs due to be published.
func (g *Gateway) foundNow() {
	select {
	case g.found <- struct{}{}:
	default:
	}
}

// tellFound publishes the plugs around, retained, when they change and on each
// new connection.
func (g *Gateway) tellFound(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.found:
		}
		f, ok := g.discovery.Found()
		if !ok || !g.link.IsUp() {
			continue // told on the next connection
		}
		payload, err := json.Marshal(f)
		if err == nil {
			err = g.link.Send(bus.Message{Topic: bus.FoundTopic(g.config.Gateway), Payload: payload, Retained: true})
		}
		if err != nil {
			g.log.DebugContext(ctx, "found plugs not told", slog.Any("err", err))
		}
	}
}
