package broker_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/broker"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/metrics"
)

// A client that reads nothing, with keep alive off, must not stop those who
// publish what it subscribed to.
func TestStuckClientHoldsUpNobody(t *testing.T) {
	b := start(t, secret)
	reg := metrics.New()
	b.Register(reg)
	stuck := connect(t, b, "stuck", 0)
	if !stuck.subscribe(1, "a") {
		t.Fatal("not subscribed")
	}
	if err := stuck.Conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	heard := hearing(t, b.URL(), bus.Options{ClientID: "listener"}, "a")
	l := link(t, b.URL(), bus.Options{ClientID: "speaker"})
	payload := strings.Repeat("x", 64<<10)
	begin := time.Now()
	const n = 640 // 40 MB, more than sockets and buffer hold
	for range n {
		publish(t, l, "a", payload, false)
		next(t, heard)
	}
	if took := time.Since(begin); took > 8*time.Second {
		t.Errorf("took %v", took)
	}
	if b.Dropped() == 0 {
		t.Error("nothing was dropped for the stuck client")
	}
	eventually(t, "the stuck client is disconnected", func() bool {
		var text strings.Builder
		if err := reg.WriteText(&text); err != nil {
			t.Fatal(err)
		}
		return strings.Contains(text.String(), "wattline_broker_clients 2\n")
	})
}

// A client that reads and never acknowledges must not pile up messages.
func TestClientWithoutAcknowledgementsIsBounded(t *testing.T) {
	b := start(t, secret, func(c *broker.Config) { c.ClientBufferBytes = 1 << 20 })
	greedy := connect(t, b, "greedy", 0)
	if !greedy.subscribe(1, "a") {
		t.Fatal("not subscribed")
	}
	got := make(chan int, 1)
	go func() {
		n := 0
		for {
			p, err := greedy.tryRead()
			if err != nil {
				got <- n
				return
			}
			n += len(p.body)
		}
	}()
	l := link(t, b.URL(), bus.Options{ClientID: "speaker"})
	payload := strings.Repeat("x", 16<<10)
	for range 500 { // 8 MB
		publish(t, l, "a", payload, false)
	}
	eventually(t, "drops", func() bool { return b.Dropped() > 300 })
	_ = greedy.Close()
	if n := <-got; n < 500<<10 || n > 2<<20 {
		t.Errorf("%d bytes unacknowledged, want about the 1 MiB that may wait", n)
	}
}

func TestHostilePacketsEndTheirOwnConnectionOnly(t *testing.T) {
	b := start(t)
	heard := hearing(t, b.URL(), bus.Options{ClientID: "listener"}, "a")
	hello := frame(connectPacket<<4, connectBody("", 4, 60, "", "", "", ""))
	hello5 := frame(connectPacket<<4, connectBody("", 5, 60, "", "", "", ""))
	for name, packets := range map[string][]byte{
		"HTTP":                      []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"zeros":                     make([]byte, 1000),
		"ones":                      bytes.Repeat([]byte{0xff}, 1000),
		"endless length":            append([]byte{connectPacket << 4}, bytes.Repeat([]byte{0x80}, 1000)...),
		"huge CONNECT":              {connectPacket << 4, 0xff, 0xff, 0xff, 0x7f},
		"CONNECT of a megabyte":     frame(connectPacket<<4, make([]byte, 1<<20)),
		"CONNECT twice":             append(bytes.Clone(hello), hello...),
		"not CONNECT first":         frame(publishPacket<<4, append(text("a"), "x"...)),
		"huge PUBLISH":              append(bytes.Clone(hello), publishPacket<<4, 0xff, 0xff, 0xff, 0x7f),
		"PUBLISH without packet id": append(bytes.Clone(hello), frame(publishPacket<<4|2, text("a"))...),
		"PUBLISH with wildcard":     append(bytes.Clone(hello), frame(publishPacket<<4, text("a/#"))...),
		"PUBLISH with bad UTF-8":    append(bytes.Clone(hello), frame(publishPacket<<4, text("\xff\xfe"))...),
		"QoS 3":                     append(bytes.Clone(hello), frame(publishPacket<<4|6, text("a"))...),
		"SUBSCRIBE without QoS":     append(bytes.Clone(hello), frame(subscribePacket<<4|2, append([]byte{0, 1}, text("a")...))...),
		"SUBSCRIBE cut off, MQTT 5": append(bytes.Clone(hello5), frame(subscribePacket<<4|2, append([]byte{0, 1, 0}, text("a")...))...),
		"PUBLISH topic cut, MQTT 5": append(bytes.Clone(hello5), frame(publishPacket<<4, []byte{0, 9, 'a'})...),
		"bad properties, MQTT 5":    append(bytes.Clone(hello5), frame(publishPacket<<4, append(text("a"), 0xff, 0xff, 0xff, 0x7f))...),
		"topic alias, MQTT 5":       append(bytes.Clone(hello5), frame(publishPacket<<4, append(text("a"), 3, 0x23, 0, 1))...),
		"CONNACK from a client":     append(bytes.Clone(hello), connectAnswer<<4, 2, 0, 0),
		"PUBLISH longer than 5 MiB": append(bytes.Clone(hello), frame(publishPacket<<4, append(text("a"), make([]byte, 6<<20)...))...),
		"a will that is a filter":   frame(connectPacket<<4, connectBody("", 4, 60, "#", "x", "", "")),
		"a will among the system's": frame(connectPacket<<4, connectBody("", 4, 60, "$SYS/x", "x", "", "")),
		"client id of 60 kB":        frame(connectPacket<<4, connectBody(strings.Repeat("x", 60_000), 4, 60, "", "", "", "")),
		"topic of 10,000 levels":    append(bytes.Clone(hello), frame(publishPacket<<4|2, append(text(strings.Repeat("a/", 10_000)), 0, 1, 'x'))...),
	} {
		c := dial(t, b)
		_ = c.SetWriteDeadline(time.Now().Add(20 * time.Second))
		_, _ = c.Write(packets)
		c.ping()
		for {
			p, err := c.tryRead()
			if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
				t.Errorf("%s: neither answered nor hung up", name)
			}
			if err != nil || p.kind == pingAnswer {
				break
			}
		}
	}
	publish(t, link(t, b.URL(), bus.Options{ClientID: "speaker"}), "a", "afterwards", false)
	for m := next(t, heard); string(m.Payload) != "afterwards"; m = next(t, heard) {
		if len(m.Payload) > 1 {
			t.Errorf("got %d bytes on %s", len(m.Payload), m.Topic)
		}
	}
}

