package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"golang.org/x/sync/semaphore"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/metrics"
)

const (
	largePackets  = 64 << 20 // bytes of memory for large packets that are arriving
	writesPending = 2048     // messages to a client between mochi and its buffer
	readBuffer    = 8 << 10  // bytes
	maxInflight   = 60_000   // messages a client has not acknowledged; its bytes are bounded before
	sysInterval   = 60       // s between mochi's $SYS messages, each of which stops the world
)

// Broker is a running broker.
type Broker struct {
	server   *mqtt.Server
	listener *listener
	secure   *listener // nil without TLS
	guard    *guard
	limits   *limits
	counted  *counters
	once     sync.Once
}

// Start listens, and serves until Close: ctx is for the start alone, so that the
// parts that speak through the broker can end before it. An address that is
// taken gives an error that says what to do.
func Start(ctx context.Context, cfg Config, log *slog.Logger, options ...Option) (*Broker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	var o extra
	for _, option := range options {
		option(&o)
	}
	b := &Broker{
		limits:  &limits{maxPacket: cfg.MaxPacketBytes, large: budget(cfg), largeRoles: budget(cfg), hard: 2 * cfg.BufferBytes},
		counted: &counters{},
	}
	b.server = mqtt.New(capabilities(cfg))
	b.guard = &guard{
		log: log, refused: o.refused, outlet: o.outlet, enrolled: make(map[string]enrolled), password: cfg.Password, clients: b.server.Clients.Get, counted: b.counted,
		share: int64(cfg.ClientBufferBytes), all: int64(cfg.BufferBytes),
		retained: &retained{most: cfg.MaxRetained, mostBytes: cfg.RetainedBytes, sizes: make(map[string]int)},
		sessions: make(map[string]*conn),
	}
	if err := b.listen(ctx, cfg, o.tls); err != nil {
		return nil, err
	}
	if err := b.serve(); err != nil {
		b.unlisten()
		return nil, fmt.Errorf("start the MQTT broker on %s: %w", cfg.Listen, err)
	}
	log.InfoContext(ctx, "broker listens", slog.String("source", b.Addr()), slog.String("tls", b.SecureAddr()))
	return b, nil
}

// Option is what a program passes beside the operator's Config.
type Option func(*extra)

type extra struct {
	tls     *tls.Config
	refused func(contract.Audited)
	outlet  Outlet
}

// Secured gives the listener of Config.TLS its certificate and the authority of
// its clients, who must be asked for theirs.
func Secured(config *tls.Config) Option { return func(o *extra) { o.tls = config } }

// OnRefusal is called for what clients did against the rules, each breach once a
// minute and at most a hundred of them. It must not block.
func OnRefusal(refused func(contract.Audited)) Option { return func(o *extra) { o.refused = refused } }

// listen takes the addresses.
func (b *Broker) listen(ctx context.Context, cfg Config, secure *tls.Config) error {
	plain, err := take(ctx, cfg.Listen, "broker.listen")
	if err != nil {
		return err
	}
	b.listener = b.newListener(plain, nil, cfg.MaxClients)
	if cfg.TLS.Listen == "" {
		return nil
	}
	if secure == nil || secure.ClientAuth != tls.RequireAndVerifyClientCert {
		b.unlisten()
		return errors.New("start the MQTT broker: tls.listen needs a certificate and asks for those of clients")
	}
	other, err := take(ctx, cfg.TLS.Listen, "broker.tls.listen")
	if err != nil {
		b.unlisten()
		return err
	}
	b.secure = b.newListener(other, secure, cfg.MaxClients)
	return nil
}

func (b *Broker) newListener(l net.Listener, secure *tls.Config, most int) *listener {
	n := newListener(l, secure, most, b.limits, b.counted, b.guard.log)
	n.left, n.bad = b.guard.leave, b.guard.handshakeFailed
	n.dismiss = func() { b.dismiss(n.ID()) }
	return n
}

// dismiss tells the clients of a listener that the broker ends.
func (b *Broker) dismiss(listener string) {
	for _, c := range b.server.Clients.GetAll() {
		if c.Net.Listener == listener && !c.Closed() {
			_ = b.server.DisconnectClient(c, packets.ErrServerShuttingDown)
		}
	}
}

func take(ctx context.Context, address, key string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("start the MQTT broker on %s: another program has this address; end it, or choose another "+
			"with %s in the configuration: %w", address, key, err)
	}
	if err != nil {
		return nil, fmt.Errorf("start the MQTT broker on %s: %w", address, err)
	}
	return l, nil
}

// unlisten gives the addresses back before anything is served.
func (b *Broker) unlisten() {
	for _, l := range []*listener{b.listener, b.secure} {
		if l != nil {
			_ = l.Listener.Close()
		}
	}
}

