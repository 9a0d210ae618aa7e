package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/cloud/api/directory"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/metrics"
	"github.com/wattline/wattline/shared/pki"
)

// leave is how long requests under way may take once the server is told to end.
const leave = 5 * time.Second

// Options are what the composition root gives.
type Options struct {
	// Bus says how to reach the broker; client ids and subscriptions are the
	// api's own.
	Bus bus.Options
	// Instance names this run of the api, so that it hears its own answers only.
	// Empty draws one.
	Instance string
	Version  string
	Metrics  *metrics.Registry // may be nil
	// Live gives the events of /api/v1/events; nil where there are none.
	Live Live
	// Certificate gives the server's certificate at each handshake where the
	// configuration names no files; nil means that there is none, and so no TLS.
	Certificate func() (*tls.Certificate, error)
}

// Server is one api. Run it once.
type Server struct {
	config  Config
	options Options
	log     *slog.Logger
	house   *directory.Directory
	hearer  *bus.Link // hears the retained topics
	// Each kind of request has a link of its own: the answer to a switch does
	// not stand in line behind megabytes of readings.
	commander, querier *bus.Asker
	app                *fiber.App
	count              counters
	retained           atomic.Bool  // what the broker had retained has come
	asking             atomic.Int64 // questions under way

	guarded  bool // clients must show a token
	networks []netip.Prefix
	// wrong holds those back who show wrong tokens, enrolling those who enrol;
	// told and read keep the audit log readable.
	wrong, enrolling, told, read *throttle
	notes                        chan contract.Audited

	listener *listener
	door     net.Listener // the listener, with TLS around it if there is TLS
	ready    chan struct{}
	// life ends when requests under way are to be cut off; it is set by New so
	// that handlers find it.
	life context.Context //nolint:containedctx // it is the server's life: the HTTP library has no context per request
	end  context.CancelFunc
	work sync.WaitGroup // goroutines that feed answers in parts
}

// New allocates a server.
func New(config Config, options Options, log *slog.Logger) *Server {
	if options.Instance == "" {
		options.Instance = hook.Instance()
	}
	s := &Server{
		config: config, options: options, log: log, house: directory.New(), ready: make(chan struct{}),
		guarded: config.HTTP.TokensNeeded(), notes: make(chan contract.Audited, maxNotes),
		wrong: newThrottle(wrongBurst, wrongEvery), enrolling: newThrottle(enrolBurst, enrolEvery),
		told: newThrottle(1, noteEvery), read: newThrottle(1, readEvery),
	}
	s.networks, _ = config.IoToad.Anonymous.prefixes() // Validate has looked
	s.count = newCounters(options.Metrics, s)
	s.life, s.end = context.WithCancel(context.Background())
	s.commander = s.newAsker("commands")
	s.querier = s.newAsker("queries")
	hearing := options.Bus
	hearing.ClientID = hook.ClientID("api-directory")
	hearing.Up = s.subscribe
	s.hearer = bus.NewLink(hearing, log)
	s.app = s.routes()
	return s
}

func (s *Server) newAsker(kind string) *bus.Asker {
	asking := s.options.Bus
	asking.ClientID = hook.ClientID("api-" + kind)
	return bus.NewAsker("api/"+s.options.Instance+"/"+kind, asking, s.count.strays.Inc, s.log)
}

// links are all that the server needs up.
func (s *Server) links() []*bus.Link {
	return []*bus.Link{s.hearer, s.commander.Link(), s.querier.Link()}
}

func (s *Server) subscribe(ctx context.Context, session *bus.Session) error {
	s.house.Connected()
	for _, filter := range directory.Filters() {
		if err := session.Subscribe(ctx, filter, s.hear); err != nil {
			return err
		}
	}
	// What is retained comes before what is published after subscribing.
	end := "responses/api/" + s.options.Instance + "/all-heard"
	if err := session.Subscribe(ctx, end, func(bus.Message) { s.retained.Store(true) }); err != nil {
		return err
	}
	return session.Publish(ctx, bus.Message{Topic: end, Payload: []byte("{}")})
}