// The memory that large packets share must come back, whatever else is in the
// same segment of the network.
func TestLargePacketsKeepComing(t *testing.T) {
	b := start(t)
	c := connect(t, b, "", 60)
	large := frame(publishPacket<<4|2, append(append(text("a"), 0, 1), make([]byte, 4<<20)...))
	small := frame(publishPacket<<4|2, append(text("a"), 0, 2, 'x'))
	const n = 40
	var sending sync.WaitGroup
	sending.Go(func() {
		_ = c.SetWriteDeadline(time.Now().Add(60 * time.Second))
		for range n {
			_, _ = c.Write(slices.Concat(large, small))
		}
	})
	for i := range 2 * n {
		if p := c.read(); p.kind != publishAnswer {
			t.Fatalf("answer %d is packet %d", i, p.kind)
		}
	}
	sending.Wait()
}

// A connection that waits for memory for its large packet ends at once when it
// is to end, here because its client is back.
func TestAConnectionThatWaitsForMemoryCanBeTakenOver(t *testing.T) {
	b := start(t)
	announce := frame(publishPacket<<4|2, make([]byte, 4<<20))[:100]
	for range 4 { // hold all the memory
		c := connect(t, b, "", 60)
		if _, err := c.Write(announce); err != nil {
			t.Fatal(err)
		}
	}
	<-time.After(200 * time.Millisecond) // for the packets to arrive; the test proves less without it
	c := connect(t, b, "x", 60)
	if _, err := c.Write(announce); err != nil {
		t.Fatal(err)
	}
	<-time.After(200 * time.Millisecond)
	begin := time.Now()
	connect(t, b, "x", 60).ping()
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("connected again after %v", took)
	}
}

func TestSubscriptionsAndRetainedMessagesAreBounded(t *testing.T) {
	b := start(t, func(c *broker.Config) { c.MaxRetained = 1000; c.RetainedBytes = 1 << 20 })
	c := connect(t, b, "", 60)
	granted := 0
	for i := range 1200 {
		if c.subscribe(1, fmt.Sprintf("x/%d", i)) {
			granted++
		}
	}
	if granted != 1000 {
		t.Errorf("%d subscriptions", granted)
	}
	l := link(t, b.URL(), bus.Options{ClientID: "speaker"})
	for i := range 1200 {
		publish(t, l, fmt.Sprintf("a/%d", i), "x", true)
	}
	publish(t, l, "a/0", "", true) // room for one
	publish(t, l, "b", strings.Repeat("x", 500<<10), true)
	publish(t, l, "a/1", strings.Repeat("x", 600<<10), true) // too many bytes: passed on, not kept
	publish(t, l, "a/2", "y", true)                          // in place of another
	heard := hearing(t, b.URL(), bus.Options{ClientID: "late"}, "a/#", "b", "end")
	publish(t, l, "end", "", false)
	got := map[string]int{}
	for m := next(t, heard); m.Topic != "end"; m = next(t, heard) {
		got[m.Topic] = len(m.Payload)
		if m.Topic == "a/2" && string(m.Payload) != "y" {
			t.Errorf("a/2 is %s", m.Payload)
		}
	}
	if len(got) != 1000 || got["b"] != 500<<10 || got["a/1"] != 1 || got["a/2"] != 1 {
		t.Errorf("%d retained, b %d, a/1 %d, a/2 %d", len(got), got["b"], got["a/1"], got["a/2"])
	}
}

