package backup_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/backup"
	"github.com/wattline/wattline/cloud/backup/export"
	"github.com/wattline/wattline/cloud/backup/form"
	"github.com/wattline/wattline/cloud/backup/restore"
	"github.com/wattline/wattline/cloud/backup/store"
	"github.com/wattline/wattline/cloud/influx"
	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
)

// BenchmarkBackup copies a day of 100 plugs, five measurements every 20 s, and
// brings it back: two million points. It prints what each takes, as ratios to what
// InfluxDB takes to be written to in the same way, and to gzip of the same lines.
func BenchmarkBackup(b *testing.B) {
	client := func() *influx.Client {
		s := influxtest.StartEmbedded(b, nil)
		cfg := influx.DefaultConfig()
		cfg.URL, cfg.Token = s.URL, config.Secret(s.Token)
		c, err := influx.New(cfg, influx.InNanoseconds())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(c.Close)
		return c
	}
	from, to, err := form.Date("2026-11-20").Bounds()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		db, again := client(), client()
		begin, points := time.Now(), 0
		var lines []byte
		for at := from; at.Before(to); at = at.Add(20 * time.Second) {
			for plug := range 100 {
				for i, name := range []string{"power", "voltage", "current", "energy", "status"} {
					v := float64((plug*7+int(at.Unix())/20*(i+1))%5000) / 10
					lines = fmt.Appendf(lines, "%s,floor=1,id=sp_f1.w.r%d.c%d,type=w value=%g %d\n", name, plug/10, plug%10, v, at.UnixNano())
					points++
				}
			}
			if len(lines) > 1<<20 || !at.Add(20*time.Second).Before(to) {
				if err := db.Write(b.Context(), "sp", lines); err != nil {
					b.Fatal(err)
				}
				lines = lines[:0]
			}
		}
		wrote := time.Since(begin)

		dir, err := store.OpenDir(filepath.Join(b.TempDir(), "store"))
		if err != nil {
			b.Fatal(err)
		}
		cfg := backup.DefaultConfig()
		cfg.PointsPerSecond = 0
		data := b.TempDir()
		maker, err := backup.New(cfg, backup.Options{
			Store: dir, Influx: db, Feed: ledger.NewFeed(db), States: backup.Stopped{Data: data}, Data: data, Log: discard, Version: "bench",
			Site: siteFor(contract.Site{Name: "bench"}),
		})
		if err != nil {
			b.Fatal(err)
		}
		begin = time.Now()
		m, err := maker.Run(b.Context(), false)
		if err != nil {
			b.Fatal(err)
		}
		copied := time.Since(begin)
		begin = time.Now()
		if _, err := maker.Run(b.Context(), false); err != nil {
			b.Fatal(err)
		}
		same := time.Since(begin)
		begin = time.Now()
		if _, err := restore.Run(b.Context(), restore.Options{Shelf: shelfOf(b, dir.String()), Influx: again, Log: discard}); err != nil {
			b.Fatal(err)
		}
		back := time.Since(begin)
		if int(m.Points()) != points {
			b.Fatalf("%d points, want %d", m.Points(), points)
		}
		b.ReportMetric(float64(points)/copied.Seconds(), "points/s-backup")
		b.ReportMetric(float64(points)/back.Seconds(), "points/s-restore")
		b.ReportMetric(wrote.Seconds()/back.Seconds(), "restore/write")
		b.ReportMetric(float64(m.Bytes())/float64(points), "bytes/point")
		b.ReportMetric(float64(m.Bytes())/float64(gzipped(b, db, from, to)), "size/gzip")
		b.ReportMetric(same.Seconds(), "s-nothing-new")
	}
}

func gzipped(b *testing.B, db *influx.Client, from, to time.Time) int {
	b.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	schema, err := export.Schema(b.Context(), db, "sp")
	if err == nil {
		_, err = export.Day(b.Context(), db, "sp", schema, from, to, io.Writer(w), nil)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		b.Fatal(err)
	}
	return out.Len()
}
