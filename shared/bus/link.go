package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// ErrDown means that there is no connection to the broker now.
var ErrDown = errors.New("no connection to the broker")

// Times of a link. A lost broker is asked again within half a second, so that a
// backlog starts to drain within a second of its return.
//
// paho 1.5 looks every quarter of keepAlive whether to ping, and so pings an
// idle link after one and a quarter of it; a broker gives up after one and a
// half. With 6 s that leaves 1.5 s to a busy machine; with 5 s, of which mochi
// 2.7.9 makes 7 s, it was 0.75 s, and idle components were thrown out.
const (
	dialTimeout  = 2 * time.Second
	keepAlive    = 6 * time.Second
	pingTimeout  = 3 * time.Second
	writeTimeout = 5 * time.Second
	ackTimeout   = 10 * time.Second
	redialLeast  = 100 * time.Millisecond
	redialMost   = 500 * time.Millisecond
	parting      = 100 * time.Millisecond
)

// Options say how to reach the broker.
type Options struct {
	// URL is tcp://host:port or tls://host:port.
	URL string
	// ClientID must be unique at the broker: two with one id throw each other out.
	ClientID string
	Username string
	Password string
	TLS      *tls.Config
	// Will is published by the broker when the link is lost.
	Will *Message
	// Up is called on each new connection, before the link counts as up, to
	// subscribe and to publish retained messages again. An error drops the
	// connection and another is tried. ctx ends with the connection.
	Up func(ctx context.Context, s *Session) error
	// Down is called when a connection that was up is lost.
	Down func(err error)
}

// Validate says what is wrong with the URL.
func (o Options) Validate() error {
	u, err := url.Parse(o.URL)
	if err != nil {
		return fmt.Errorf("broker url %q: %w", o.URL, err)
	}
	switch u.Scheme {
	case "tcp", "mqtt", "tls", "ssl", "mqtts", "ws", "wss":
	default:
		return fmt.Errorf("broker url %q: the scheme is tcp or tls, as in tcp://127.0.0.1:1883", o.URL)
	}
	if u.Host == "" {
		return fmt.Errorf("broker url %q: no host", o.URL)
	}
	return nil
}

// Message is one MQTT message. Everything is QoS 1 but what says otherwise.
type Message struct {
	Topic    string
	Payload  []byte
	Retained bool
	QoS0     bool
}

func (m Message) qos() byte {
	if m.QoS0 {
		return 0
	}
	return 1
}

// Link keeps a connection to the broker. Its methods are safe for concurrent
// use; Run must be running for anything to happen.
type Link struct {
	options Options
	log     *slog.Logger
	obeying sync.WaitGroup // of all sessions

	mu      sync.Mutex    // protects the fields below
	session *Session      // set from before Up until the connection is lost
	isUp    bool          // Up is done
	up      chan struct{} // closed while isUp
}

// NewLink allocates a link; [Link.Run] makes the connection.
func NewLink(options Options, log *slog.Logger) *Link {
	return &Link{options: options, log: log, up: make(chan struct{})}
}

// Run keeps the connection until ctx ends, then takes leave of the broker. It
// returns an error only for options that can never work.
func (l *Link) Run(ctx context.Context) error {
	if err := l.options.Validate(); err != nil {
		return err
	}
	defer l.obeying.Wait()
	away := false
	for {
		err := l.connectOnce(ctx, &away)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // what the end of ctx broke is no error
		}
		if !away {
			away = true
			l.log.WarnContext(ctx, "broker away", slog.String("component", l.options.ClientID), slog.Any("err", err))
		}
		sleep(ctx, redialLeast+rand.N(redialMost-redialLeast))
	}
}

// connectOnce makes one connection and stays until it is lost.
func (l *Link) connectOnce(ctx context.Context, away *bool) error {
	s, err := connect(ctx, l.options) //nolint:contextcheck // the session outlives the dialling
	if err != nil {
		return err
	}
	l.obeying.Go(s.obey) //nolint:contextcheck // it ends with the session, or when paho lets go of it
	defer s.close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })()
	l.set(s) // what Up's subscriptions bring may be answered at once
	defer l.set(nil)
	if l.options.Up != nil {
		if err := l.options.Up(ctx, s); err != nil {
			return fmt.Errorf("set up the connection to the broker: %w", err)
		}
	}
	if *away {
		*away = false
		l.log.InfoContext(ctx, "broker back", slog.String("component", l.options.ClientID))
	}
	l.markUp()
	<-ctx.Done()
	err = context.Cause(ctx)
	if l.options.Down != nil {
		l.options.Down(err)
	}
	return err
}

func (l *Link) set(s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.session = s
	if l.isUp {
		l.isUp, l.up = false, make(chan struct{})
	}
}

func (l *Link) markUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isUp = true
	close(l.up)
}

// IsUp reports whether there is a connection now.
func (l *Link) IsUp() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.isUp
}

func (l *Link) current() *Session {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.session
}

// AwaitUp waits for a connection.
func (l *Link) AwaitUp(ctx context.Context) error {
	l.mu.Lock()
	up := l.up
	l.mu.Unlock()
	select {
	case <-up:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the broker: %w", context.Cause(ctx))
	}
}

