package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"time"

	influxdata "github.com/wattline/wattline/cloud/hooks/influx_data"
	"github.com/wattline/wattline/cloud/hooks/webhook"
	"github.com/wattline/wattline/cloud/influx"
	"github.com/wattline/wattline/cloud/influx/influxd"
	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/edge/outbox"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
	sender "github.com/wattline/wattline/shared/webhook"
)

// taker is a receiver that takes everything and keeps it.
type taker struct {
	mu     sync.Mutex // protects what follows
	keep   bool
	bodies [][]byte
	bytes  int
	count  int // records
}

func (k *taker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keep {
		k.bodies = append(k.bodies, body)
		k.bytes += len(body)
		k.count += bytes.Count(body, []byte(`"n":`))
	}
	w.WriteHeader(http.StatusNoContent)
}

// readings counts the records of what was taken.
func (k *taker) readings() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.count
}

// measureWebhook lets a receiver come back to a backlog that was stored meanwhile,
// and then posts the same bodies to it with nothing between.
func measureWebhook(ctx context.Context, b *bench) error {
	seconds := 600 // of two floors of 100 plugs
	if b.long {
		seconds = 3600
	}
	server, err := b.startInflux(ctx)
	if err != nil {
		return err
	}
	defer server.Close()
	broker, err := b.startMosquitto(ctx, "webhook")
	if err != nil {
		return err
	}
	defer broker.stop()
	conf := influx.DefaultConfig()
	conf.URL, conf.Token = server.URL(), config.Secret(server.Token())
	client, err := influx.New(conf)
	if err != nil {
		return err
	}
	defer client.Close()
	stored, entries, err := storeBacklog(ctx, client, seconds)
	if err != nil {
		return err
	}
	box := &taker{keep: true}
	receiver := httptest.NewServer(box)
	defer receiver.Close()
	before, err := spent(os.Getpid(), server.PID())
	if err != nil {
		return err
	}
	took, err := b.catchUp(ctx, client, broker, receiver.URL, func() bool { return box.readings() >= stored })
	if err != nil {
		return err
	}
	after, err := spent(os.Getpid(), server.PID())
	if err != nil {
		return err
	}
	delivered := box.readings()
	box.mu.Lock()
	box.keep = false
	box.mu.Unlock()
	bare, err := postBare(ctx, receiver.URL, box.bodies)
	if err != nil {
		return err
	}
	read, err := readBare(ctx, server)
	if err != nil {
		return err
	}
	b.note("%d readings in %d entries were stored while the receiver was away; it got them in %d requests of %d bytes on average",
		stored, entries, len(box.bodies), box.bytes/max(1, len(box.bodies)))
	b.fact("webhook_catch_up", rate(stored, took), "readings/s")
	b.fact("webhook_receiver_limit", rate(delivered, bare), "readings/s")
	b.fact("webhook_ratio", 100*bare.Seconds()/took.Seconds(), "%")
	b.fact("webhook_influxdb_read", rate(stored, read), "readings/s")
	b.fact("webhook_ratio_to_influxdb", 100*read.Seconds()/took.Seconds(), "%")
	perReading := func(i int) float64 { return float64(after[i]-before[i]) / 1e3 / float64(stored) }
	b.fact("webhook_cpu", perReading(0), "us/reading")
	b.fact("webhook_cpu_influxdb", perReading(1), "us/reading")
	b.fact("webhook_delivered_twice", 100*float64(delivered-stored)/float64(stored), "%")
	return nil
}

// storeBacklog writes what two gateways measure, as the storing hook would: a
// batch of each gateway for each second.
func storeBacklog(ctx context.Context, client *influx.Client, seconds int) (readings, entries int, err error) {
	at := past(device.MicrosOf(time.Now()), seconds*floorPlugs)
	book := ledger.NewBook(client, "00000000000000be", nil)
	for floor := range 2 {
		l, err := newLoad(floor+1, at, 1e6)
		if err != nil {
			return 0, 0, err
		}
		epoch := contract.Epoch(rand.Uint64())
		var list []contract.Entry
		var lines []byte
		for n := range seconds {
			var records []senml.Record
			for range floorPlugs {
				records = outbox.AppendRecords(records, l.read())
			}
			if lines, err = influxdata.Points(lines, records); err != nil {
				return 0, 0, err
			}
			id := contract.BatchID{Epoch: epoch, Sequence: uint64(n + 1)}
			list = append(list, contract.Entry{
				Source: fmt.Sprintf("edge-f%d", floor+1), ID: id.String(), Batch: &id, Readings: floorPlugs,
				From: records[0].Time, To: records[len(records)-1].Time,
			})
			readings, entries = readings+len(records), entries+1
			if len(list) == 20 || n == seconds-1 {
				if err := errors.Join(client.Write(ctx, "sp", lines), book.Enter(ctx, list)); err != nil {
					return 0, 0, err
				}
				list, lines = list[:0], lines[:0]
			}
		}
	}
	return readings, entries, nil
}

// catchUp runs the hook until the receiver has everything.
func (b *bench) catchUp(ctx context.Context, client *influx.Client, broker *mosquitto, url string, done func() bool) (time.Duration, error) {
	settings := webhook.DefaultConfig()
	settings.Receivers = []webhook.Receiver{{Name: "bench", URL: url, Secret: config.Secret(sender.NewSecret()), Start: "2020-01-01T00:00:00Z"}}
	h, err := webhook.New(settings, webhook.Options{Feed: ledger.NewFeed(client), Store: client, Data: filepath.Join(b.dir, "data")}, quiet)
	if err != nil {
		return 0, err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	begin := time.Now()
	go func() { ended <- h.Run(running, bus.Options{URL: "tcp://" + broker.address}) }()
	err = every(ctx, 20*time.Millisecond, nil, 10*time.Minute, "the receiver to have everything", done)
	took := time.Since(begin)
	stop()
	return took, errors.Join(err, <-ended)
}

// postBare posts bodies with net/http alone.
func postBare(ctx context.Context, url string, bodies [][]byte) (time.Duration, error) {
	begin := time.Now()
	for _, body := range bodies {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return 0, err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0, err
		}
		if err := answer.Body.Close(); err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}

// readBare reads everything from InfluxDB by one question, unread.
func readBare(ctx context.Context, server *influxd.Server) (time.Duration, error) {
	begin := time.Now()
	_, err := ask(ctx, server, "sp", `SELECT "value" FROM /./ GROUP BY "id","unit"`)
	return time.Since(begin), err
}
