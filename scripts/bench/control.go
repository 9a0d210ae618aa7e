package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/wattline/wattline/shared/contract"
)

// measureControl runs a floor of a hundred plugs with its gateway and the cloud.
func measureControl(ctx context.Context, b *bench) error {
	server, err := b.startInflux(ctx)
	if err != nil {
		return err
	}
	defer server.Close()
	sim, err := b.startPlugs(ctx, 1, 20, "-inventory", filepath.Join(b.dir, "places.yaml"))
	if err != nil {
		return err
	}
	defer sim.stop()
	places, err := os.ReadFile(filepath.Join(b.dir, "places.yaml"))
	if err != nil {
		return fmt.Errorf("read the inventory: %w", err)
	}
	text := "site: {name: Bench, default_floor: 1, time_zone: UTC}\ngateways:\n  - {id: edge-f1, floor: 1}\n" + string(places)
	c, err := b.startCloud(ctx, server, text)
	if err != nil {
		return err
	}
	defer c.stop()
	e, err := b.newEdge("edge-f1", c.mqtt)
	if err != nil {
		return err
	}
	if err := e.run(); err != nil {
		return err
	}
	defer e.stop()
	if err := until(ctx, e.process, time.Minute, "readings of all plugs", func() bool {
		s, err := e.view()
		return err == nil && s.Plugs.Reachable == len(sim.list)
	}); err != nil {
		return err
	}
	if err := b.switches(ctx, c, sim.list); err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	return nil
}

// put switches a plug through the API.
func put(ctx context.Context, c *central, p contract.Plug, on bool) error {
	body := fmt.Appendf(nil, `{"on": %t, "reason": "bench", "deadline_s": 10}`, on)
	if err := send(ctx, c, http.MethodPut, "/api/v1/devices/"+p.Device.String()+"/relay", "application/json", body); err != nil {
		return fmt.Errorf("%v: %w", p.Device, err)
	}
	return nil
}

// send sends a body to the API, which must be pleased with it.
func send(ctx context.Context, c *central, method, path, contentType string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+c.http+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", contentType)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %.300s", answer.Status, said)
	}
	return err
}

// switches compares a switch through REST, cloud, broker and gateway with one by
// the driver alone, which has the plug's own time and the wait before reading
// back in it. They go on in turns, some at a time.
func (b *bench) switches(ctx context.Context, c *central, plugs []contract.Plug) error {
	const hands = 4
	each := 100
	if b.long {
		each = 1000
	}
	if err := until(ctx, c.process, time.Minute, "the first switch", func() bool { return put(ctx, c, plugs[0], true) == nil }); err != nil {
		return errors.Join(err, put(ctx, c, plugs[0], true))
	}
	var mu sync.Mutex // protects what follows
	var whole, alone []time.Duration
	var failed error
	var wg sync.WaitGroup
	for hand := range hands {
		wg.Go(func() {
			own := plugs[hand*len(plugs)/hands : (hand+1)*len(plugs)/hands]
			for i := range each {
				w, a, err := switchBoth(ctx, c, own[2*i%len(own)], own[(2*i+1)%len(own)], i%2 == 0)
				mu.Lock()
				whole, alone, failed = append(whole, w), append(alone, a), errors.Join(failed, err)
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	if failed != nil {
		return failed
	}
	own := median(alone)
	b.note("%d switches, %d at a time; the plug's own time and the read-back delay, %v, are taken off", len(whole), hands, own.Round(10*time.Microsecond))
	b.fact("control_p50", millis(median(whole)-own), "ms")
	b.most("control_p99", millis(quantile(whole, 0.99)-own), 10, "ms")
	// The machine's own unrest: what the driver alone has of it.
	b.fact("control_driver_p99", millis(quantile(alone, 0.99)-own), "ms")
	b.fact("control_p99_beyond_driver_p99", millis(quantile(whole, 0.99)-quantile(alone, 0.99)), "ms")
	return nil
}

func switchBoth(ctx context.Context, c *central, through, direct contract.Plug, on bool) (whole, alone time.Duration, err error) {
	driver, err := newDriver(direct)
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	err = put(ctx, c, through, on)
	whole = time.Since(begin)
	begin = time.Now()
	_, err2 := driver.Switch(ctx, on)
	return whole, time.Since(begin), errors.Join(err, err2)
}

// get reads an answer of the API to its end.
func get(ctx context.Context, c *central, path string) (int64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.http+path, http.NoBody)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Accept-Encoding", "identity")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		var said strings.Builder
		_, _ = io.Copy(&said, io.LimitReader(answer.Body, 300))
		return 0, fmt.Errorf("%s: %s", answer.Status, said.String())
	}
	return io.Copy(io.Discard, answer.Body)
}