// 200 hostile clients of all kinds, and one honest pair among them.
func TestTwoHundredHostileClients(t *testing.T) {
	b := start(t, func(c *broker.Config) { c.ClientBufferBytes, c.BufferBytes = 4<<20, 64<<20 })
	heard := hearing(t, b.URL(), bus.Options{ClientID: "listener"}, "honest")
	l := link(t, b.URL(), bus.Options{ClientID: "speaker"})
	publish(t, l, "honest", "x", false)
	next(t, heard)
	goroutines := runtime.NumGoroutine()
	before := heap()
	var all sync.WaitGroup
	stop := make(chan struct{})
	big := frame(publishPacket<<4|2, append(append(text("big"), 0, 1), make([]byte, 4<<20)...))
	for i := range 200 {
		all.Go(func() { attack(b, i, big, stop) })
	}
	var took []time.Duration
	var most [2]uint64              // in either half of the attack
	const attack = 12 * time.Second // longer than a CONNECT may take
	for began := time.Now(); time.Since(began) < attack; {
		begin := time.Now()
		publish(t, l, "honest", "x", false)
		next(t, heard)
		took = append(took, time.Since(begin))
		if len(took)%10 == 0 {
			half := int(2 * time.Since(began) / attack % 2)
			most[half] = max(most[half], heap())
		}
	}
	close(stop)
	all.Wait()
	slices.Sort(took)
	t.Logf("%d honest messages, p99 %v, longest %v; heap %d MB before, %d MB in the first half, %d MB in the second", len(took), took[len(took)*99/100], took[len(took)-1], before>>20, most[0]>>20, most[1]>>20)
	if took[len(took)-1] > 5*time.Second || len(took) < 5 {
		t.Error("honest clients were held up")
	}
	// Garbage of the collector's pace is in it: 25 of the clients send 4 MB once
	// a second, and mochi copies each several times.
	if max(most[0], most[1]) > 1500<<20 || most[1] > 2*most[0]+200<<20 {
		t.Error("memory grew")
	}
	eventually(t, "goroutines are back", func() bool { return runtime.NumGoroutine() <= goroutines+5 })
	eventually(t, "memory is back", func() bool {
		runtime.GC()
		return heap() < before+16<<20
	})
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// attack does one of several kinds of harm until told to stop.
func attack(b *broker.Broker, i int, big []byte, stop <-chan struct{}) {
	random := rand.New(rand.NewPCG(uint64(i), 1))
	garbage := make([]byte, 4096)
	for {
		select {
		case <-stop:
			return
		default:
		}
		c, err := net.Dial("tcp", b.Addr())
		if err != nil {
			continue
		}
		_ = c.SetDeadline(time.Now().Add(13 * time.Second))
		hello := frame(connectPacket<<4, connectBody(fmt.Sprintf("hostile-%d", i), 4, 0, "", "", "", ""))
		switch i % 8 {
		case 0: // says nothing
			wait(c, stop)
		case 1: // CONNECT without end, a byte now and then
			for _, x := range hello[:len(hello)-1] {
				if _, err := c.Write([]byte{x}); err != nil || !rest(stop, 500*time.Millisecond) {
					break
				}
			}
		case 2: // garbage
			for j := range garbage {
				garbage[j] = byte(random.Uint32())
			}
			_, _ = c.Write(garbage)
			rest(stop, 10*time.Millisecond)
		case 3: // almost a large packet
			_, _ = c.Write(hello)
			_, _ = c.Write(big[:len(big)-1])
			wait(c, stop)
		case 4: // announces a large packet
			_, _ = c.Write(append(hello, big[:5]...))
			wait(c, stop)
		case 5: // subscribes to everything and reads nothing
			_, _ = c.Write(append(hello, frame(subscribePacket<<4|2, append(append([]byte{0, 1}, text("#")...), 1))...))
			rest(stop, 13*time.Second)
		case 6: // large packets, one after the other
			_, _ = c.Write(hello)
			for rest(stop, time.Second) {
				if _, err := c.Write(big); err != nil {
					break
				}
			}
		case 7: // comes and goes
			_, _ = c.Write(hello)
			rest(stop, 20*time.Millisecond)
		}
		_ = c.Close()
	}
}

// wait waits until the broker hangs up or the test ends.
func wait(c net.Conn, stop <-chan struct{}) {
	hung := make(chan struct{})
	go func() {
		defer close(hung)
		var b [512]byte
		for {
			if _, err := c.Read(b[:]); err != nil {
				return
			}
		}
	}()
	select {
	case <-hung:
	case <-stop:
	}
	_ = c.Close()
	<-hung
}

func rest(stop <-chan struct{}, d time.Duration) bool {
	select {
	case <-stop:
		return false
	case <-time.After(d):
		return true
	}
}

func TestSilentConnectionsMakeRoom(t *testing.T) {
	b := start(t, func(c *broker.Config) { c.MaxClients = 10 })
	var silent []*raw
	for range 400 { // more than may be silent
		silent = append(silent, dial(t, b))
	}
	c := connect(t, b, "honest", 60)
	c.ping()
	if p := c.read(); p.kind != pingAnswer {
		t.Error("an honest client has no room")
	}
	if _, err := silent[0].tryRead(); err == nil {
		t.Error("the oldest silent connection is still there")
	}
}
