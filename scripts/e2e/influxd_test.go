package e2e_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/influx"
	"github.com/wattline/wattline/cloud/influx/influxd"
	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/shared/config"
)

// TestInfluxdKilledWhileItMakesShards kills InfluxDB where it is weakest: while
// databases, shards, indexes and lists of fields are new. Whatever it said yes
// to must be there, and it must take more.
//
// Torn manifests are rare (one in a few hundred kills); the test of the repair in
// cloud/influx/influxd makes one.
func TestInfluxdKilledWhileItMakesShards(t *testing.T) {
	t.Parallel()
	r := dice(t)
	cfg := influxtest.Config(t)
	begin := func() (*influxd.Server, *influx.Client) { // the supervisor itself would take its time after many kills
		server, err := influxd.Start(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		c := influx.DefaultConfig()
		c.URL, c.Token, c.WriteTimeout = server.URL(), config.Secret(server.Token()), 2*time.Second
		store, err := influx.New(c)
		if err != nil {
			t.Fatal(err)
		}
		return server, store
	}
	write := func(store *influx.Client, database string, n, minute int) error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		line := fmt.Sprintf("m%d,id=a value=%d %d\n", n%5, n, int64(n+minute*60)*1e6+1.7e15)
		return store.Write(ctx, database, []byte(line))
	}
	acked := make(map[string]map[int]bool)
	n := 0
	for round := range count(t, "WATTLINE_KILLS", 12, 300) {
		database := fmt.Sprintf("d%d", round%40)
		if acked[database] == nil {
			acked[database] = make(map[int]bool)
		}
		server, store := begin()
		var killer sync.WaitGroup
		after := between(r, 0, 80*time.Millisecond)
		killer.Go(func() {
			pause(after)
			_ = syscall.Kill(server.PID(), syscall.SIGKILL)
		})
		for range 20 {
			n++
			if write(store, database, n, round/40*20000) != nil { // a new week, a new shard
				break
			}
			acked[database][n] = true
		}
		killer.Wait()
		store.Close()
		server.Close()
	}
	server, store := begin()
	defer server.Close()
	defer store.Close()
	for database, numbers := range acked {
		if err := write(store, database, 0, 0); err != nil {
			t.Errorf("%s takes nothing any more: %v", database, err)
		}
		have := make(map[int]bool)
		err := store.Query(t.Context(), database, "SELECT value FROM /m.*/", func(_ string, _ map[string]string, _ []string, rows [][]any) error {
			for _, row := range rows {
				have[int(number(row[1]))] = true
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		for n := range numbers {
			if !have[n] {
				t.Errorf("%s: point %d was acknowledged and is not there", database, n)
			}
		}
	}
	t.Logf("%d points in %d databases", n, len(acked))
}