// Publish waits for a connection, publishes, and waits until the broker has
// acknowledged (QoS 1). That the broker has it says nothing of its listeners.
func (l *Link) Publish(ctx context.Context, m Message) error {
	if err := l.AwaitUp(ctx); err != nil {
		return err
	}
	s := l.current()
	if s == nil {
		return ErrDown
	}
	return s.Publish(ctx, m)
}

// Send hands a message over without waiting for the broker's acknowledgement.
// It blocks while the network takes nothing, at most 5 s, and not longer than
// the connection lasts.
func (l *Link) Send(m Message) error {
	s := l.current()
	if s == nil {
		return ErrDown
	}
	select {
	case s.orders <- order{message: m}:
		return nil
	case <-s.ctx.Done():
		return ErrDown
	}
}

// Session is one connection of a [Link]; it never comes back once lost.
type Session struct {
	client paho.Client
	ctx    context.Context //nolint:containedctx // it is the connection's life, not a call's
	lost   context.CancelCauseFunc
	orders chan order
	obeyed chan struct{} // closed when no more orders are taken
}

// order is a message to be handed to paho; who waits for its token gives a
// channel with room for it.
type order struct {
	message Message
	token   chan<- paho.Token
}

// obey hands messages to paho, in the order in which they came. In paho 1.5.1 a
// publisher that meets the loss of the connection stands until the write time
// is out, seconds into the next connection; so only this goroutine does.
func (s *Session) obey() {
	defer close(s.obeyed)
	for {
		select {
		case o := <-s.orders:
			token := s.client.Publish(o.message.Topic, o.message.qos(), o.message.Retained, o.message.Payload)
			if o.token != nil {
				o.token <- token
			}
		case <-s.ctx.Done():
			return
		}
	}
}

func connect(ctx context.Context, o Options) (*Session, error) {
	s := &Session{orders: make(chan order), obeyed: make(chan struct{})}
	s.ctx, s.lost = context.WithCancelCause(context.Background())
	options := paho.NewClientOptions().AddBroker(o.URL).SetClientID(o.ClientID).
		SetUsername(o.Username).SetPassword(o.Password).
		SetCleanSession(true).SetAutoReconnect(false).SetConnectRetry(false).SetOrderMatters(true).
		SetConnectTimeout(dialTimeout).SetKeepAlive(keepAlive).SetPingTimeout(pingTimeout).SetWriteTimeout(writeTimeout).
		SetConnectionLostHandler(func(_ paho.Client, err error) {
			if err == nil || errors.Is(err, io.EOF) {
				err = errors.New("connection closed by the broker")
			}
			s.lost(err)
		})
	if o.TLS != nil {
		options.SetTLSConfig(o.TLS)
	}
	if u, err := url.Parse(o.URL); err == nil && !isWebSocket(u.Scheme) {
		options.SetCustomOpenConnectionFn(open)
	}
	if o.Will != nil {
		options.SetBinaryWill(o.Will.Topic, o.Will.Payload, o.Will.qos(), o.Will.Retained)
	}
	s.client = paho.NewClient(options)
	ctx, cancel := context.WithTimeout(ctx, 2*dialTimeout)
	defer cancel()
	if err := await(ctx, s.client.Connect()); err != nil {
		s.lost(err)
		s.client.Disconnect(0)
		return nil, fmt.Errorf("connect to %s: %w", o.URL, err)
	}
	return s, nil
}

func (s *Session) close() {
	lost := s.ctx.Err() != nil
	s.lost(errors.New("connection closed"))
	if !lost { // what was handed over leaves first
		select {
		case <-s.obeyed:
		case <-time.After(parting):
		}
	}
	s.client.Disconnect(uint(parting.Milliseconds())) // for the DISCONNECT packet to leave
}

// Publish publishes and, for QoS 1, waits for the broker's acknowledgement.
func (s *Session) Publish(ctx context.Context, m Message) error {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	if err := s.publish(ctx, m); err != nil {
		return fmt.Errorf("publish %s: %w", m.Topic, err)
	}
	return nil
}

func (s *Session) publish(ctx context.Context, m Message) error {
	tokens := make(chan paho.Token, 1)
	select {
	case s.orders <- order{m, tokens}:
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case token := <-tokens:
		return await(ctx, token)
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Subscribe asks for the messages of a topic filter, QoS 1. The handler is
// called by the connection's one reader: it must hand over and return. It may
// keep the message.
func (s *Session) Subscribe(ctx context.Context, filter string, handle func(Message)) error {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	token := s.client.Subscribe(filter, 1, func(_ paho.Client, m paho.Message) {
		handle(Message{Topic: m.Topic(), Payload: m.Payload(), Retained: m.Retained()})
	})
	if err := await(ctx, token); err != nil {
		return fmt.Errorf("subscribe %s: %w", filter, err)
	}
	if granted, ok := token.(*paho.SubscribeToken); ok {
		for _, code := range granted.Result() {
			if code == 0x80 { // MQTT 3.1.1 section 3.9.3
				return fmt.Errorf("subscribe %s: refused by the broker", filter)
			}
		}
	}
	return nil
}

// await turns a token into a call. The message may still be delivered after an
// error: at least once.
func await(ctx context.Context, token paho.Token) error {
	select {
	case <-token.Done():
		return token.Error()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
