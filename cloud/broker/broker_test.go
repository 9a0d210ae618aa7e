package broker_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wattline/wattline/cloud/broker"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// start runs a broker on a free port for the life of the test.
func start(t testing.TB, change ...func(*broker.Config)) *broker.Broker {
	t.Helper()
	cfg := broker.DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	for _, c := range change {
		c(&cfg)
	}
	b, err := broker.Start(context.Background(), cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// link connects for the life of the test and waits until it is up.
func link(t testing.TB, url string, o bus.Options) *bus.Link {
	t.Helper()
	o.URL = url
	l := bus.NewLink(o, quiet)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	if err := l.AwaitUp(within(t)); err != nil {
		t.Fatalf("%s: %v", o.ClientID, err)
	}
	return l
}

func hearing(t testing.TB, url string, o bus.Options, filters ...string) <-chan bus.Message {
	t.Helper()
	heard := make(chan bus.Message, 100_000)
	o.Up = func(ctx context.Context, s *bus.Session) error {
		for _, f := range filters {
			if err := s.Subscribe(ctx, f, func(m bus.Message) { heard <- m }); err != nil {
				return err
			}
		}
		return nil
	}
	link(t, url, o)
	return heard
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func next(t testing.TB, heard <-chan bus.Message) bus.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel() // not within: tests call this many thousand times
	select {
	case m := <-heard:
		return m
	case <-ctx.Done():
		t.Fatal("nothing heard")
		return bus.Message{}
	}
}

func publish(t testing.TB, l *bus.Link, topic, payload string, retained bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := l.Publish(ctx, bus.Message{Topic: topic, Payload: []byte(payload), Retained: retained}); err != nil {
		t.Fatal(err)
	}
}

// eventually polls until the condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: never", what)
		}
		time.Sleep(5 * time.Millisecond) // polling under a deadline
	}
}

func TestMessagesPassAndRetainedOnesStay(t *testing.T) {
	b := start(t)
	heard := hearing(t, b.URL(), bus.Options{ClientID: "listener"}, "a/#")
	l := link(t, b.URL(), bus.Options{ClientID: "speaker"})
	publish(t, l, "a/b", "x", true)
	if m := next(t, heard); m.Topic != "a/b" || string(m.Payload) != "x" || m.Retained {
		t.Errorf("%+v", m)
	}
	late := hearing(t, b.URL(), bus.Options{ClientID: "late"}, "a/b")
	if m := next(t, late); string(m.Payload) != "x" || !m.Retained {
		t.Errorf("retained: %+v", m)
	}
}

func TestSharedSubscriptionsGiveEachMessageOnce(t *testing.T) {
	b := start(t)
	var heard [3]<-chan bus.Message
	for i := range heard {
		heard[i] = hearing(t, b.URL(), bus.Options{ClientID: fmt.Sprint("member", i)}, "$share/hook/data/+/influx_data/#")
	}
	all := hearing(t, b.URL(), bus.Options{ClientID: "all"}, "data/#")
	l := link(t, b.URL(), bus.Options{ClientID: "speaker"})
	const n = 300
	for i := range n {
		publish(t, l, "data/x/influx_data/sp", fmt.Sprint(i), false)
	}
	for i := range n {
		if m := next(t, all); string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, m.Payload)
		}
	}
	eventually(t, "all shared", func() bool { return len(heard[0])+len(heard[1])+len(heard[2]) >= n })
	for i := range heard {
		if len(heard[i]) == 0 {
			t.Errorf("member %d got nothing", i)
		}
	}
}

// A client subscribes twice; what the first subscription brings is under way
// with the packet identifiers that the second one comes with.
func TestSubscribingWhileRetainedMessagesArrive(t *testing.T) {
	b := start(t)
	l := link(t, b.URL(), bus.Options{ClientID: "speaker"})
	const n = 2000
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { publish(t, l, fmt.Sprintf("registry/places/p%d", i), "x", true) })
		if i%100 == 99 {
			all.Wait()
		}
	}
	all.Wait()
	c := connect(t, b, "", 60) // that never acknowledges
	for i := range 20 {
		if !c.subscribe(uint16(i+1), []string{"registry/#", "a"}[i%2]) {
			t.Fatalf("subscription %d was refused", i)
		}
	}
	for i := range 5 {
		heard := hearing(t, b.URL(), bus.Options{ClientID: fmt.Sprint("listener", i)}, "registry/#", "gateways/+/status", "alerts/#", "a", "b", "c", "d", "e", "f")
		for range n {
			next(t, heard)
		}
	}
}

// An id that connects again and again must never be left without its
// subscription, and its wills come before what it says next.
func TestTakeoversLeaveNobodyDeaf(t *testing.T) {
	b := start(t)
	speaker := link(t, b.URL(), bus.Options{ClientID: "speaker"})
	for range 150 {
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				c := dial(t, b) // and may be thrown out before it is welcomed
				c.send(connectPacket<<4, connectBody("same", 4, 60, "", "", "", ""))
				c.subscribe(1, "a")
			})
		}
		all.Wait()
		last := connect(t, b, "same", 60)
		last.subscribe(1, "a")
		publish(t, speaker, "a", "x", false)
		if p := last.read(); p.kind != publishPacket {
			t.Fatalf("got packet %d instead of the message", p.kind)
		}
	}
}

