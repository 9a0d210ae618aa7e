package broker_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/broker"
	"github.com/wattline/wattline/shared/bus"
)

// What the cloud says to the world nobody else says in its place.
func TestGuestsDoNotPublishWhatTheCloudRepublishes(t *testing.T) {
	for name, tc := range map[string]struct {
		commands bool
		passes   []string
		not      []string
	}{
		"with commands": {true, []string{"wattline/sp_f1.g0/set", "homeassistant/status", "homeassistant/device/other/config", "wattlines/x"}, []string{
			"wattline/sp_f1.g0/power", "wattline/gateways/edge-f1/availability", "wattline/availability", "homeassistant/device/wattline_sp_f1_g0/config",
			"wattline/a/b/set", "wattline/set", "wattline",
		}},
		"without": {false, []string{"homeassistant/status"}, []string{"wattline/sp_f1.g0/set", "wattline/sp_f1.g0/power"}},
	} {
		t.Run(name, func(t *testing.T) {
			quiet := slog.New(slog.DiscardHandler)
			cfg := broker.DefaultConfig()
			cfg.Listen, cfg.Password = "127.0.0.1:0", "of the roles"
			b, err := broker.Start(t.Context(), cfg, quiet, broker.WithOutlet(broker.Outlet{Prefix: "wattline", HomeAssistant: "homeassistant", Commands: tc.commands}))
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			heard := make(chan string, 100)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			role := bus.NewLink(bus.Options{URL: b.URL(), ClientID: "role", Username: broker.RoleUser, Password: "of the roles", Up: func(ctx context.Context, s *bus.Session) error {
				return s.Subscribe(ctx, "#", func(m bus.Message) { heard <- m.Topic })
			}}, quiet)
			guest := bus.NewLink(bus.Options{URL: b.URL(), ClientID: "guest"}, quiet)
			done := make(chan struct{}, 2)
			for _, l := range []*bus.Link{role, guest} {
				go func() { _ = l.Run(ctx); done <- struct{}{} }()
			}
			defer func() { cancel(); <-done; <-done }()
			if err := role.AwaitUp(ctx); err != nil {
				t.Fatal(err)
			}
			for _, topic := range append(append([]string{}, tc.not...), tc.passes...) {
				_ = guest.Publish(ctx, bus.Message{Topic: topic, Payload: []byte("x"), QoS0: true}) // a refused one is not acknowledged
			}
			for _, want := range tc.passes {
				select {
				case got := <-heard:
					if got != want {
						t.Errorf("heard %s, want %s", got, want)
					}
				case <-ctx.Done():
					t.Fatalf("%s is not passed on", want)
				}
			}
		})
	}
}
