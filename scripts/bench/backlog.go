package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/wattline/wattline/edge/outbox"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

var quiet = slog.New(slog.DiscardHandler) //nolint:gochecknoglobals // nothing in it

// load gives readings of so many plugs as they are measured: noise in every
// digit that a plug reports, energy that adds up.
type load struct {
	plugs  []device.ID
	base   []float64
	energy []float64
	random *rand.Rand
	next   int
	at     device.Micros // of the present round
	every  device.Micros
}

// floorPlugs is how many plugs a floor has.
const floorPlugs = 100

// newLoad starts at a time; the plugs are polled one after the other, each once
// in every.
func newLoad(floor int, at, every device.Micros) (*load, error) {
	l := &load{random: rand.New(rand.NewPCG(1, uint64(floor))), at: at, every: every}
	for i := range floorPlugs {
		id, err := device.Parse(fmt.Sprintf("sp_f%d.w.r%d.c%d", floor, i/5, i%5))
		if err != nil {
			return nil, err
		}
		l.plugs = append(l.plugs, id)
		l.base = append(l.base, 3+80*l.random.Float64())
		l.energy = append(l.energy, l.random.Float64()*50_000)
	}
	return l, nil
}

func (l *load) read() device.Reading {
	i := l.next
	if l.next++; l.next == len(l.plugs) {
		l.next = 0
		defer func() { l.at += l.every }()
	}
	power := device.Watts(math.Round(max(0, l.base[i]+l.random.NormFloat64()*2)*1000) / 1000)
	volts := device.Volts(math.Round((230+l.random.NormFloat64())*1000) / 1000)
	amps := device.Amperes(math.Round(float64(power)/float64(volts)/0.7*1000) / 1000)
	l.energy[i] += float64(power) / 3600 * float64(l.every) / 1e6
	energy := device.WattHours(math.Floor(l.energy[i]))
	on := true
	// Each plug has its phase, and answers a little sooner or later.
	at := l.at + l.every/device.Micros(len(l.plugs))*device.Micros(i) + device.Micros(l.random.IntN(2000))
	return device.Reading{Device: l.plugs[i], Time: at, Measurement: device.Measurement{Power: &power, Voltage: &volts, Current: &amps, Energy: &energy, On: &on}}
}

// openOutbox opens an outbox as a gateway would; noSync only for filling it.
func openOutbox(path, gateway string, epoch contract.Epoch, noSync bool) (*outbox.Outbox, error) {
	config := outbox.DefaultConfig()
	config.Path, config.Limit = path, 1<<40
	return outbox.Open(outbox.Options{
		Config: config, Gateway: gateway, Epoch: epoch, NoSync: noSync,
		Clock: func() (device.Micros, bool) { return 1_800_000_000_000_000, true },
		Boot:  func() (string, float64) { return "bench", 0 },
	}, quiet)
}

// fill commits readings in batches of perBatch.
func fill(ctx context.Context, box *outbox.Outbox, l *load, readings, perBatch int) error {
	for n := 0; n < readings; n += perBatch {
		for range perBatch {
			if err := box.Accept(l.read(), true); err != nil {
				return err
			}
		}
		if err := errors.Join(box.Commit(), ctx.Err()); err != nil {
			return err
		}
	}
	return nil
}

// makeBacklog writes an outbox with so many readings in batches of batchOf, as an
// outage leaves it.
func makeBacklog(ctx context.Context, path, gateway string, floor, readings int, at device.Micros) error {
	box, err := openOutbox(path, gateway, contract.Epoch(rand.Uint64()), true)
	if err != nil {
		return err
	}
	l, err := newLoad(floor, at, 1e6)
	if err == nil {
		err = fill(ctx, box, l, readings, batchOf)
	}
	if err2 := box.Close(); err == nil {
		err = err2
	}
	return err
}

// past is a round time so long ago that so many readings of 100 plugs, one a
// second each, end before now.
func past(now device.Micros, readings int) device.Micros {
	return (now/1e6 - device.Micros(readings/100) - 60) * 1e6
}

func copyFile(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	return out.Close()
}
