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
		if !strings.HasPrefix(e.ResponseTopic, "responses/sp_command/") || bus.CheckTopic(e.ResponseTopic) != nil {
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
		g.log.WarnContext(ctx, "malformed command", slog.Any("err", err))
		answer(nil, "malformed command: "+err.Error())
		return
	}
	g.controller.Command(context.WithoutCancel(ctx), cmd, func(r contract.Results) { answer(r, "") })
}
