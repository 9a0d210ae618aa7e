package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/wattline/wattline/edge/gateway"
	"github.com/wattline/wattline/shared/bus"
)

const (
	configGateways = 100
	configPlaces   = 100 // of each
)

// measureConfig changes the configuration of a hundred gateways by one import,
// and waits until the last has said that it runs and keeps the new one.
func measureConfig(ctx context.Context, b *bench) error {
	c, err := b.startRegistry(ctx)
	if err != nil {
		return err
	}
	defer c.stop()
	running, stop := context.WithCancel(ctx)
	var gateways sync.WaitGroup
	defer func() { stop(); gateways.Wait() }()
	given, heard := newVersions(), newVersions()
	link := bus.NewLink(bus.Options{URL: "tcp://" + c.mqtt, ClientID: "bench", Up: func(ctx context.Context, s *bus.Session) error {
		return errors.Join(s.Subscribe(ctx, bus.ConfigFilter, given.hear), s.Subscribe(ctx, bus.StatusFilter, heard.hear))
	}}, quiet)
	gateways.Go(func() { _ = link.Run(running) })
	failed := make(chan error, configGateways)
	for n := range configGateways {
		conf := gateway.DefaultConfig()
		conf.Gateway, conf.Broker.URL, conf.Status.Listen = fmt.Sprintf("edge-f%d", n+1), "tcp://"+c.mqtt, ""
		conf.Data = filepath.Join(b.dir, conf.Gateway)
		if err := os.Mkdir(conf.Data, 0o750); err != nil {
			return fmt.Errorf("make a gateway's directory: %w", err)
		}
		gateways.Go(func() {
			if err := gateway.Run(running, conf, gateway.Options{Version: "bench"}, quiet); err != nil {
				failed <- err
			}
		})
	}
	all := func(version uint64) func() bool {
		return func() bool { return len(failed) > 0 || heard.least() >= version }
	}
	if err := until(ctx, c.process, 2*time.Minute, "the first configuration", all(1)); err != nil {
		return err
	}
	rounds := 5
	if b.long {
		rounds = 20
	}
	var asked, published, took []float64
	for n := range rounds {
		version := heard.least() + 1
		begin := time.Now()
		if err := importInventory(ctx, c, building(time.Hour+time.Duration(n+1)*time.Minute)); err != nil {
			return err
		}
		asked = append(asked, time.Since(begin).Seconds())
		if err := every(ctx, time.Millisecond, c.process, time.Minute, "the configurations on the bus", func() bool { return given.least() >= version }); err != nil {
			return err
		}
		published = append(published, time.Since(begin).Seconds())
		if err := every(ctx, time.Millisecond, c.process, time.Minute, "the new configuration", all(version)); err != nil {
			return err
		}
		took = append(took, time.Since(begin).Seconds())
	}
	if len(failed) > 0 {
		return <-failed
	}
	b.note("%d gateways of %d places, from the request to the last gateway's word that it runs and keeps the new configuration, %d rounds", configGateways, configPlaces, rounds)
	b.fact("config_100_answered", median(asked), "s")
	b.fact("config_100_published", median(published), "s")
	b.fact("config_100_median", median(took), "s")
	b.most("config_100", quantile(took, 1), 1, "s")
	return nil
}

// startRegistry runs the roles of the cloud that a change passes.
func (b *bench) startRegistry(ctx context.Context) (*central, error) {
	c := &central{}
	var err error
	for _, address := range []*string{&c.http, &c.mqtt} {
		if *address, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	dir := filepath.Join(b.dir, "cloud")
	list, conf := filepath.Join(b.dir, "inventory.yaml"), filepath.Join(b.dir, "cloud.yaml")
	text := fmt.Sprintf("data: %s\nbroker: {listen: %q}\nhttp: {listen: %q}\nregistry: {inventory: %s}\n", dir, c.mqtt, c.http, list)
	for path, text := range map[string]string{list: building(time.Hour), conf: text} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("write the cloud's configuration: %w", err)
		}
	}
	if c.process, err = b.start("cloud", filepath.Join(b.bin, "wattline-cloud"), "-roles", "broker,registry,api", "-config", conf); err != nil {
		return nil, err
	}
	return c, until(ctx, c.process, time.Minute, "the cloud", func() bool {
		n, err := get(ctx, c, "/api/v1/gateways")
		return err == nil && n > 0 && listens(c.mqtt)()
	})
}

// building is an inventory of so many floors. Its plugs are polled so rarely that
// it does not matter that there are none.
func building(poll time.Duration) string {
	var b strings.Builder
	b.WriteString("site: {name: Bench, default_floor: 1, time_zone: UTC}\ngateways:\n")
	for n := range configGateways {
		fmt.Fprintf(&b, "  - {id: edge-f%d, floor: %d, poll: %s}\n", n+1, n+1, poll)
	}
	b.WriteString("series:\n")
	for n := range configGateways {
		fmt.Fprintf(&b, "  - {first: sp_f%d.g0, count: %d, first_address: 127.254.%d.1}\n", n+1, configPlaces, n+1)
	}
	return b.String()
}

func importInventory(ctx context.Context, c *central, text string) error {
	return send(ctx, c, http.MethodPost, "/api/v1/inventory", "application/yaml", []byte(text))
}

// versions are those that gateways have said they run.
type versions struct {
	mu sync.Mutex // protects of
	of map[string]uint64
}

func newVersions() *versions { return &versions{of: map[string]uint64{}} }

func (v *versions) hear(m bus.Message) {
	var said struct { // by a status or a configuration
		Gateway       string `json:"gateway"`
		Version       json.RawMessage
		ConfigVersion uint64 `json:"config_version"`
	}
	if json.Unmarshal(m.Payload, &said) != nil {
		return
	}
	version := said.ConfigVersion
	if version == 0 {
		_ = json.Unmarshal(said.Version, &version) // of a status it is a text, the program's
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.of[said.Gateway] = version
}

// least is the oldest version, 0 while not all gateways have spoken.
func (v *versions) least() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.of) < configGateways {
		return 0
	}
	least := uint64(1 << 62)
	for _, version := range v.of {
		least = min(least, version)
	}
	return least
}
