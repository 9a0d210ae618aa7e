package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wattline/wattline/cloud/backup/export"
	"github.com/wattline/wattline/cloud/backup/form"
)

const (
	// batch is how many points are written at once, of how many bytes; writers is
	// how many of those are under way.
	batch      = 10_000
	batchBytes = 2 << 20
	writers    = 4
	// attempts to write what InfluxDB does not take at the moment.
	attempts = 10
)

// day writes the points of a day.
func (p *plan) day(ctx context.Context, d form.Day) error {
	content, closer, err := p.Shelf.Open(ctx, d.File, p.report.Manifest, p.Keys)
	if err != nil {
		return err
	}
	defer closer.Close()
	defer content.Close()
	all, writing := errgroup.WithContext(ctx)
	all.SetLimit(writers)
	var expired atomic.Int64
	err = p.batches(content, func(lines []byte) error {
		if err := context.Cause(writing); err != nil {
			return err
		}
		all.Go(func() error {
			old, err := p.write(writing, d.Database, lines)
			if old {
				expired.Add(1)
			}
			return err
		})
		return nil
	})
	if failed := all.Wait(); failed != nil {
		err = failed // the reading ended because of it
	}
	p.report.Expired += int(expired.Load())
	return err
}

// batches cuts the content into what is written at once.
func (p *plan) batches(content io.Reader, take func([]byte) error) error {
	from, points, lines := newLines(content), 0, []byte(nil)
	flush := func() error {
		if points == 0 {
			return nil
		}
		full := lines
		points, lines = 0, make([]byte, 0, len(full)+4096)
		return take(full)
	}
	for {
		line, err := from.next()
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err != nil {
			return err
		}
		wanted, err := within(line, p.From, p.To)
		if err != nil {
			return err
		}
		if !wanted {
			continue
		}
		lines = append(lines, line...)
		if points++; points == batch || len(lines) > batchBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
}

// write writes until InfluxDB takes it. old tells that some points are older than
// what the database keeps.
func (p *plan) write(ctx context.Context, database string, lines []byte) (old bool, err error) {
	pause := 500 * time.Millisecond
	for range attempts {
		err = p.Influx.Write(ctx, database, lines)
		answer, ok := errors.AsType[interface {
			error
			BeyondRetention() bool
			Refused() bool
			NeedsOperator() bool
		}](err)
		switch {
		case err == nil:
			return false, nil
		case ok && answer.BeyondRetention():
			return true, nil
		case !ok || answer.Refused() || answer.NeedsOperator():
			return false, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false, context.Cause(ctx)
		}
		pause = min(2*pause, 30*time.Second)
	}
	return false, err
}

// recount asks InfluxDB how much it has of each day, and brings a day back once
// more that has less than the backup: the notes of an earlier attempt were about
// another database, say.
func (p *plan) recount(ctx context.Context) error {
	if !p.From.IsZero() || !p.To.IsZero() || p.report.Expired > 0 {
		return nil // fewer are expected
	}
	p.say("counting what is there")
	short, err := p.short(ctx)
	if err != nil || len(short) == 0 {
		return err
	}
	for _, d := range short {
		if err := p.day(ctx, d); err != nil {
			return fmt.Errorf("%s: %w", d.Key(), err)
		}
	}
	if short, err = p.short(ctx); err != nil || len(short) == 0 {
		return err
	}
	return fmt.Errorf("InfluxDB took everything, and has less than the backup on %d days, the first %s: does a retention policy remove old points, or is its disk damaged?", len(short), short[0].Key())
}

// short lists the days of which InfluxDB has less than the backup.
func (p *plan) short(ctx context.Context) (list []form.Day, err error) {
	counts := make(map[string]map[form.Date]int64) // by database and measurement
	var first, last time.Time
	for _, d := range p.days {
		from, to, err := d.Date.Bounds()
		if err != nil {
			return nil, err
		}
		if first.IsZero() || from.Before(first) {
			first = from
		}
		if to.After(last) {
			last = to
		}
	}
	for _, d := range p.days {
		for _, part := range d.Parts {
			name := d.Database + "/" + part.Measurement
			if counts[name] == nil {
				counts[name], err = export.Survey(ctx, p.Influx, d.Database, part.Measurement, first, last)
				if err != nil && !isMissing(err) {
					return nil, err
				}
				if counts[name] == nil {
					counts[name] = map[form.Date]int64{}
				}
			}
			if counts[name][d.Date] < part.Values {
				list = append(list, d)
				break
			}
		}
	}
	return list, nil
}
