// Package main_test plays plugs to the agent through a real broker and reads what
// it publishes as Wattline's hooks do.
package main_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/bus/bustest"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
)

func TestTheAgentStoresWhatPlugsSay(t *testing.T) {
	for _, tool := range []string{"python3", "mosquitto_sub", "mosquitto_pub"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	broker := bustest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	heard, up := make(chan bus.Message, 100), make(chan struct{}, 10)
	link := bus.NewLink(bus.Options{URL: broker.URL, ClientID: "plugs", Up: func(ctx context.Context, s *bus.Session) error {
		if err := s.Subscribe(ctx, "data/tasmota/influx_data/sp", func(m bus.Message) { heard <- m }); err != nil {
			return err
		}
		up <- struct{}{}
		return nil
	}}, slog.New(slog.DiscardHandler))
	done := make(chan struct{})
	go func() { defer close(done); _ = link.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	<-up
	say := func(topic, payload string) {
		t.Helper()
		if err := link.Publish(ctx, bus.Message{Topic: topic, Payload: []byte(payload)}); err != nil {
			t.Fatal(err)
		}
	}
	complaints := runAgent(t, broker.URL)
	// Until it is there, one message again and again.
	ready := false
	for !ready {
		say("tele/tasmota_A1B2C3/STATE", `{"POWER":"ON"}`)
		select {
		case <-heard:
			ready = true
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("the agent says nothing")
		}
	}
	for len(heard) > 0 {
		<-heard
	}
	say("tele/tasmota_A1B2C3/SENSOR", `{"Time":"2018-02-15T17:37:10","ENERGY":{"Total":6.294,"Power":[61.5],"Voltage":227,"Current":0.27}}`)
	// None of these is a reading, and none may stop the agent.
	for _, nonsense := range []string{
		`{`, `[]`, `7`, `null`, `{"ENERGY":5}`, `{"ENERGY":{"Power":"a","Total":1e999}}`, strings.Repeat("[", 50_000), "\xff",
		`{"ENERGY":{"Power":1` + strings.Repeat("0", 400) + `}}`, "{}\ntele/tasmota_A1B2C3/STATE {\"POWER\":\"OFF\"}", "",
	} {
		say("tele/tasmota_A1B2C3/SENSOR", nonsense)
	}
	say("tele/tasmota_elsewhere/STATE", `{"POWER":"ON"}`)
	say("shellyplusplugs-a8032abe54dc/status/switch:0", `{"id":0,"output":false,"apower":0.0,"voltage":238.3,"current":0.000,"aenergy":{"total":2690.730}}`)
	say("shellyplusplugs-a8032abe54dc/events/rpc", `{"src":"x","method":"NotifyStatus","params":{"ts":1788945300.02,"switch:0":{"id":0,"apower":8.1}}}`)
	say("shellyplug-s-C18B12/events/rpc", `{"method":"NotifyEvent","params":{}}`)
	say("shellies/shellyplug-s-C18B12/relay/0/energy", "90")
	say("shellies/shellyplug-s-C18B12/relay/0", "overpower")
	say("shellies/shellyplug-s-C18B12/relay/0", "off")

	want := []map[string]float64{
		{"sp_f1.w.r0.c0/power": 61.5, "sp_f1.w.r0.c0/voltage": 227, "sp_f1.w.r0.c0/current": 0.27, "sp_f1.w.r0.c0/energy": 6294},
		{"sp_f1.w.r0.c1/power": 0, "sp_f1.w.r0.c1/voltage": 238.3, "sp_f1.w.r0.c1/current": 0, "sp_f1.w.r0.c1/energy": 2690.73, "sp_f1.w.r0.c1/status": 0},
		{"sp_f1.w.r0.c1/power": 8.1},
		{"sp_f1.g0/energy": 1.5},
		{"sp_f1.g0/status": 0},
	}
	for _, w := range want {
		got := next(t, ctx, heard)
		for maps.Equal(got, map[string]float64{"sp_f1.w.r0.c0/status": 1}) { // of the beginning
			got = next(t, ctx, heard)
		}
		if diff := cmp.Diff(w, got); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	}
	if text := complaints(); !strings.Contains(text, "not understood") || len(text) > 4000 {
		t.Errorf("it says of nonsense: %s", text)
	}
}

// next is what the next message stores, by name.
func next(t *testing.T, ctx context.Context, heard chan bus.Message) map[string]float64 { //nolint:revive // t goes first in tests
	t.Helper()
	var m bus.Message
	select {
	case m = <-heard:
	case <-ctx.Done():
		t.Fatal("waited for a message")
	}
	e, err := bus.Decode(m.Payload)
	if err != nil {
		t.Fatal(err)
	}
	records, err := senml.Decode(e.Data, bus.MaxRecords)
	if err != nil {
		t.Fatalf("%s: %v", m.Payload, err)
	}
	got := map[string]float64{}
	units := map[string]string{device.Power: "W", device.Voltage: "V", device.Current: "A", device.Energy: "Wh", device.Status: "/"}
	for _, r := range records {
		id, measurement, _ := strings.Cut(r.Name, "/")
		if _, err := device.Parse(id); err != nil {
			t.Error(err)
		}
		if r.Unit != units[measurement] || !r.Absolute || time.Since(r.Time.Time()).Abs() > time.Minute || r.Kind != senml.Number {
			t.Errorf("record %+v", r)
		}
		got[r.Name] = r.Value
	}
	return got
}

// runAgent starts the agent for the life of the test; what it complains of is told
// by the function returned, which ends it.
func runAgent(t *testing.T, broker string) (complaints func() string) {
	t.Helper()
	u, err := url.Parse(broker)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	cmd := exec.Command("./run", "places.json", "-h", u.Hostname(), "-p", u.Port())
	cmd.Stderr = &text
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // three programs end as one
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end := func() string {
		if !ended {
			ended = true
			if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
				t.Error(fmt.Errorf("end the agent: %w", err))
			}
			_ = cmd.Wait()
		}
		return text.String()
	}
	t.Cleanup(func() { end() })
	return end
}
