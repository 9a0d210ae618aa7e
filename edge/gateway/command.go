package gateway

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

// command hands a command to the controller and its results to the asker. It is
// called by the connection's reader and returns at once.
func (g *Gateway) command(ctx context.Context, m bus.Message) {
	if m.Retained { // commands never are: somebody else's mistake must not switch
		return
	}
	e, err := bus.Decode(m.Payload)
	var cmd contract.GatewayCommand
	if err == nil {
		err = json.Unmarshal(e.Data, &cmd)
	}
	answer := func(data any, failure string) {
		if !g.answers(e.ResponseTopic) {
			return
		}
		reply := bus.Envelope{ID: e.ID}
		if failure != "" {
			reply.Error = bus.Text(failure)
		} else if reply.Data, err = json.Marshal(data); err != nil {
			reply.Error = bus.Text("results could not be encoded")
		}
		payload, err := reply.Encode()
		if err == nil {
			err = g.link.Send(bus.Message{Topic: e.ResponseTopic, Payload: payload})
		}
		if err != nil {
			g.log.WarnContext(ctx, "results of a command not sent", slog.Any("err", err))
		}
	}
	if err != nil {
		g.misheard(ctx, "malformed command", err)
		answer(nil, "malformed command: "+err.Error())
		return
	}
	if cmd.Look {
		g.discovery.Look()
		if len(cmd.Switches) == 0 {
			answer(contract.Results{}, "")
			return
		}
	}
	g.controller.Command(context.WithoutCancel(ctx), cmd, func(r contract.Results) { answer(r, "") })
}

// answers reports whether a gateway may answer on a topic: it is one of
// sp_command's, and this gateway's place below it.
func (g *Gateway) answers(topic string) bool {
	levels := strings.Split(topic, "/")
	return len(levels) > 4 && levels[1] == "sp_command" && levels[3] == g.config.Gateway && bus.IsResponse(topic)
}

// misheard counts a message that makes no sense, and logs each kind once a minute:
// whoever sends one may send thousands.
func (g *Gateway) misheard(ctx context.Context, what string, err error) {
	g.malformed.Inc()
	if g.sparing.May(what) {
		g.log.WarnContext(ctx, what, slog.Any("err", err)) //nolint:sloglint // one of a few constants
	}
}
