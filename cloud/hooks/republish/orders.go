package republish

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
)

const (
	who         = Name
	switchers   = 16 // commands under way
	waiting     = 256
	waitingSize = 1 << 20
	answerTime  = 15 * time.Second
)

// orders are Home Assistant's commands on their way to sp_command.
type orders struct {
	hook    *Hook
	queue   *hook.Queue
	asker   *bus.Asker
	sparing hook.Sparing
}

func newOrders(h *Hook) *orders {
	return &orders{hook: h, queue: hook.NewQueue(waiting, waitingSize)}
}

// take is called by the connection's reader.
func (o *orders) take(m bus.Message) {
	if !o.queue.Put(m) {
		o.hook.count.commands.With("shed").Inc()
		if o.sparing.May("shed") {
			o.hook.log.Warn("more commands than can be carried out", slog.String("component", Name))
		}
	}
}

func (o *orders) run(ctx context.Context, options bus.Options) error {
	instance := hook.Instance()
	options.ClientID = Name + "-ask-" + instance
	o.asker = bus.NewAsker(Name+"/"+instance, options, nil, o.hook.log)
	ctx, stop := context.WithCancel(ctx)
	var workers sync.WaitGroup
	for range switchers {
		workers.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case m := <-o.queue.Next():
					o.queue.Took(m)
					o.obey(ctx, m)
				}
			}
		})
	}
	err := o.asker.Run(ctx)
	stop()
	workers.Wait()
	return err
}

// obey carries out one command. Home Assistant hears no answer: it sees the
// relay's state, which is what was measured.
func (o *orders) obey(ctx context.Context, m bus.Message) {
	id, outcome, detail := o.ask(ctx, m)
	o.hook.count.commands.With(outcome).Inc()
	if outcome != string(contract.Confirmed) && ctx.Err() == nil && o.sparing.May(id) {
		o.hook.log.WarnContext(ctx, "command of home-assistant not carried out", slog.String("device", id), slog.String("rule", outcome), slog.String("err", detail))
	}
}

func (o *orders) ask(ctx context.Context, m bus.Message) (id, outcome, detail string) {
	name, _, _ := strings.Cut(strings.TrimPrefix(m.Topic, o.hook.config.Prefix+"/"), "/")
	at, err := device.Parse(name)
	if err != nil {
		return "", "malformed", err.Error()
	}
	on := string(m.Payload) == "ON"
	if !on && string(m.Payload) != "OFF" {
		return name, "malformed", "the payload is neither ON nor OFF"
	}
	if m.Retained { // nobody knows how old it is
		return name, "retained", "a command must not be retained"
	}
	o.hook.mu.Lock()
	place, registered := o.hook.house.spelling(at)
	o.hook.mu.Unlock()
	switch {
	case !registered:
		return name, string(contract.NoSuchPlace), "it is not registered"
	case place.Protected != "":
		return name, string(contract.Refused), "it is protected: " + place.Protected
	}
	topic, err := bus.Command("sp_command", place.Device.String())
	if err != nil {
		return name, "malformed", err.Error()
	}
	data, err := json.Marshal(contract.SwitchRequest{On: on, Who: who, Reason: "switched in Home Assistant"})
	if err != nil {
		return name, "malformed", err.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	answer, err := o.asker.Once(ctx, topic, data, nil)
	if err != nil {
		return name, string(contract.Unknown), err.Error()
	}
	var results contract.SwitchAnswer
	if text := answer.ErrorText(); text != "" {
		return name, "error", text
	}
	if err := json.Unmarshal(answer.Data, &results); err != nil || len(results.Results) == 0 {
		return name, "error", "an answer that is none"
	}
	return name, string(results.Results[0].Outcome), results.Results[0].Detail
}
