package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wattline/wattline/edge/outbox"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
	"github.com/wattline/wattline/shared/webhook"
)

const (
	spikeRule, spikeWatts   = "bench-spike", 9000.0
	stormRule, stormAmperes = "bench-storm", 99.0
	spikesPerSecond         = 5
)

// alertLoad is a hundred gateways that hand in what they have read each second,
// one after the other, and tell how they are every ten seconds.
type alertLoad struct {
	client  *client
	acks    sync.WaitGroup
	floors  []*load
	epochs  []contract.Epoch
	batches uint64 // of each

	spikes, storm, rest atomic.Bool

	mu      sync.Mutex // protects crossed
	crossed map[string]time.Time
}

// newAlertLoad tells the house as the registry would.
func newAlertLoad(broker string) (*alertLoad, error) {
	c, err := dialMQTT(broker, "alerting-load")
	if err != nil {
		return nil, err
	}
	a := &alertLoad{client: c, crossed: make(map[string]time.Time)}
	a.acks.Go(func() {
		for {
			if _, err := c.next(); err != nil {
				return
			}
		}
	})
	say := func(topic string, what any) error {
		text, err := json.Marshal(what)
		return errors.Join(err, c.publish(topic, text, retain))
	}
	err = say(bus.SiteTopic, contract.Site{Name: "Bench", DefaultFloor: 1, TimeZone: "Europe/Berlin"})
	for floor := 1; floor <= alertGateways && err == nil; floor++ {
		name := fmt.Sprintf("edge-f%d", floor)
		err = say(bus.GatewaysInfoPrefix+name, contract.GatewayInfo{Gateway: name, Floor: floor, ConfigVersion: 1})
		l, made := newLoad(floor, device.MicrosOf(time.Now()), 1e6)
		if made != nil {
			return nil, made
		}
		for n, id := range l.plugs {
			place := contract.Place{Device: id, Gateway: name, Driver: "hs110", Address: fmt.Sprintf("10.%d.0.%d", floor, n+1), Label: fmt.Sprintf("Desk %d", n), MaxPower: 20_000}
			err = errors.Join(err, say(bus.PlacesPrefix+id.String(), place))
		}
		a.floors, a.epochs = append(a.floors, l), append(a.epochs, contract.Epoch(rand.Uint64()))
	}
	return a, errors.Join(err, c.w.Flush())
}

func (a *alertLoad) close() {
	a.client.close()
	a.acks.Wait()
}

