package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// building is everything that runs.
type building struct {
	settings
	out      io.Writer
	children []*child
	died     chan *child
}

func (b *building) say(format string, args ...any) { fmt.Fprintf(b.out, format+"\n", args...) }

// start brings the building up: plugs, cloud, gateways, first readings.
func (b *building) start(ctx context.Context) error {
	b.died = make(chan *child, 64)
	if err := os.MkdirAll(filepath.Join(b.data, "log"), 0o750); err != nil {
		return fmt.Errorf("make the log directory: %w", err)
	}
	b.say("data and logs in %s", b.data)
	for _, step := range []func(context.Context) error{b.startPlugs, b.startCloud, b.startGateways, b.awaitReadings} {
		if err := step(ctx); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (b *building) launch(ctx context.Context, name string, again func(context.Context) error, args ...string) (*child, error) {
	args[0] = filepath.Join(b.bin, args[0])
	c, err := startChild(ctx, name, logFile(b.data, name), args...)
	if err != nil {
		return nil, err
	}
	c.again = again
	b.children = append(b.children, c)
	go func() {
		<-c.done
		b.died <- c
	}()
	return c, nil
}

// downtime is how long a killed program stays away: long enough to see on a
// gateway's page how readings wait.
const downtime = 10 * time.Second

// watch runs until ctx ends. What somebody kills comes back, as a box in a
// cupboard would; a program that ends by itself is an error.
func (b *building) watch(ctx context.Context) error {
	var away []*child
	var back <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case dead := <-b.died:
			b.children = slices.DeleteFunc(b.children, func(c *child) bool { return c == dead })
			if !dead.killed() {
				return fmt.Errorf("%s ended by itself; its last lines:\n%s", dead.name, dead.tail())
			}
			b.say("%s was killed; it comes back in %v", dead.name, downtime)
			if away = append(away, dead); back == nil {
				back = time.After(downtime)
			}
		case <-back:
			for _, c := range away {
				if err := c.again(ctx); err != nil && ctx.Err() == nil {
					return err
				}
			}
			away, back = nil, nil
			b.say("processes now: %s", b.pids())
		}
	}
}

// stop ends what was started, in the order of the data's way: gateways, cloud,
// plugs.
func (b *building) stop() {
	order := func(c *child) int {
		return slices.IndexFunc([]string{"edge", "cloud", "plug"}, func(prefix string) bool { return strings.HasPrefix(c.name, prefix) })
	}
	slices.SortStableFunc(b.children, func(x, y *child) int { return order(x) - order(y) })
	for _, c := range b.children {
		c.stop()
	}
}

func (b *building) path(name string) string { return filepath.Join(b.data, name) }

func (b *building) startPlugs(ctx context.Context) error {
	c, err := b.launch(ctx, "plugsim", b.startPlugs, "plugsim", "-floors", fmt.Sprint(b.floors), "-unknown", "2", "-inventory", b.path("places.yaml"))
	if err != nil {
		return err
	}
	if err := c.until(ctx, c.said("ready"), 30*time.Second); err != nil {
		return err
	}
	text, err := os.ReadFile(c.log)
	if err != nil {
		return err
	}
	b.say("%s", strings.TrimSpace(string(text)))
	return b.writeInventory()
}

func (b *building) writeInventory() error {
	places, err := os.ReadFile(b.path("places.yaml"))
	if err != nil {
		return fmt.Errorf("read the plugs' places: %w", err)
	}
	var text strings.Builder
	text.WriteString("# Written by make run; it writes it anew at each start.\nsite: {name: Demonstration, default_floor: 1, time_zone: Europe/Madrid}\ngateways:\n")
	for n := 1; n <= b.floors; n++ {
		fmt.Fprintf(&text, "  - {id: edge-f%d, label: Floor %d, floor: %d}\n", n, n, n)
	}
	// One place is protected, to see what that means.
	text.WriteString(strings.Replace(string(places), "{device: sp_f1.g5,", `{device: sp_f1.g5, protected: "the switch of the network",`, 1))
	return os.WriteFile(b.path("inventory.yaml"), []byte(text.String()), 0o600)
}

func (b *building) startCloud(ctx context.Context) error {
	text := fmt.Sprintf("data: %q\nbroker: {listen: %q}\nhttp: {listen: %q}\nregistry: {inventory: %q}\ninfluxd: {binary: %q}\n",
		b.path("cloud"), b.mqtt, b.http, b.path("inventory.yaml"), filepath.Join(b.bin, "influxd"))
	if b.cloud != "" {
		more, err := os.ReadFile(b.cloud)
		if err != nil {
			return fmt.Errorf("read the cloud's further settings, WATTLINE_CLOUD: %w", err)
		}
		text += string(more)
	}
	if err := os.WriteFile(b.path("cloud.yaml"), []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the cloud's configuration: %w", err)
	}
	c, err := b.launch(ctx, "cloud", b.startCloud, "wattline-cloud", "-config", b.path("cloud.yaml"))
	if err != nil {
		return err
	}
	ready := func() bool { return b.get("/readyz", nil) == nil }
	if err := c.until(ctx, ready, 2*time.Minute); err != nil {
		return err
	}
	if err := b.importInventory(ctx); err != nil {
		return err
	}
	b.say("cloud: REST on http://%s, MQTT on %s, InfluxDB 1.8.10 inside", b.http, b.mqtt)
	return nil
}

