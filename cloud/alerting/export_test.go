package alerting

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/wattline/wattline/cloud/alerting/archive"
	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/cloud/alerting/signals"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// SendTimeout bounds the sending of one message.
const SendTimeout = sendTimeout

// Driven is the role without a bus and without the wall's clock: a test hands in
// what would be heard, and the time.
type Driven struct {
	a   *Alerting
	set time.Duration // by how much somebody has set the clock
}

// Drive opens it.
func Drive(cfg Config, data string, receivers []notify.Receiver, now func() time.Time, log *slog.Logger) (*Driven, error) {
	a := prepare(cfg, data, nil, log)
	d := &Driven{a: a}
	a.now = now
	a.ran = func() time.Duration { return now().Sub(time.Time{}.AddDate(2000, 0, 0)) - d.set }
	if err := a.open(receivers); err != nil {
		return nil, err
	}
	a.signals.Connected(a.micros())
	return d, nil
}

// Set says that the clock is not later by so much because time has passed, but
// because somebody has set it.
func (d *Driven) Set(by time.Duration) { d.set += by }

// Hear hands in a message.
func (d *Driven) Hear(m bus.Message) { d.a.hear(m) }

// Answer hands in answers of other components.
func (d *Driven) Answer(answers signals.Answers) {
	d.a.mu.Lock()
	defer d.a.mu.Unlock()
	now := device.MicrosOf(d.a.now())
	d.a.judge(d.a.signals.Take(answers, now), now)
}

// Tick lets time pass, and sends what is due.
func (d *Driven) Tick(ctx context.Context) {
	d.a.tick()
	d.a.desk.Serve(ctx, d.a.now())
}

// Close ends it as a stop would.
func (d *Driven) Close() error {
	err := d.a.save()
	if closed := d.a.archive.Close(); err == nil {
		err = closed
	}
	return err
}

// Kill ends it as a kill would: nothing is saved.
func (d *Driven) Kill() error { return d.a.archive.Close() }

// Do does what a request asks.
func (d *Driven) Do(resource string, r contract.RegistryRequest) contract.RegistryAnswer {
	return d.a.answer(context.Background(), resource, r)
}

// Mend gives the disk back after Kill, with what was written until then.
func (d *Driven) Mend() (err error) {
	d.a.archive, err = archive.Open(filepath.Join(d.a.data, Name, Name+".db"), d.a.log)
	return err
}

// Pass lets time pass, and sends nothing.
func (d *Driven) Pass() { d.a.tick() }

// Firing are the alerts that fire, written or not.
func (d *Driven) Firing() []contract.Alert { return d.a.engine.Firing() }

// State is what receivers that are told a state are told.
func (d *Driven) State() []contract.Alert { return d.a.current() }

// TellState adds a receiver that is told what fires.
func (d *Driven) TellState(s stateful) { d.a.states = append(d.a.states, s) }

// Current is what receivers are told that are told a state.
func (d *Driven) Current() []contract.Alert { return d.a.current() }
