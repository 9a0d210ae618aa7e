package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	influxdata "github.com/wattline/wattline/cloud/hooks/influx_data"
	"github.com/wattline/wattline/cloud/influx/influxd"
	"github.com/wattline/wattline/edge/outbox"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
)

// central is the real cloud on a directory of its own.
type central struct {
	http, mqtt string
	*process
}

// startCloud runs wattline-cloud with an inventory, on an InfluxDB that runs.
func (b *bench) startCloud(ctx context.Context, server *influxd.Server, inventory string) (*central, error) {
	c := &central{}
	var err error
	for _, address := range []*string{&c.http, &c.mqtt} {
		if *address, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	dir := filepath.Join(b.dir, "cloud")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the cloud's directory: %w", err)
	}
	list, conf := filepath.Join(b.dir, "inventory.yaml"), filepath.Join(b.dir, "cloud.yaml")
	text := fmt.Sprintf("data: %s\nbroker: {listen: %q}\nhttp: {listen: %q}\nregistry: {inventory: %s}\ninflux: {url: %q, token: %q}\n",
		dir, c.mqtt, c.http, list, server.URL(), server.Token())
	for path, text := range map[string]string{list: inventory, conf: text} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("write the cloud's configuration: %w", err)
		}
	}
	if c.process, err = b.startProgram("cloud", "wattline-cloud", conf); err != nil {
		return nil, err
	}
	return c, until(ctx, c.process, time.Minute, "the cloud", func() bool {
		answer, err := http.Get("http://" + c.http + "/readyz")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
}

// points is how many points the cloud has stored.
func (c *central) points() (int, error) {
	const key = "wattline_influx_data_points_total "
	answer, err := http.Get("http://" + c.http + "/metrics")
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	var text strings.Builder
	if err := answer.Write(&text); err != nil {
		return 0, err
	}
	for line := range strings.Lines(text.String()) {
		if value, ok := strings.CutPrefix(line, key); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return int(n), err
		}
	}
	return 0, fmt.Errorf("the cloud's metrics have no %s", key)
}

// measureCloud drains two gateways through the whole cloud, and writes the same
// points into the same InfluxDB with nothing between, in turns.
func measureCloud(ctx context.Context, b *bench) error {
	const gateways = 2
	readings, rounds := 150_000, 3 // of each gateway
	if b.long {
		readings, rounds = 500_000, 7
	}
	server, err := b.startInflux(ctx)
	if err != nil {
		return err
	}
	defer server.Close()
	var text strings.Builder
	text.WriteString("site: {name: Bench, default_floor: 1, time_zone: UTC}\ngateways:\n")
	for n := range gateways {
		fmt.Fprintf(&text, "  - {id: edge-f%d, floor: %d}\n", n+1, n+1)
	}
	text.WriteString("places: []\n")
	c, err := b.startCloud(ctx, server, text.String())
	if err != nil {
		return err
	}
	defer c.stop()
	now := device.MicrosOf(time.Now())
	var ours, bare, shares []float64
	var direct, whole stored
	for round := range rounds {
		at := past(now, readings*(round+1)) // each round other points
		if direct, err = b.bareRound(ctx, server, gateways, readings, at); err != nil {
			return fmt.Errorf("bare writer: %w", err)
		}
		if whole, err = b.cloudRound(ctx, c, server, gateways, readings, at); err != nil {
			return fmt.Errorf("cloud: %w", err)
		}
		bare, ours = append(bare, direct.perSecond), append(ours, whole.perSecond)
		shares = append(shares, float64(direct.cpu)/float64(whole.cpu))
	}
	for _, database := range []string{"bare", "sp"} {
		if n, err := countPower(ctx, server, database); err != nil || n != gateways*readings*rounds {
			return fmt.Errorf("%s has %d readings, %d were written (%w)", database, n, gateways*readings*rounds, err)
		}
	}
	b.note("%d gateways with %d readings each in batches of %d, medians of %d rounds in turns", gateways, readings, batchOf, rounds)
	b.fact("cloud", median(ours), "points/s")
	b.fact("cloud_bare_writer", median(bare), "points/s")
	b.least("cloud_ratio", 100*median(ours)/median(bare), 60, "%")
	b.fact("cloud_ratio_by_cpu", 100*median(shares), "%")
	perPoint := func(d time.Duration) float64 { return float64(d) / 1e3 / float64(gateways*readings*pointsOf) }
	b.fact("cloud_cpu_gateways", perPoint(whole.cpu-whole.influx-whole.cloud), "us/point")
	b.fact("cloud_cpu_cloud", perPoint(whole.cloud), "us/point")
	b.fact("cloud_cpu_influxdb", perPoint(whole.influx), "us/point")
	b.fact("cloud_cpu_influxdb_bare", perPoint(direct.influx), "us/point")
	b.fact("cloud_cpu_bare_writer", perPoint(direct.cpu-direct.influx), "us/point")
	return nil
}

