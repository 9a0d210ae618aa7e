package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/webhook"
)

const (
	alertGateways = 100 // of floorPlugs plugs
	alertPlugs    = alertGateways * floorPlugs
	alertRules    = 50
)

// measureAlerting runs the role alerting alone, beside a broker, under the load of
// ten thousand plugs that are read each second.
func measureAlerting(ctx context.Context, b *bench) error {
	seconds, rounds := 30, 3
	if b.long {
		seconds, rounds = 180, 10
	}
	broker, err := b.startMosquitto(ctx, "alerting-broker")
	if err != nil {
		return err
	}
	defer broker.stop()
	secret := webhook.NewSecret()
	called, err := newBell(secret)
	if err != nil {
		return err
	}
	receiver := httptest.NewServer(called)
	defer receiver.Close()
	r := &alertRole{bench: b, broker: broker.address}
	if err := r.configure(receiver.URL, secret); err != nil {
		return err
	}
	load, err := newAlertLoad(broker.address)
	if err != nil {
		return err
	}
	defer load.close()
	if err := r.start(ctx); err != nil {
		return err
	}
	defer func() { r.stop() }()
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- load.run(running) }()
	err = errors.Join(r.steady(ctx, load, called, seconds), r.restarts(ctx, load, rounds))
	stop()
	return errors.Join(err, <-done)
}

// alertRole is the role in a process of its own.
type alertRole struct {
	*bench
	broker string
	conf   string
	ears   *ears
	*process
}

// configure writes what an operator would: fifty rules, and one signed webhook.
func (r *alertRole) configure(url, secret string) error {
	file := rule.Defaults()
	one := func(name, signal string, limit float64, severity contract.Severity) {
		file.Rules = append(file.Rules, rule.Rule{
			Name: name, Severity: severity, Signal: signal, Condition: rule.Condition{Above: &limit}, Summary: "{label}: {value}",
		})
	}
	one(spikeRule, device.Power, spikeWatts/2, contract.Critical)
	one(stormRule, device.Current, stormAmperes/2, contract.Info)
	measured := []string{device.Power, device.Voltage, device.Current, device.Energy}
	for n := len(file.Rules); n < alertRules; n++ {
		one(fmt.Sprintf("more-%d", n), measured[n%len(measured)], 1e6+float64(n), contract.Info)
		file.Rules[n].For = rule.Duration(time.Minute)
	}
	rules, err := rule.Write(file)
	if err != nil {
		return err
	}
	list := filepath.Join(r.dir, "rules.yaml")
	r.conf = filepath.Join(r.dir, "alerting.yaml")
	conf := fmt.Sprintf("data: %s\nmqtt: {url: \"tcp://%s\"}\nalerting:\n  rules: %s\n  receivers:\n"+
		"    - {name: bench, kind: webhook, from: critical, over: false, webhook: {url: %q, secret: %q}}\n", filepath.Join(r.dir, "data"), r.broker, list, url, secret)
	return errors.Join(os.WriteFile(list, rules, 0o600), os.WriteFile(r.conf, []byte(conf), 0o600))
}

// start runs the role until it answers, and says how long that took from the start
// of the process.
func (r *alertRole) start(ctx context.Context) error {
	_, err := r.begin(ctx)
	return err
}

func (r *alertRole) begin(ctx context.Context) (answered time.Duration, err error) {
	if r.ears == nil {
		if r.ears, err = newEars(r.broker); err != nil {
			return 0, err
		}
	}
	r.ears.forget()
	begin := time.Now()
	if r.process, err = r.startRole("alerting", "alerting", r.conf); err != nil {
		return 0, err
	}
	err = every(ctx, 10*time.Millisecond, r.process, time.Minute, "an answer of the alerting", func() bool {
		return r.ears.ask() == nil && r.ears.answered()
	})
	return time.Since(begin), err
}

func (r *alertRole) stop() {
	if r.process != nil {
		r.process.stop()
	}
	if r.ears != nil {
		r.ears.close()
	}
}

