package bus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync"
	"syscall"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/wattline/wattline/shared/pki"
)

// Session is one connection of a [Link]; it never comes back once lost.
type Session struct {
	client paho.Client
	orders chan order
	obeyed chan struct{} // closed when no more orders are taken

	ending sync.Once
	ended  chan struct{} // closed when the connection is lost
	cause  error         // why; set before ended is closed
}

// end marks the connection as lost; the first cause counts.
func (s *Session) end(cause error) {
	s.ending.Do(func() {
		s.cause = cause
		close(s.ended)
	})
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
		case <-s.ended:
			return
		}
	}
}

func connect(ctx context.Context, o Options) (*Session, error) {
	s := &Session{orders: make(chan order), obeyed: make(chan struct{}), ended: make(chan struct{})}
	options := paho.NewClientOptions().AddBroker(o.URL).SetClientID(o.ClientID).
		SetUsername(o.Username).SetPassword(o.Password).
		SetProtocolVersion(4). // else a broker that refuses us is asked twice
		SetCleanSession(true).SetAutoReconnect(false).SetConnectRetry(false).SetOrderMatters(true).
		SetConnectTimeout(dialTimeout).SetKeepAlive(keepAlive).SetPingTimeout(pingTimeout).SetWriteTimeout(writeTimeout).
		SetConnectionLostHandler(func(_ paho.Client, err error) {
			if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = errors.New("connection closed by the broker")
			}
			s.end(err)
		})
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", o.URL, err)
	}
	if o.TLS != nil && isTLS(u.Scheme) {
		config, err := o.TLS()
		if err != nil {
			return nil, fmt.Errorf("connect to %s: %w", o.URL, err)
		}
		options.SetTLSConfig(config)
	}
	if !isWebSocket(u.Scheme) {
		options.SetCustomOpenConnectionFn(open)
	}
	if o.Will != nil {
		options.SetBinaryWill(o.Will.Topic, o.Will.Payload, o.Will.qos(), o.Will.Retained)
	}
	s.client = paho.NewClient(options)
	ctx, cancel := context.WithTimeout(ctx, 2*dialTimeout)
	defer cancel()
	if err := await(ctx, s.client.Connect()); err != nil {
		s.end(err)
		s.client.Disconnect(0)
		return nil, fmt.Errorf("connect to %s: %w", o.URL, explain(err, isTLS(u.Scheme)))
	}
	return s, nil
}

// explain says what a broker that refuses us may mean by it, and what to do.
func explain(err error, secure bool) error {
	refused := errors.Is(err, packets.ErrorRefusedNotAuthorised) || errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword)
	switch {
	case refused && secure:
		return fmt.Errorf("%w: the broker does not let this certificate in: it is revoked or superseded, or the client id is not of its gateway: "+
			"see the gateway's enrolment, and enrol again with a new join token if it was revoked", err)
	case refused:
		return fmt.Errorf("%w: wrong user name or password, or a gateway that is known by its certificate and has to use tls://", err)
	}
	// With TLS 1.3 we speak before the broker has seen our certificate, and a broker
	// that hangs up on us, as Mosquitto 2.0 does, may cut its reason off.
	told := pki.Explain(err)
	if secure && told == err && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF)) { //nolint:errorlint // whether Explain added anything
		return fmt.Errorf("%w: the broker hangs up on us: it may refuse our certificate, or want one", err)
	}
	return told
}

func (s *Session) close() {
	var lost bool
	select {
	case <-s.ended:
		lost = true
	default:
	}
	s.end(errors.New("connection closed"))
	if !lost { // what was handed over leaves first
		select {
		case <-s.obeyed:
		case <-time.After(parting):
		}
	}
	s.client.Disconnect(partingMillis) // for the DISCONNECT packet to leave
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
	case <-s.ended:
		return s.cause
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case token := <-tokens:
		return await(ctx, token)
	case <-s.ended:
		return s.cause
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Subscribe asks for the messages of a topic filter, QoS 1. The handler is
// called by the connection's one reader: it must hand over and return. It may
// keep the message. It may be called once more after the session has ended.
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