// pointsOf is the points of one reading: power, voltage, current, energy, status.
const pointsOf = 5

// stored is what one round took.
type stored struct {
	perSecond float64       // points
	cpu       time.Duration // of InfluxDB and all that wrote
	influx    time.Duration // of InfluxDB alone
	cloud     time.Duration
}

// bareRound makes the lines before the clock runs.
func (b *bench) bareRound(ctx context.Context, server *influxd.Server, gateways, readings int, at device.Micros) (s stored, err error) {
	var requests [][]byte
	for floor := range gateways {
		l, err := newLoad(floor+1, at, 1e6)
		if err != nil {
			return s, err
		}
		var records []senml.Record
		for n := range readings {
			records = outbox.AppendRecords(records, l.read())
			if len(records) < 5000 && n < readings-1 {
				continue
			}
			lines, err := influxdata.Points(nil, records)
			if err != nil {
				return s, err
			}
			requests = append(requests, lines)
			records = records[:0]
		}
	}
	before, err := spent(os.Getpid(), server.PID())
	if err != nil {
		return s, err
	}
	took, err := writeBare(ctx, server, "bare", requests)
	if err != nil {
		return s, err
	}
	after, err := spent(os.Getpid(), server.PID())
	return stored{perSecond: rate(gateways*readings*pointsOf, took), cpu: after[0] + after[1] - before[0] - before[1], influx: after[1] - before[1]}, err
}

// cloudRound fills the outboxes, starts the gateways, and tells the points per
// second from the first stored to the last.
func (b *bench) cloudRound(ctx context.Context, c *central, server *influxd.Server, gateways, readings int, at device.Micros) (s stored, err error) {
	before, err := c.points()
	if err != nil {
		return s, err
	}
	edges := make([]*edge, gateways)
	for n := range edges {
		if edges[n], err = b.newEdge(fmt.Sprintf("edge-f%d", n+1), c.mqtt); err != nil {
			return s, err
		}
		if err := os.RemoveAll(edges[n].dir); err != nil {
			return s, err
		}
		if err := makeBacklog(ctx, edges[n].outboxPath(), edges[n].name, n+1, readings, at); err != nil {
			return s, err
		}
	}
	defer func() {
		for _, e := range edges {
			e.stop()
		}
	}()
	used, err := spent(c.pid(), server.PID())
	if err != nil {
		return s, err
	}
	var pids []int
	for _, e := range edges {
		if err := e.run(); err != nil {
			return s, err
		}
		pids = append(pids, e.pid())
	}
	var begin, end time.Time
	var first, last int
	err = every(ctx, 100*time.Millisecond, c.process, 5*time.Minute, "the points", func() bool {
		n, err := c.points()
		if err != nil || n == before {
			return false
		}
		if first == 0 {
			first, begin = n, time.Now()
		}
		last, end = n, time.Now()
		return last-before >= gateways*readings*pointsOf
	})
	if err != nil {
		return s, err
	}
	var empty contract.OutboxStatus
	for _, e := range edges {
		err = every(ctx, 20*time.Millisecond, e.process, time.Minute, "an empty outbox", func() bool {
			s, err := e.view()
			empty = s.Outbox
			return err == nil && empty.Readings == 0
		})
		if err != nil {
			return s, err
		}
	}
	after, err := spent(append([]int{c.pid(), server.PID()}, pids...)...)
	if err != nil {
		return s, err
	}
	s = stored{perSecond: rate(last-first, end.Sub(begin)), cloud: after[0] - used[0], influx: after[1] - used[1]}
	s.cpu = s.cloud + s.influx
	for _, gateway := range after[2:] {
		s.cpu += gateway
	}
	return s, nil
}