// steady measures the processor time of the role, and how soon a plug that draws
// too much is told.
func (r *alertRole) steady(ctx context.Context, load *alertLoad, called *bell, seconds int) error {
	if err := wait(ctx, 10*time.Second); err != nil { // until it has seen everything several times
		return err
	}
	load.spikes.Store(true)
	before, err := spent(r.pid())
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := wait(ctx, time.Duration(seconds)*time.Second); err != nil {
		return err
	}
	load.spikes.Store(false)
	took := time.Since(begin)
	after, err := spent(r.pid())
	if err != nil {
		return err
	}
	memory, err := r.rssAnon()
	if err != nil {
		return err
	}
	var late []time.Duration
	err = every(ctx, 50*time.Millisecond, r.process, 30*time.Second, "the webhooks", func() bool {
		late = called.after(load.crossings())
		return len(late) == len(load.crossings())
	})
	if err != nil {
		return fmt.Errorf("%w; %d of %d came", err, len(late), len(load.crossings()))
	}
	r.note("%d plugs at a reading per second from %d gateways, %d rules, %v; %d of the plugs draw too much once", alertPlugs, alertGateways, alertRules, took.Round(time.Second), len(late))
	share := (after[0] - before[0]).Seconds() / took.Seconds()
	r.most("alerting_cpu", share, 1, "cores")
	r.fact("alerting_cpu_of_limit", 100*share, "%")
	r.fact("alerting_memory", memory, "MB")
	r.note("from the reading that crosses to the signed webhook; the gateway's time to hand it in is left out")
	r.fact("alerting_told_p50", millis(median(late)), "ms")
	r.most("alerting_told_p99", millis(quantile(late, 0.99)), 1000, "ms")
	return nil
}

// restarts kills the role while an alert fires for each plug, and starts it again.
func (r *alertRole) restarts(ctx context.Context, load *alertLoad, rounds int) error {
	load.storm.Store(true)
	all := func() bool { return r.ears.fire() == alertPlugs }
	if err := every(ctx, 50*time.Millisecond, r.process, 2*time.Minute, "an alert for each plug", all); err != nil {
		return fmt.Errorf("%w; %d are there", err, r.ears.fire())
	}
	bare, err := r.publishBare(ctx, all)
	if err != nil {
		return err
	}
	for _, busy := range []bool{false, true} {
		load.rest.Store(!busy)
		var answers, published []time.Duration
		for range rounds {
			if err := wait(ctx, 3*time.Second); err != nil {
				return err
			}
			r.kill()
			begin := time.Now()
			answered, err := r.begin(ctx)
			if err != nil {
				return err
			}
			if err := every(ctx, 5*time.Millisecond, r.process, time.Minute, "the alerts to be published again", all); err != nil {
				return fmt.Errorf("%w; %d are there", err, r.ears.fire())
			}
			answers, published = append(answers, answered), append(published, time.Since(begin))
		}
		if busy {
			r.note("and while all plugs are read each second, each of which is new to it")
			r.fact("alerting_restart_busy_answers", median(answers).Seconds(), "s")
			r.fact("alerting_restart_busy_published", median(published).Seconds(), "s")
			return nil
		}
		r.note("killed with %d alerts that fire, and started again; from the start of the process, medians of %d", alertPlugs, rounds)
		r.most("alerting_restart_answers", median(answers).Seconds(), 1, "s")
		r.most("alerting_restart_published", median(published).Seconds(), 1, "s")
		r.fact("alerting_restart_broker_alone", bare.Seconds(), "s")
	}
	return nil
}

// publishBare publishes as many alerts of that size as fire, with nothing between.
func (r *alertRole) publishBare(ctx context.Context, all func() bool) (time.Duration, error) {
	payload, err := json.Marshal(contract.Alert{ID: strings.Repeat("x", 50), Summary: strings.Repeat("x", 300)})
	if err != nil {
		return 0, err
	}
	r.ears.forget()
	begin := time.Now()
	err = publishAll(r.broker, alertPlugs, func(n int) (string, []byte) {
		return bus.AlertTopic(stormRule, fmt.Sprintf("sp_f%d.w.r%d.c%d", 1+n/floorPlugs, n%floorPlugs/5, n%5)), payload
	})
	if err != nil {
		return 0, err
	}
	err = every(ctx, 5*time.Millisecond, r.process, time.Minute, "the same from a bare client", all)
	return time.Since(begin), err
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
