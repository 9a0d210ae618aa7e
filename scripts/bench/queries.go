package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	influxquery "github.com/wattline/wattline/cloud/components/influx_query"
	influxdata "github.com/wattline/wattline/cloud/hooks/influx_data"
	"github.com/wattline/wattline/cloud/influx/influxd"
	"github.com/wattline/wattline/edge/outbox"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
)

// queryDay begins the day that is asked about.
const queryDay = 1_789_948_800 // 2026-09-21, UTC

// measureQueries asks a cloud that has nothing else to do.
func measureQueries(ctx context.Context, b *bench) error {
	server, err := b.startInflux(ctx)
	if err != nil {
		return err
	}
	defer server.Close()
	c, err := b.startCloud(ctx, server, "site: {name: Bench, default_floor: 1, time_zone: UTC}\ngateways:\n  - {id: edge-f1, floor: 1}\nplaces: []\n")
	if err != nil {
		return err
	}
	defer c.stop()
	return b.queries(ctx, c, server)
}

// queries compares answers through the API with InfluxDB's own to the very
// statement that the cloud makes of the question, in turns.
func (b *bench) queries(ctx context.Context, c *central, server *influxd.Server) error {
	if err := fillDay(ctx, server); err != nil {
		return fmt.Errorf("fill InfluxDB: %w", err)
	}
	day := func(hours int, more ...string) map[string]string {
		v := map[string]string{"from": fmt.Sprint(queryDay), "to": fmt.Sprint(queryDay + hours*3600 - 1)}
		for i := 0; i < len(more); i += 2 {
			v[more[i]] = more[i+1]
		}
		return v
	}
	rounds := 30
	if b.long {
		rounds = 500
	}
	for _, q := range []struct {
		name   string
		rounds int
		values map[string]string
	}{
		{"query_day_by_hour", rounds, day(24, "operation", "mean", "every", "1h", "group_by", "device")},
		{"query_floor_mean", rounds, day(24, "operation", "mean", "floor", "1")},
		{"query_100k_points", rounds / 3, day(24, "column", "0,1", "row", "0,1,2,3,4,5")},
		{"query_one_hour_raw", 3 * rounds, day(1, "id", "sp_f1.w.r3.c2")},
		{"query_one_last", 3 * rounds, day(1, "id", "sp_f1.w.r3.c2", "operation", "last")},
	} {
		if err := b.query(ctx, c, server, q.name, q.rounds, q.values); err != nil {
			return fmt.Errorf("%s: %w", q.name, err)
		}
	}
	return nil
}

// fillDay writes the power of a hundred plugs every ten seconds for a day.
func fillDay(ctx context.Context, server *influxd.Server) error {
	l, err := newLoad(1, queryDay*1e6, 10e6)
	if err != nil {
		return err
	}
	var requests [][]byte
	var records []senml.Record
	for l.at < (queryDay+86400)*1e6 {
		r := l.read()
		r.Voltage, r.Current, r.Energy, r.On = nil, nil, nil, nil
		if records = outbox.AppendRecords(records, r); len(records) < 5000 && l.at < (queryDay+86400)*1e6 {
			continue
		}
		lines, err := influxdata.Points(nil, records)
		if err != nil {
			return err
		}
		requests, records = append(requests, lines), records[:0]
	}
	_, err = writeBare(ctx, server, "sp", requests)
	return err
}

func (b *bench) query(ctx context.Context, c *central, server *influxd.Server, name string, rounds int, values map[string]string) error {
	path := url.Values{"measurement": {device.Power}}
	for key, v := range values {
		path.Set(key, v)
	}
	values["format"] = "series"
	data, err := json.Marshal(values)
	if err != nil {
		return err
	}
	q, err := influxquery.Parse("sp/"+device.Power, data, device.MicrosOf(time.Now()))
	if err != nil {
		return err
	}
	statements := q.Statements(1, true)
	var through, direct []time.Duration
	var size int64
	for range rounds {
		begin := time.Now()
		if size, err = get(ctx, c, "/api/v1/readings?"+path.Encode()); err != nil {
			return err
		}
		through = append(through, time.Since(begin))
		begin = time.Now()
		for _, s := range statements {
			if n, err := ask(ctx, server, "sp", s.Text); err != nil || n < 60 {
				return errors.Join(err, fmt.Errorf("InfluxDB answers %d bytes to %s", n, s.Text))
			}
		}
		direct = append(direct, time.Since(begin))
	}
	own := median(direct)
	b.most(name+"_ratio", float64(median(through))/float64(own), 1.2, "x")
	b.fact(name+"_direct", millis(own), "ms")
	b.fact(name+"_added", millis(median(through)-own), "ms")
	b.fact(name+"_size", float64(size)/1e3, "kB")
	return nil
}
