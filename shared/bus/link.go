package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"
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

	partingMillis = 100
	parting       = partingMillis * time.Millisecond
)

// Options say how to reach the broker.
type Options struct {
	// URL is tcp://host:port or tls://host:port.
	URL string
	// ClientID must be unique at the broker: two with one id throw each other out.
	ClientID string
	Username string
	Password string
	// TLS, if not nil, is called for each connection to a tls:// address: what has
	// been renewed counts from the next one. An error is that connection's.
	TLS func() (*tls.Config, error)
	// Will is published by the broker when the link is lost.
	Will *Message
	// Up is called on each new connection, before the link counts as up, to
	// subscribe and to publish retained messages again. An error drops the
	// connection and another is tried. ctx ends with the connection.
	Up func(ctx context.Context, s *Session) error
	// Down is called when a connection that was up is lost, Failed when one could
	// not be made.
	Down   func(err error)
	Failed func(err error)
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
			return nil // what the end of ctx broke is no error
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
	s, err := connect(ctx, l.options)
	if err != nil {
		return l.failed(ctx, err)
	}
	l.obeying.Go(s.obey) // ends with the session, or when paho lets go of it
	defer s.close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l.obeying.Go(func() {
		select {
		case <-s.ended:
			cancel(s.cause)
		case <-ctx.Done():
		}
	})
	l.set(s) // what Up's subscriptions bring may be answered at once
	defer l.set(nil)
	if l.options.Up != nil {
		if err := l.options.Up(ctx, s); err != nil {
			return l.failed(ctx, fmt.Errorf("set up the connection to the broker: %w", err))
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

// failed tells of a connection that could not be made, and gives the error back.
func (l *Link) failed(ctx context.Context, err error) error {
	if l.options.Failed != nil && ctx.Err() == nil {
		l.options.Failed(err)
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
	case <-s.ended:
		return ErrDown
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