func TestWillComesBeforeTheNextLifeOfItsClient(t *testing.T) {
	b := start(t)
	heard := hearing(t, b.URL(), bus.Options{ClientID: "listener"}, "gateways/+/status")
	for i := range 50 {
		c := connectWith(t, b, "f1-00000000000000aa", 60, "gateways/f1/status", "gone")
		c.publish("gateways/f1/status", fmt.Sprint(i))
		if m := next(t, heard); string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("round %d: %s", i, m.Payload)
		}
		again := connectWith(t, b, "f1-00000000000000aa", 60, "gateways/f1/status", "gone")
		again.publish("gateways/f1/status", "back")
		if m := next(t, heard); string(m.Payload) != "gone" {
			t.Fatalf("round %d: %s before the will", i, m.Payload)
		}
		if m := next(t, heard); string(m.Payload) != "back" {
			t.Fatalf("round %d: %s", i, m.Payload)
		}
		again.send(disconnectPacket<<4, nil) // a proper farewell: no will
		for err := error(nil); err == nil; _, err = again.tryRead() {
		}
	}
}

func TestNoSessionOutlivesItsConnection(t *testing.T) {
	b := start(t)
	body := connectBody("lasting", 4, 60, "", "", "", "")
	body[7] &^= 2 // asks for a session that lasts
	c := dial(t, b)
	c.send(connectPacket<<4, body)
	c.read()
	c.subscribe(1, "a")
	c.Close()
	speaker := link(t, b.URL(), bus.Options{ClientID: "speaker"})
	publish(t, speaker, "a", "while away", false)
	back := dial(t, b)
	back.send(connectPacket<<4, body)
	if p := back.read(); p.kind != connectAnswer || p.body[0] != 0 || p.body[1] != 0 {
		t.Errorf("a session was promised: %v", p)
	}
	back.ping()
	if p := back.read(); p.kind != pingAnswer {
		t.Errorf("got packet %d of an earlier session", p.kind)
	}
}

func TestCloseEndsEverythingSoon(t *testing.T) {
	b := start(t)
	for range 20 {
		dial(t, b) // says nothing
		connect(t, b, "", 0)
	}
	begin := time.Now()
	b.Close()
	b.Close()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

// mochi's own way of closing takes the lock of its clients twice, and stands
// still for ever when one leaves between.
func TestCloseWhileClientsComeAndGo(t *testing.T) {
	for range 50 {
		b := start(t)
		stop := make(chan struct{})
		met := make(chan struct{}, 8)
		var clients sync.WaitGroup
		for range cap(met) {
			clients.Go(func() { comeAndGo(t, b.Addr(), met, stop) })
		}
		for range cap(met) {
			<-met
		}
		closed := make(chan struct{})
		go func() { b.Close(); close(closed) }()
		select {
		case <-closed:
		case <-time.After(20 * time.Second):
			t.Fatal("the broker does not close")
		}
		close(stop)
		clients.Wait()
	}
}

// comeAndGo connects and leaves again and again, until stop or until nobody
// answers; met hears of its first answers.
func comeAndGo(t *testing.T, address string, met chan<- struct{}, stop <-chan struct{}) {
	t.Helper()
	for {
		select {
		case <-stop:
			return
		default:
		}
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			return
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = c.Write(frame(connectPacket<<4, connectBody("", 4, 0, "", "", "", "")))
		_, _ = io.ReadFull(c, make([]byte, 4))
		_ = c.Close()
		select {
		case met <- struct{}{}:
		default:
		}
	}
}

// The parts that speak through the broker end when the program's context does,
// and take their leave over it.
func TestTheBrokerOutlivesTheContextOfItsStart(t *testing.T) {
	cfg := broker.DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	ctx, cancel := context.WithCancel(t.Context())
	b, err := broker.Start(ctx, cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c := connect(t, b, "x", 0)
	cancel()
	c.ping()
	if p := c.read(); p.kind != pingAnswer {
		t.Errorf("got packet %d", p.kind)
	}
}

func TestAddressesThatCannotBe(t *testing.T) {
	b := start(t)
	cfg := broker.DefaultConfig()
	for address, want := range map[string]string{
		b.Addr():            "choose another with broker.listen",
		"0.0.0.0:0":         "not on loopback",
		":1883":             "not on loopback",
		"example.com:1883":  "not on loopback",
		"127.0.0.1":         "not host:port",
		"127.0.0.1:http-no": "start the MQTT broker on",
	} {
		cfg.Listen = address
		if b, err := broker.Start(t.Context(), cfg, quiet); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", address, err)
			if err == nil {
				b.Close()
			}
		}
	}
	bad := broker.Config{Listen: "x"}
	if err := bad.Validate(); err == nil || strings.Count(err.Error(), "\n") < 6 {
		t.Errorf("not all mistakes: %v", err)
	}
}

func TestMetricsTellWhatHappens(t *testing.T) {
	b := start(t)
	reg := metrics.New()
	b.Register(reg)
	heard := hearing(t, b.URL(), bus.Options{ClientID: "listener"}, "a")
	publish(t, link(t, b.URL(), bus.Options{ClientID: "speaker"}), "a", "x", false)
	next(t, heard)
	eventually(t, "metrics", func() bool {
		var text strings.Builder
		if err := reg.WriteText(&text); err != nil {
			t.Fatal(err)
		}
		return strings.Contains(text.String(), "wattline_broker_clients 2\n") && strings.Contains(text.String(), "wattline_broker_messages_in_total 1\n") &&
			strings.Contains(text.String(), "wattline_broker_messages_out_total 1\n") && strings.Contains(text.String(), "wattline_broker_waiting_bytes 0\n")
	})
}
