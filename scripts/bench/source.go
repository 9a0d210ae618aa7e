package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/wattline/wattline/edge/outbox"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/senml"
)

// source plays a gateway or an agent that hands in batches and waits for their
// receipts. It costs as little as can be: its batches are made before the clock
// runs, and as nothing is sent twice nothing is kept.
type source struct {
	name      string
	say, hear *client
	waiting   []batch
	running   sync.WaitGroup
	receipted chan string // ids
	failed    chan error  // why nothing more comes
}

type batch struct {
	topic, id string
	payload   []byte
}

// window is how many batches a source has unanswered.
const window = 64

// newSource makes the batches, and connects to the cloud.
func newSource(c *central, name string, floor int, at device.Micros, readings, perBatch int) (*source, error) {
	l, err := rooms(floor, at)
	if err != nil {
		return nil, err
	}
	s := &source{name: name, receipted: make(chan string, readings/perBatch+1), failed: make(chan error, 2)}
	epoch := contract.Epoch(rand.Uint64())
	for n := 0; n < readings; n += perBatch {
		one, err := makeBatch(name, l, contract.BatchID{Epoch: epoch, Sequence: uint64(n/perBatch + 1)}, perBatch)
		if err != nil {
			return nil, err
		}
		s.waiting = append(s.waiting, one)
	}
	return s, s.connect(c, bus.ReceiptsTopic(name))
}

// rooms is a load of the plugs of [building].
func rooms(floor int, at device.Micros) (*load, error) {
	l, err := newLoad(floor, at, 1e6)
	if err != nil {
		return nil, err
	}
	for i := range l.plugs {
		if l.plugs[i], err = device.Parse(fmt.Sprintf("sp_f%d.g%d", floor, i)); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// makeBatch makes one as an outbox does.
func makeBatch(name string, l *load, id contract.BatchID, readings int) (batch, error) {
	var records []senml.Record
	for range readings {
		records = outbox.AppendRecords(records, l.read())
	}
	pack, err := senml.Append(nil, records)
	if err != nil {
		return batch{}, err
	}
	head := contract.BatchHead{Readings: readings, From: records[0].Time, To: records[len(records)-1].Time}
	payload, err := bus.Envelope{ID: id.String(), ResponseTopic: bus.ReceiptsTopic(name), Batch: &head, Data: pack}.Encode()
	topic := bus.Data{Source: name, Hook: "influx_data", Database: "sp", Batch: id.String()}.String()
	return batch{topic, id.String(), bus.Compress(payload)}, err
}

// connect uses two connections, as one goroutine only may write on each.
func (s *source) connect(c *central, receipts string) (err error) {
	if s.say, err = dialRole(c.mqtt, hook.ClientID(s.name+"-says"), hooksPassword); err != nil {
		return err
	}
	if s.hear, err = dialRole(c.mqtt, hook.ClientID(s.name+"-hears"), hooksPassword); err != nil {
		s.say.close()
		return err
	}
	if err := s.hear.subscribe(receipts); err != nil {
		s.say.close()
		s.hear.close()
		return err
	}
	s.running.Go(func() { // acknowledgements
		for {
			if _, err := s.say.next(); err != nil {
				s.failed <- err
				return
			}
		}
	})
	s.running.Go(func() {
		for {
			p, err := s.hear.next()
			if err == nil && p.kind == typePublish {
				err = s.take(p.payload)
			}
			if err != nil {
				s.failed <- err
				return
			}
		}
	})
	return nil
}

// take counts what a receipt names.
func (s *source) take(payload []byte) error {
	var said struct {
		Data  contract.Receipts
		Error json.RawMessage
	}
	if err := json.Unmarshal(payload, &said); err != nil || len(said.Error) > 0 {
		return errors.Join(err, fmt.Errorf("%s was told %.200s", s.name, payload))
	}
	for _, r := range said.Data.Stored {
		s.receipted <- r.ID.String()
	}
	return nil
}

// next waits for a receipt.
func (s *source) next(ctx context.Context) (string, error) {
	select {
	case id := <-s.receipted:
		return id, nil
	case err := <-s.failed:
		return "", fmt.Errorf("%s hears no more: %w", s.name, err)
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// handIn has all sources hand in what they have, a window at a time.
func handIn(ctx context.Context, sources []*source) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Minute, errors.New("no receipts within five minutes"))
	defer cancel()
	errs := make([]error, len(sources))
	var all sync.WaitGroup
	for i, s := range sources {
		all.Go(func() { errs[i] = s.handIn(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (s *source) handIn(ctx context.Context) error {
	for sent, answered := 0, 0; answered < len(s.waiting); answered++ {
		for sent < len(s.waiting) && sent-answered < window {
			if err := s.say.publish(s.waiting[sent].topic, s.waiting[sent].payload, 0); err != nil {
				return err
			}
			sent++
		}
		if err := s.say.w.Flush(); err != nil {
			return err
		}
		if _, err := s.next(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *source) close() {
	s.say.close()
	s.hear.close()
	s.running.Wait()
}
