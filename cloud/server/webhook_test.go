package server_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/hooks/webhook"
	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/cloud/server"
	"github.com/wattline/wattline/shared/bus"
)

// What an agent sends goes through the whole cloud to a receiver.
func TestTheRoleWebhookDelivers(t *testing.T) {
	bodies := make(chan string, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil {
			bodies <- r.Header.Get("Wattline-Database") + " " + string(body)
		}
	}))
	t.Cleanup(receiver.Close)
	dir := t.TempDir()
	cfg := server.DefaultConfig()
	cfg.Data, cfg.Broker.Listen, cfg.HTTP.Listen = dir, "127.0.0.1:0", "127.0.0.1:0"
	cfg.Registry.Inventory, cfg.InfluxD.Binary = filepath.Join(dir, "inventory.yaml"), influxtest.Config(t).Binary
	cfg.Webhook.Receivers = []webhook.Receiver{{Name: "test", URL: receiver.URL, Secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}
	if err := os.WriteFile(cfg.Registry.Inventory, []byte(inventory), 0o600); err != nil {
		t.Fatal(err)
	}
	ready, done := make(chan string, 1), make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	options := server.Options{Ready: func(_, broker string) { ready <- broker }}
	go func() { done <- server.Run(ctx, cfg, server.Roles(), options, slog.New(slog.DiscardHandler)) }()
	var broker string
	select {
	case broker = <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	link := bus.NewLink(bus.Options{URL: broker, ClientID: "agent"}, slog.New(slog.DiscardHandler))
	linked := make(chan error, 1)
	go func() { linked <- link.Run(ctx) }()
	const payload = `{"id":"a-1","response_topic":"responses/agent/receipts","data":[{"n":"weather_x1/temperature","u":"Cel","t":1767323045.5,"v":21.5}]}`
	const want = `sp [{"n":"weather_x1/temperature","u":"Cel","t":1767323045.5,"v":21.5}]`
	for got := ""; got == ""; { // an agent sends again what it has no receipt of
		if err := link.Publish(ctx, bus.Message{Topic: "data/agent/influx_data/sp", Payload: []byte(payload)}); err != nil {
			t.Fatal(err)
		}
		select {
		case got = <-bodies:
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		case <-time.After(5 * time.Second):
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	<-linked
	if _, err := os.Stat(filepath.Join(dir, "webhook", "webhook.db")); err != nil {
		t.Error(err)
	}
}

func TestTheRoleWebhookNeedsInfluxDBOnlyForReceivers(t *testing.T) {
	cfg := server.DefaultConfig()
	alone := []server.Role{server.RoleWebhook}
	if _, err := cfg.Check(alone); err != nil {
		t.Errorf("without receivers: %v", err)
	}
	cfg.Webhook.Receivers = []webhook.Receiver{{Name: "test"}}
	if _, err := cfg.Check(alone); err == nil || !strings.Contains(err.Error(), "influx.url") {
		t.Errorf("with one: %v", err)
	}
	err := cfg.Validate()
	for _, key := range []string{"webhook.receivers[0].url", "webhook.receivers[0].secret"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("no word of %s in %v", key, err)
		}
	}
	if !slices.Contains(server.Roles(), server.RoleWebhook) || !strings.Contains(server.RoleNames(), "webhook") {
		t.Error("the role is not listed")
	}
}