// importInventory tells the registry of this run's plugs. What it has already
// stays as it is; addresses may be others than in the run before.
func (b *building) importInventory(ctx context.Context) error {
	text, err := os.ReadFile(b.path("inventory.yaml"))
	if err != nil {
		return fmt.Errorf("read the inventory: %w", err)
	}
	client := http.Client{Timeout: 5 * time.Second} // less than the registry may take to be heard
	for deadline := time.Now().Add(time.Minute); ; {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+b.http+"/api/v1/inventory?reason=make+run", bytes.NewReader(text))
		if err != nil {
			return fmt.Errorf("import the inventory: %w", err)
		}
		request.Header.Set("Content-Type", "application/yaml")
		answer, err := client.Do(request)
		var told []byte
		if err == nil {
			told, _ = io.ReadAll(io.LimitReader(answer.Body, 1<<20)) // for the message only
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(answer.Status)
		}
		temporary := answer == nil || answer.StatusCode >= http.StatusInternalServerError
		if !temporary || time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("import the inventory: %w %s", err, told)
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (b *building) startGateways(ctx context.Context) error {
	for n := 1; n <= b.floors; n++ {
		page, err := b.statusAddress(ctx, n)
		if err != nil {
			return err
		}
		if err := b.startGateway(ctx, n, page); err != nil {
			return err
		}
	}
	return nil
}

func (b *building) startGateway(ctx context.Context, n int, page string) error {
	name := fmt.Sprintf("edge-f%d", n)
	text := fmt.Sprintf("gateway: %s\ndata: %q\nbroker: {url: %q}\nstatus: {listen: %q}\n", name, b.path(name), "tcp://"+b.mqtt, page)
	if err := os.WriteFile(b.path(name+".yaml"), []byte(text), 0o600); err != nil {
		return fmt.Errorf("write a gateway's configuration: %w", err)
	}
	again := func(ctx context.Context) error { return b.startGateway(ctx, n, page) }
	c, err := b.launch(ctx, name, again, "wattline-edge", "-config", b.path(name+".yaml"))
	if err != nil {
		return err
	}
	if err := c.until(ctx, c.said("gateway starts"), 30*time.Second); err != nil {
		return err
	}
	b.say("gateway %s: its own page on http://%s", name, page)
	return nil
}

// awaitReadings waits until every floor's readings come out of InfluxDB.
func (b *building) awaitReadings(ctx context.Context) error {
	b.say("waiting for the first readings of every floor ...")
	deadline := time.Now().Add(time.Minute)
	for n := 1; n <= b.floors; n++ {
		var answer struct {
			Series []struct{ Points []any }
		}
		for len(answer.Series) == 0 || len(answer.Series[0].Points) == 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case dead := <-b.died:
				return fmt.Errorf("%s ended; its last lines:\n%s", dead.name, dead.tail())
			case <-time.After(200 * time.Millisecond):
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("no readings of floor %d after a minute: look into %s", n, b.path("log"))
			}
			since := time.Now().Add(-time.Minute).Unix()
			_ = b.get(fmt.Sprintf("/api/v1/readings?measurement=power&operation=last&floor=%d&from=%d", n, since), &answer)
		}
	}
	return nil
}

func (b *building) get(path string, into any) error {
	client := http.Client{Timeout: 5 * time.Second}
	answer, err := client.Get("http://" + b.http + path)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(answer.Body).Decode(into)
}

func (b *building) sayWhatNext() {
	u := "http://" + b.http
	b.say(`
It runs, %d places on each floor. Try, in another terminal:

  curl '%s/api/v1/devices?floor=1&type=g'
  curl '%s/api/v1/readings?measurement=power&id=sp_f1.w.r0.c0'
  curl '%s/api/v1/readings?measurement=power&operation=mean&every=1m&group_by=floor&fill=none&from=%d'
  curl -X PUT '%s/api/v1/devices/sp_f1.g0/relay' -H 'Content-Type: application/json' -d '{"on": false, "reason": "trying"}'
  curl -X POST '%s/api/v1/commands' -H 'Content-Type: application/json' -d '{"select": {"floor": 2, "row": 1}, "on": true}'
  curl -X PUT '%s/api/v1/devices/sp_f1.g5/relay' -H 'Content-Type: application/json' -d '{"on": false}'   # protected: refused
  curl '%s/api/v1/gateways'
  curl '%s/api/v1/ledger'                 # is anything missing?
  bin/wattline alerts --server %s     # what is wrong; also sources, doctor, help
  curl '%s/api/out/influx_query/sp/power?operation=mean&type=w'      # as IoToad's clients ask
  curl -X PUT '%s/api/in/sp_command/sp_g0' -H 'Content-Type: application/json' -d '{"payload": {"status": "ON"}}'      # ... and switch

Then pull a cable: kill -9 any of the processes; it comes back after %v. Ask the ledger before and after.
  %s
Ctrl-C ends everything.`, 93, u, u, u, time.Now().Add(-time.Hour).Unix(), u, u, u, u, u, u, u, u, downtime, b.pids())
}

func (b *building) pids() string {
	var list []string
	for _, c := range b.children {
		list = append(list, fmt.Sprintf("%s %d", c.name, c.cmd.Process.Pid))
	}
	return strings.Join(list, ", ")
}
