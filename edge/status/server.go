package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	stdbytes "bytes"
)

const (
	maxConnections = 32
	maxRequests    = 4 // that are worked on at once
	grace          = time.Second
)

// Config is the status page in the gateway's configuration.
type Config struct {
	// Listen is a loopback address with a port; empty means no page.
	Listen string `yaml:"listen"`
}

// DefaultConfig has the page at http://127.0.0.1:8081/.
func DefaultConfig() Config { return Config{Listen: "127.0.0.1:8081"} }

// Validate refuses addresses that others than this machine could reach: the page
// asks nobody who they are.
func (c Config) Validate() error {
	if c.Listen == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %q is not <address>:<port>", c.Listen)
	}
	var errs []error
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.Unmap().IsLoopback()) {
		errs = append(errs, fmt.Errorf("listen: %q is not a loopback address (127.0.0.1, ::1, localhost); reach the page from elsewhere by a tunnel", host))
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		errs = append(errs, fmt.Errorf("listen: port %q is not 0 to 65535", port))
	}
	return errors.Join(errs...)
}

// Options are what the page shows.
type Options struct {
	// Source gives the view of now. Called from several goroutines.
	Source func() View
	// Healthy tells what a machine that watches this one should know of; nil, or
	// a nil error, is healthy.
	Healthy func() error
	// Metrics serves /metrics, if not nil.
	Metrics http.Handler
}

// Server is a page that listens.
type Server struct {
	listener net.Listener
	server   *http.Server
}

// Listen takes the configured address. The server answers when Run is called.
func Listen(ctx context.Context, c Config, o Options, log *slog.Logger) (*Server, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Listen == "" { // to the network that means a port on all addresses
		return nil, errors.New("open the status page: no address to listen on")
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("open the status page: %w", err)
	}
	return &Server{
		listener: &limited{Listener: l, room: make(chan struct{}, maxConnections), closed: make(chan struct{})},
		server: &http.Server{
			Handler:           Handler(o, log),
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       5 * time.Second,
			WriteTimeout:      10 * time.Second,
			IdleTimeout:       15 * time.Second,
			MaxHeaderBytes:    8 << 10,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
	}, nil
}

// Addr is where the page is, with the port that was taken.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Run answers until ctx ends, and then a second longer where it is needed. It
// may be called once; a Server that does not Run must be closed.
func (s *Server) Run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- s.server.Serve(s.listener) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve the status page: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := s.server.Shutdown(last); err != nil {
		_ = s.server.Close()
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the status page: %w", err)
	}
	return nil
}

// Close gives the address back. It is safe to call it twice, and after Run.
func (s *Server) Close() error {
	return errors.Join(ignoreClosed(s.server.Close()), ignoreClosed(s.listener.Close()))
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Handler serves the pages; it answers GET and HEAD only.
func Handler(o Options, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { servePage(w, look(o), log) })
	mux.HandleFunc("GET /status.json", func(w http.ResponseWriter, _ *http.Request) { serveJSON(w, look(o), log) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if o.Healthy != nil {
			if err := o.Healthy(); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	})
	if o.Metrics != nil {
		mux.Handle("GET /metrics", o.Metrics)
	}
	return guard(mux, log)
}

func look(o Options) *View {
	v := o.Source()
	v.Summary = summary(&v)
	if v.Plugs == nil {
		v.Plugs = []Plug{}
	}
	return &v
}

// guard bounds the requests under way and keeps a mistake in one of them from
// the gateway.
func guard(next http.Handler, log *slog.Logger) http.Handler {
	room := make(chan struct{}, maxRequests)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case room <- struct{}{}:
			defer func() { <-room }()
		case <-r.Context().Done():
			return
		}
		ctx := r.Context()
		defer func() {
			if v := recover(); v != nil {
				log.ErrorContext(ctx, "status page panicked", slog.Any("err", v))
				http.Error(w, "internal error", http.StatusInternalServerError)
			}
		}()
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, r)
	})
}

func servePage(w http.ResponseWriter, v *View, log *slog.Logger) {
	var b stdbytes.Buffer // whole or not at all
	if err := pageTemplate.Execute(&b, page{v}); err != nil {
		log.Error("status page not rendered", slog.Any("err", err))
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes())
}

func serveJSON(w http.ResponseWriter, v *View, log *slog.Logger) {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		log.Error("status not encoded", slog.Any("err", err))
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(data, '\n'))
}
