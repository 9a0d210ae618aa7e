package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const registryPlaces = 10_000

// measureRegistry puts ten thousand places into a registry, lists them by pages,
// and starts a cloud with them beside one without any.
func measureRegistry(ctx context.Context, b *bench) error {
	empty, err := b.startTime(ctx, "empty", func(ctx context.Context, c *central) bool {
		n, err := get(ctx, c, "/api/v1/gateways/edge-f1")
		return err == nil && n > 0
	})
	if err != nil {
		return err
	}
	full := filepath.Join(b.dir, "full")
	c, _, err := b.startRoles(ctx, full)
	if err != nil {
		return err
	}
	defer c.stop()
	begin := time.Now()
	if err := importInventory(ctx, c, tenThousand()); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	b.note("%d places on 10 floors, over REST", registryPlaces)
	b.most("registry_import", time.Since(begin).Seconds(), 5, "s")
	if err := until(ctx, c.process, time.Minute, "the places in the api", func() bool { return allPlaces(ctx, c) }); err != nil {
		return err
	}
	rounds := 500
	if b.long {
		rounds = 10_000
	}
	var pages []time.Duration
	for n := range rounds {
		begin := time.Now()
		if _, err := get(ctx, c, fmt.Sprintf("/api/v1/devices?floor=%d&type=w&limit=100", 1+n%10)); err != nil {
			return err
		}
		pages = append(pages, time.Since(begin))
	}
	b.fact("registry_page_p50", millis(median(pages)), "ms")
	b.most("registry_page_p99", millis(quantile(pages, 0.99)), 10, "ms")
	c.stop()
	whole, err := b.startTime(ctx, "full", allPlaces)
	if err != nil {
		return err
	}
	b.fact("registry_start_empty", empty.Seconds(), "s")
	b.fact("registry_start", whole.Seconds(), "s")
	b.most("registry_start_beyond_empty", (whole - empty).Seconds(), 1, "s")
	return nil
}

// allPlaces tells whether the api knows every place.
func allPlaces(ctx context.Context, c *central) bool {
	for floor := 10; floor > 0; floor-- {
		const least = 200_000 // bytes of a thousand places
		if n, err := get(ctx, c, fmt.Sprintf("/api/v1/devices?floor=%d&limit=1000", floor)); err != nil || n < least {
			return false
		}
	}
	return true
}

// startTime is the median time from the start of the cloud in a directory until
// the api knows what is registered there.
func (b *bench) startTime(ctx context.Context, name string, knows func(context.Context, *central) bool) (time.Duration, error) {
	var took []time.Duration
	for range 5 {
		c, d, err := b.startRoles(ctx, filepath.Join(b.dir, name))
		if err != nil {
			return 0, err
		}
		begin := time.Now()
		err = until(ctx, c.process, time.Minute, "the registry in the api", func() bool { return knows(ctx, c) })
		took = append(took, d+time.Since(begin))
		c.stop()
		if err != nil {
			return 0, err
		}
	}
	return median(took), nil
}

// startRoles starts broker, registry and api, and takes the time until they
// answer.
func (b *bench) startRoles(ctx context.Context, dir string) (c *central, took time.Duration, err error) {
	c = &central{}
	for _, address := range []*string{&c.http, &c.mqtt} {
		if *address, err = freeAddress(); err != nil {
			return nil, 0, err
		}
	}
	list, conf := dir+".inventory.yaml", dir+".yaml"
	for path, text := range map[string]string{
		list: "site: {name: Bench, default_floor: 1, time_zone: UTC}\ngateways:\n  - {id: edge-f1, floor: 1}\n",
		conf: fmt.Sprintf("data: %s\nbroker: {listen: %q}\nhttp: {listen: %q}\nregistry: {inventory: %s}\n", dir, c.mqtt, c.http, list),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, 0, fmt.Errorf("write the cloud's configuration: %w", err)
		}
	}
	begin := time.Now()
	if c.process, err = b.start("cloud", filepath.Join(b.bin, "wattline-cloud"), "-roles", "broker,registry,api", "-config", conf); err != nil {
		return nil, 0, err
	}
	err = until(ctx, c.process, time.Minute, "the cloud", func() bool {
		n, err := get(ctx, c, "/readyz")
		return err == nil && n > 0
	})
	return c, time.Since(begin), err
}

// tenThousand is an inventory of ten floors.
func tenThousand() string {
	var b strings.Builder
	b.WriteString("site: {name: Bench, default_floor: 1, time_zone: UTC}\ngateways:\n")
	for n := 1; n <= 10; n++ {
		fmt.Fprintf(&b, "  - {id: edge-f%d, floor: %d}\n", n, n)
	}
	b.WriteString("places:\n")
	for n := range registryPlaces {
		floor, at := 1+n/1000, n%1000
		fmt.Fprintf(&b, "  - {device: sp_f%d.w.r%d.c%d, address: 127.250.%d.%d, mac: \"02:00:00:00:%02X:%02X\", label: Desk %d}\n",
			floor, at/10, at%10, n/250, 1+n%250, n>>8, n&255, n)
	}
	return b.String()
}