// run hands in a hundredth of the load every ten milliseconds.
func (a *alertLoad) run(ctx context.Context) error {
	tick := time.NewTicker(time.Second / alertGateways)
	defer tick.Stop()
	for n := 0; ; n++ {
		floor := n % alertGateways
		if floor == 0 {
			a.batches++
		}
		if !a.rest.Load() {
			if err := a.handIn(floor, n/alertGateways); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (a *alertLoad) handIn(floor, second int) error {
	name, l := fmt.Sprintf("edge-f%d", floor+1), a.floors[floor]
	now := time.Now()
	l.at = device.MicrosOf(now.Add(-time.Second))
	// A fair share of the gateways have a plug that draws too much in this second.
	spike := -1
	if a.spikes.Load() && (floor+second)%(alertGateways/spikesPerSecond) == 0 {
		spike = second % floorPlugs
	}
	var records []senml.Record
	for n := range floorPlugs {
		r := l.read()
		if a.storm.Load() {
			amperes := device.Amperes(stormAmperes)
			r.Measurement.Current = &amperes
		}
		if n == spike {
			watts := device.Watts(spikeWatts)
			r.Time, r.Measurement.Power = device.MicrosOf(now), &watts
			a.cross(r.Device, now)
		}
		records = outbox.AppendRecords(records, r)
	}
	pack, err := senml.Append(nil, records)
	if err != nil {
		return err
	}
	id := contract.BatchID{Epoch: a.epochs[floor], Sequence: a.batches}
	head := contract.BatchHead{Readings: floorPlugs, From: records[0].Time, To: records[len(records)-1].Time}
	payload, err := bus.Envelope{ID: id.String(), ResponseTopic: bus.ReceiptsTopic(name), Batch: &head, Data: pack}.Encode()
	if err != nil {
		return err
	}
	topic := bus.Data{Source: name, Hook: "influx_data", Database: "sp", Batch: id.String()}.String()
	if err := a.client.publish(topic, bus.Compress(payload), 0); err != nil {
		return err
	}
	if (floor+second)%10 == 0 {
		if err := a.beat(floor, name); err != nil {
			return err
		}
	}
	return a.client.w.Flush()
}

func (a *alertLoad) beat(floor int, name string) error {
	status, err := json.Marshal(contract.Status{
		Gateway: name, Online: true, Epoch: a.epochs[floor], Sequence: a.batches, ConfigVersion: 1, Time: device.MicrosOf(time.Now()),
		Clock: contract.ClockStatus{Set: true}, Outbox: contract.OutboxStatus{Limit: 1 << 30},
		Plugs: contract.PlugsStatus{Configured: floorPlugs, Reachable: floorPlugs},
	})
	return errors.Join(err, a.client.publish(bus.StatusTopic(name), status, retain))
}

// cross notes that a plug draws too much; each plug counts once.
func (a *alertLoad) cross(id device.ID, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, again := a.crossed[id.String()]; !again {
		a.crossed[id.String()] = now
	}
}

// crossings are the plugs that drew too much, and when that was handed in.
func (a *alertLoad) crossings() map[string]time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.crossed
}

// bell takes signed webhooks, and notes when it heard of which plug first.
type bell struct {
	key webhook.Key

	mu   sync.Mutex // protects rung
	rung map[string]time.Time
}

func newBell(secret string) (*bell, error) {
	key, err := webhook.ParseSecret(secret)
	return &bell{key: key, rung: make(map[string]time.Time)}, err
}

func (k *bell) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = k.key.Verify(r.Header.Get(webhook.HeaderID), r.Header.Get(webhook.HeaderTimestamp), r.Header.Get(webhook.HeaderSignature), body, now)
	}
	var m struct {
		Items []struct{ Alert contract.Alert }
	}
	if err == nil {
		err = json.Unmarshal(body, &m)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, i := range m.Items {
		if _, again := k.rung[i.Alert.Subject]; !again && i.Alert.Rule == spikeRule {
			k.rung[i.Alert.Subject] = now
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// after is how long after each crossing it was told, of those that were.
func (k *bell) after(crossed map[string]time.Time) (late []time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for subject, at := range crossed {
		if told, ok := k.rung[subject]; ok {
			late = append(late, told.Sub(at))
		}
	}
	return late
}

// ears hear which alerts of the storm are published, and what the role answers.
type ears struct {
	hears, asks *client // only one goroutine may write on each
	done        sync.WaitGroup

	mu     sync.Mutex // protects what follows
	firing map[string]struct{}
	answer bool
}

const answerTopic = "responses/bench-alerting/a"

func newEars(broker string) (*ears, error) {
	c, err := dialMQTT(broker, "alerting-ears")
	if err != nil {
		return nil, err
	}
	e := &ears{hears: c, firing: make(map[string]struct{})}
	if e.asks, err = dialMQTT(broker, "alerting-asks"); err != nil {
		c.close()
		return nil, err
	}
	for _, filter := range []string{bus.AlertTopic(stormRule, "+"), answerTopic} {
		if err := c.subscribe(filter); err != nil {
			e.close()
			return nil, err
		}
	}
	e.done.Go(func() {
		for {
			p, err := c.next()
			if err != nil {
				return
			}
			if p.kind == typePublish {
				e.hear(string(p.topic), p.payload)
			}
		}
	})
	return e, nil
}

func (e *ears) hear(topic string, payload []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case topic == answerTopic:
		e.answer = e.answer || strings.Contains(string(payload), `"content"`)
	case len(payload) == 0:
		delete(e.firing, topic)
	default:
		e.firing[topic] = struct{}{}
	}
}

// ask asks for a page of what fires.
func (e *ears) ask() error {
	data, err := json.Marshal(contract.RegistryRequest{Verb: "list", Limit: 100})
	if err != nil {
		return err
	}
	payload, err := bus.Envelope{ID: "a", ResponseTopic: answerTopic, Data: data}.Encode()
	return errors.Join(err, e.asks.tell("query/alerting/alerts", payload, 0), e.asks.w.Flush())
}

func (e *ears) answered() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.answer
}

func (e *ears) fire() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.firing)
}

func (e *ears) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = false
	clear(e.firing)
}

func (e *ears) close() {
	e.asks.close()
	e.hears.close()
	e.done.Wait()
}