func budget(cfg Config) *semaphore.Weighted {
	return semaphore.NewWeighted(max(largePackets, copies*int64(cfg.MaxPacketBytes)))
}

func (b *Broker) serve() error {
	if err := b.server.AddHook(b.guard, nil); err != nil {
		return err
	}
	b.server.Topics.Subscribe("", packets.Subscription{Filter: everything})
	if err := b.server.AddListener(b.listener); err != nil {
		return err
	}
	if b.secure != nil {
		if err := b.server.AddListener(b.secure); err != nil {
			return err
		}
	}
	return b.server.Serve()
}

// capabilities turns off what mochi 2.7.9 would do by itself: forget retained
// messages after a day, keep sessions, log each packet.
func capabilities(cfg Config) *mqtt.Options {
	c := mqtt.NewDefaultServerCapabilities()
	c.MaximumClients = int64(cfg.MaxClients)
	c.MaximumMessageExpiryInterval = 0
	c.MaximumSessionExpiryInterval = 0
	c.MaximumClientWritesPending = writesPending
	c.MaximumPacketSize = uint32(cfg.MaxPacketBytes) + 8 //nolint:gosec // Validate: below 2^28
	c.MaximumInflight = maxInflight
	c.TopicAliasMaximum = 0
	return &mqtt.Options{
		Capabilities: c, Logger: slog.New(slog.DiscardHandler), SysTopicResendInterval: sysInterval,
		ClientNetReadBufferSize: readBuffer, ClientNetWriteBufferSize: readBuffer,
	}
}

// Addr is host:port where it listens.
func (b *Broker) Addr() string { return b.listener.Address() }

// URL is where links connect to, tcp://host:port.
func (b *Broker) URL() string { return "tcp://" + b.Addr() }

// SecureAddr is host:port of the listener with TLS, "" when there is none.
func (b *Broker) SecureAddr() string {
	if b.secure == nil {
		return ""
	}
	return b.secure.Address()
}

// SecureURL is where clients with a certificate connect to, tls://host:port.
func (b *Broker) SecureURL() string { return "tls://" + b.SecureAddr() }

// Close ends all connections, lets their last words out for a second at most,
// and waits for it. Safe twice.
func (b *Broker) Close() {
	b.once.Do(func() { _ = b.server.Close() }) // gives nil always
}

// Dropped counts the messages that did not reach one of their receivers because
// too much waited for it.
func (b *Broker) Dropped() int64 {
	i := b.server.Info
	return b.counted.slow.Load() + atomic.LoadInt64(&i.MessagesDropped) + atomic.LoadInt64(&i.InflightDropped)
}

// Register shows what the broker does; reg may be nil.
func (b *Broker) Register(reg *metrics.Registry) {
	i := b.server.Info
	read := func(v *int64) func() float64 { return func() float64 { return float64(atomic.LoadInt64(v)) } }
	count := func(v *atomic.Int64) func() float64 { return func() float64 { return float64(v.Load()) } }
	reg.GaugeFunc("wattline_broker_clients", "Clients connected to the embedded broker.", read(&i.ClientsConnected))
	reg.CounterFunc("wattline_broker_messages_in_total", "Messages published to the embedded broker.", read(&i.MessagesReceived))
	reg.CounterFunc("wattline_broker_messages_out_total", "Messages sent by the embedded broker.", read(&i.MessagesSent))
	reg.CounterFunc("wattline_broker_messages_dropped_total", "Messages not sent to a client because too much waited for it.",
		func() float64 { return float64(b.Dropped()) })
	reg.GaugeFunc("wattline_broker_waiting_bytes", "Bytes to be sent to or acknowledged by clients.", count(&b.limits.waiting))
	reg.GaugeFunc("wattline_broker_retained_messages", "Messages retained.", read(&i.Retained))
	reg.CounterFunc("wattline_broker_retained_refused_total", "Messages not retained for want of room.", count(&b.counted.unkept))
	reg.CounterFunc("wattline_broker_connections_refused_total", "Connections closed because there were too many.", count(&b.counted.refused))
	reg.CounterFunc("wattline_broker_denied_total", "Publishes, subscriptions and wills against the access rules.", count(&b.counted.denied))
	reg.CounterFunc("wattline_broker_takeovers_total", "Connections ended by a newer one with the same client id.", count(&b.counted.takeover))
	reg.CounterFunc("wattline_broker_handshakes_failed_total", "Connections that came to no TLS, or showed no certificate of this site.", count(&b.counted.handshakes))
	reg.CounterFunc("wattline_broker_panics_total", "Clients that made the broker library panic.", count(&b.counted.panics))
}
