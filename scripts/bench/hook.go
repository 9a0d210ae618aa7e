package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wattline/wattline/shared/contract"
)

// counter stands where the storing hook stands: it hears batches, counts them,
// and, when it is told to, answers each with a receipt of its digest. It costs as
// little as can be.
type counter struct {
	client   *client
	gateway  string
	receipts atomic.Bool
	heard    atomic.Int64 // batches, each time they come
	bytes    atomic.Int64 // of their payloads
	done     chan struct{}

	mu    sync.Mutex // protects what follows
	first time.Time
	last  time.Time
	ids   map[string]int // batch id -> times heard
	err   error
}

// hear subscribes to the batches of a gateway.
func hear(broker, gateway string) (*counter, error) {
	c, err := dialMQTT(broker, "counter")
	if err != nil {
		return nil, err
	}
	k := &counter{client: c, gateway: gateway, done: make(chan struct{}), ids: make(map[string]int)}
	k.receipts.Store(true)
	if err := c.subscribe("data/" + gateway + "/#"); err != nil {
		c.close()
		return nil, err
	}
	go func() {
		defer close(k.done)
		k.loop()
	}()
	return k, nil
}

// loop answers what has come together when nothing more is there, or after so
// many batches.
func (k *counter) loop() {
	const most = 64
	var due []byte
	n := 0
	for {
		p, err := k.client.next()
		if err != nil {
			k.mu.Lock()
			k.err = err
			k.mu.Unlock()
			return
		}
		if p.kind == typePublish {
			due = k.take(p, due)
			n++
		}
		if n < most && k.client.r.Buffered() > 0 || len(due) == 0 {
			continue
		}
		err = k.client.publish("responses/"+k.gateway+"/receipts", append(due, "]}}"...), 0)
		if err := errors.Join(err, k.client.w.Flush()); err != nil {
			continue // the next read tells
		}
		due, n = due[:0], 0
	}
}

// take counts a batch and adds its receipt to due.
func (k *counter) take(p packet, due []byte) []byte {
	id := string(p.topic[strings.LastIndexByte(string(p.topic), '/')+1:])
	k.mu.Lock()
	k.last = time.Now()
	if k.first.IsZero() {
		k.first = k.last
	}
	k.ids[id]++
	k.mu.Unlock()
	k.bytes.Add(int64(len(p.payload)))
	k.heard.Add(1)
	if !k.receipts.Load() {
		return due
	}
	if len(due) == 0 {
		due = append(due, `{"data":{"stored":[`...)
	} else {
		due = append(due, ',')
	}
	digest := contract.DigestOf(p.payload)
	due = append(append(due, `{"id":"`...), id...)
	due = append(due, `","digest":"`...)
	return append(hex.AppendEncode(due, digest[:]), `"}`...)
}

// distinct is how many batches were heard, repeated ones counted once.
func (k *counter) distinct() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.ids)
}

// span is the time from the first to the last batch.
func (k *counter) span() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last.Sub(k.first)
}

// forget begins anew.
func (k *counter) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.first, k.last = time.Time{}, time.Time{}
	clear(k.ids)
	k.heard.Store(0)
	k.bytes.Store(0)
}

// firstHeard is when the first batch came since forget; ok is false before.
func (k *counter) firstHeard() (at time.Time, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.first, !k.first.IsZero()
}

func (k *counter) close() error {
	k.client.close()
	<-k.done
	if k.err != nil && !errors.Is(k.err, io.EOF) && !errors.Is(k.err, net.ErrClosed) && !errors.Is(k.err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("count batches: %w", k.err)
	}
	return nil
}