func (s *Server) hear(m bus.Message) {
	if err := s.house.Hear(m); err != nil {
		s.count.malformed.Inc()
		s.log.Debug("retained message not understood", slog.String("topic", m.Topic), slog.Any("err", err))
	}
}

// Listen binds the address, so that an address in use is known before anything
// else starts. Run does it when nobody has.
func (s *Server) Listen() error {
	if s.listener != nil {
		return nil
	}
	secure, err := s.secure()
	if err != nil {
		return err
	}
	l, err := listen(s.config.HTTP.Listen, s.config.HTTP.WriteTimeout)
	if err != nil {
		return err
	}
	if !l.loopback() && secure == nil {
		_ = l.Close()
		return fmt.Errorf("listen on %s: other machines could reach it, and tokens must not travel in the clear: "+
			"set http.tls.cert and http.tls.key, or make the site's own authority with wattline-cloud init, or listen on 127.0.0.1", s.config.HTTP.Listen)
	}
	s.guarded = s.guarded || !l.loopback()
	s.listener, s.door = l, l
	if secure != nil {
		s.door = tls.NewListener(l, secure)
	}
	return nil
}

// secure is the TLS of the server; nil for none.
func (s *Server) secure() (*tls.Config, error) {
	source := s.options.Certificate
	if s.config.HTTP.TLS.Cert != "" {
		files, err := openCertificate(s.config.HTTP.TLS, s.log)
		if err != nil {
			return nil, err
		}
		source = files.Get
	}
	if source == nil {
		return nil, nil //nolint:nilnil // no TLS and nothing wrong with that
	}
	return pki.ServerConfig(source, nil, pki.Unasked)
}

// Secure tells whether the server speaks TLS; it is known after Listen.
func (s *Server) Secure() bool {
	_, plain := s.door.(*listener)
	return s.door != nil && !plain
}

// Addr is host:port of the listener, "" before Listen.
func (s *Server) Addr() string {
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Ready is closed when the server listens and the bus was up for the first time.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx ends, then lets requests under way finish for up to five
// seconds, and returns when nothing of the server is running any more.
func (s *Server) Run(ctx context.Context) error {
	if err := s.options.Bus.Validate(); err != nil {
		return err
	}
	if err := s.Listen(); err != nil {
		return err
	}
	// The links outlive ctx: requests under way still need them.
	linked, unlink := context.WithCancel(context.WithoutCancel(ctx))
	var linking, serving sync.WaitGroup
	defer linking.Wait()
	defer unlink()
	failures := make(chan error, len(s.links())+1)
	for _, link := range s.links() {
		linking.Go(func() { failures <- link.Run(linked) })
	}
	serving.Go(func() { failures <- s.app.Listener(s.door) })
	linking.Go(func() { s.tellNotes(linked) })
	s.log.InfoContext(ctx, "api listens", slog.String("address", s.Addr()), slog.Bool("tls", s.Secure()), slog.Bool("tokens", s.guarded))

	err := s.untilDone(ctx, failures)
	s.close(context.WithoutCancel(ctx))
	serving.Wait()
	s.work.Wait()
	return err
}

// untilDone waits for the bus, says that the server is ready, and waits on.
func (s *Server) untilDone(ctx context.Context, failures <-chan error) error {
	var waiting sync.WaitGroup
	defer waiting.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	waiting.Go(func() {
		for _, link := range s.links() {
			if link.AwaitUp(ctx) != nil {
				return
			}
		}
		close(s.ready)
	})
	select {
	case <-ctx.Done():
		return nil
	case err := <-failures:
		if err == nil {
			err = errors.New("stopped by itself")
		}
		return fmt.Errorf("api: %w", err)
	}
}

// close ends the HTTP server: no new connections, five seconds for the requests
// under way, then they are cut off.
func (s *Server) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leave)
	defer cancel()
	if err := s.app.ShutdownWithContext(ctx); err != nil {
		s.log.WarnContext(ctx, "requests under way are cut off", slog.Int("connections", s.listener.count()), slog.Any("err", err))
	}
	_ = s.listener.Close() // closed already, unless serving had not begun
	s.end()
	s.listener.cut()
	for s.listener.count() > 0 { // handlers return as soon as life has ended
		time.Sleep(5 * time.Millisecond)
		s.listener.cut()
	}
}
