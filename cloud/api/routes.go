package api

import (
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"github.com/wattline/wattline/shared/metrics"
)

// localRoute is where a request keeps the pattern of its route.
const localRoute = "route"

// idleWorker is how long a worker of the HTTP library waits for another
// connection. It is also how long the library's janitor sleeps after the end.
const idleWorker = 200 * time.Millisecond

type counters struct {
	requests  *metrics.CounterVec2
	seconds   *metrics.HistogramVec
	strays    *metrics.Counter
	malformed *metrics.Counter
	wrong     *metrics.Counter
	untold    *metrics.Counter
}

func newCounters(r *metrics.Registry, s *Server) counters {
	r.GaugeFunc("wattline_api_questions_waiting", "Messages on the bus that wait for their answer.", func() float64 { return float64(s.asking.Load()) })
	r.GaugeFunc("wattline_api_connections_open", "Connections of clients.", func() float64 {
		if s.listener == nil {
			return 0
		}
		return float64(s.listener.count())
	})
	return counters{
		requests: r.CounterVec2("wattline_api_requests_total", "Requests by route and status.", 500, "route", "status"),
		seconds: r.HistogramVec("wattline_api_request_seconds", "Time from the request to the begin of its answer, by route.", 50, "route",
			0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 12),
		strays:    r.Counter("wattline_api_strays_total", "Answers that came too late or to nobody."),
		malformed: r.Counter("wattline_api_malformed_total", "Retained messages that were not understood."),
		wrong:     r.Counter("wattline_api_wrong_tokens_total", "Requests with a token that is none of this site's."),
		untold:    r.Counter("wattline_api_notes_untold_total", "Refusals and anonymous requests that the audit log was not told of, because the same was told lately or too much at once."),
	}
}

func (s *Server) routes() *fiber.App {
	h := s.config.HTTP
	app := fiber.New(fiber.Config{
		AppName: "Wattline", DisableStartupMessage: true, DisablePreParseMultipartForm: true,
		CaseSensitive: true, Immutable: true, // strings outlive the handler: questions are asked in other goroutines
		BodyLimit: h.BodyLimit, ReadBufferSize: h.HeaderLimit, Concurrency: h.Connections,
		ReadTimeout: h.ReadTimeout, IdleTimeout: h.IdleTimeout,
		ErrorHandler: s.failOutside, JSONEncoder: encode,
	})
	app.Server().MaxIdleWorkerDuration = idleWorker
	app.Server().HeaderReceived = s.limits
	app.Use(s.observe)
	s.topRoutes(app)
	s.documentRoutes(app)
	s.houseRoutes(app)
	s.registryRoutes(app)
	s.alertRoutes(app)
	s.backupRoutes(app)
	return app
}

// limits gives an inventory, which is a file, more room than other bodies.
func (s *Server) limits(h *fasthttp.RequestHeader) (c fasthttp.RequestConfig) {
	path, _, _ := strings.Cut(string(h.RequestURI()), "?")
	if string(h.Method()) == http.MethodPost && path == inventoryRoute {
		c.MaxRequestBodySize = maxInventory
	}
	return c
}

// topRoutes are those beside /api/v1.
func (s *Server) topRoutes(app *fiber.App) {
	s.route(app, http.MethodGet, "/", open, s.index)
	s.route(app, http.MethodGet, "/healthz", open, s.health)
	s.route(app, http.MethodGet, "/readyz", open, s.readiness)
	s.route(app, http.MethodGet, "/metrics", looksAll, s.metrics)
	s.route(app, http.MethodPut, "/api/in/*", relayControls, s.relayIn)
	s.route(app, http.MethodGet, "/api/out/*", relayReads, s.relayOut)
	s.route(app, http.MethodGet, "/api/v1", open, s.indexV1)
}

// houseRoutes look at the house and switch in it.
func (s *Server) houseRoutes(app *fiber.App) {
	s.route(app, http.MethodGet, "/api/v1/devices", looks, s.devices)
	s.route(app, http.MethodGet, "/api/v1/devices/:id", looks, s.device)
	s.route(app, http.MethodGet, "/api/v1/devices/:id/state", looks, s.state)
	s.route(app, http.MethodPut, "/api/v1/devices/:id/relay", switches, s.relay)
	s.route(app, http.MethodPost, "/api/v1/commands", switches, s.commands)
	s.route(app, http.MethodGet, "/api/v1/readings", looks, s.readings)
	s.route(app, http.MethodGet, "/api/v1/gateways", looks, s.gateways)
	s.route(app, http.MethodGet, "/api/v1/gateways/:id", looks, s.gateway)
	s.route(app, http.MethodGet, "/api/v1/sources", looksAll, s.sources)
	s.route(app, http.MethodGet, "/api/v1/sources/:id", looksAll, s.source)
	s.route(app, http.MethodGet, "/api/v1/events", looks, s.events)
	s.route(app, http.MethodGet, "/api/v1/ledger", looks, s.ledger)
	s.route(app, http.MethodGet, "/api/v1/quarantine", looks, s.quarantine)
	s.route(app, http.MethodPost, "/api/v1/quarantine/:id/replay", changes, s.replay)
}

// registryRoutes see to what the registry keeps.
func (s *Server) registryRoutes(app *fiber.App) {
	s.route(app, http.MethodGet, "/api/v1/site", looks, s.gets("site"))
	s.route(app, http.MethodPatch, "/api/v1/site", changes, s.does("site", "change"))
	s.route(app, http.MethodPost, "/api/v1/devices", changes, s.does("places", "create"))
	s.route(app, http.MethodPatch, "/api/v1/devices/:id", changes, s.does("places", "change"))
	s.route(app, http.MethodDelete, "/api/v1/devices/:id", changes, s.does("places", "delete"))
	s.route(app, http.MethodPut, "/api/v1/devices/:id/plug", changes, s.does("places", "plug"))
	s.route(app, http.MethodDelete, "/api/v1/devices/:id/plug", changes, s.does("places", "unplug"))
	s.route(app, http.MethodGet, "/api/v1/plugs", looksAll, s.lists("plugs"))
	s.route(app, http.MethodGet, "/api/v1/plugs/:id", looksAll, s.gets("plugs"))
	s.route(app, http.MethodDelete, "/api/v1/plugs/:id", changes, s.does("plugs", "delete"))
	s.route(app, http.MethodPost, "/api/v1/gateways", changes, s.does("gateways", "create"))
	s.route(app, http.MethodPatch, "/api/v1/gateways/:id", changes, s.does("gateways", "change"))
	s.route(app, http.MethodDelete, "/api/v1/gateways/:id", changes, s.does("gateways", "delete"))
	s.route(app, http.MethodPost, "/api/v1/gateways/:id/join-token", changes, s.does("enrolment", "join"))
	s.route(app, http.MethodPost, "/api/v1/gateways/:id/approve", changes, s.does("enrolment", "approve"))
	s.route(app, http.MethodPost, "/api/v1/gateways/:id/refuse", changes, s.does("enrolment", "refuse"))
	s.route(app, http.MethodPost, "/api/v1/gateways/:id/revoke", changes, s.does("enrolment", "revoke"))
	s.route(app, http.MethodGet, "/api/v1/enrolments", changes, s.lists("enrolment"))
	s.route(app, http.MethodGet, "/api/v1/enrolments/:id", changes, s.gets("enrolment"))
	s.route(app, http.MethodPost, "/api/v1/enrolments", open, s.enrols("request"))
	s.route(app, http.MethodPost, "/api/v1/enrolments/renew", open, s.enrols("renew"))
	s.route(app, http.MethodGet, inventoryRoute, looksAll, s.exportInventory)
	s.route(app, http.MethodPost, inventoryRoute, changes, s.importInventory)
	s.route(app, http.MethodGet, "/api/v1/audit", changes, s.audit)
	s.route(app, http.MethodGet, "/api/v1/tokens", changes, s.lists("tokens"))
	s.route(app, http.MethodPost, "/api/v1/tokens", changes, s.does("tokens", "create"))
	s.route(app, http.MethodDelete, "/api/v1/tokens/:id", changes, s.does("tokens", "delete"))
}

func (s *Server) route(app *fiber.App, method, pattern string, needs access, handle fiber.Handler) {
	guarded := func(c *fiber.Ctx) error {
		c.Locals(localRoute, pattern)
		if err := s.admit(c, needs); err != nil {
			return err
		}
		return handle(c)
	}
	app.Add(method, pattern, guarded)
	if method == http.MethodGet {
		app.Add(http.MethodHead, pattern, guarded)
	}
}

// observe stands around every request: it counts, logs, and keeps a panic of
// one from the others.
func (s *Server) observe(c *fiber.Ctx) error {
	begin := time.Now()
	if err := s.guard(c); err != nil {
		if err := s.fail(c, err); err != nil {
			return err
		}
	}
	c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	route, ok := c.Locals(localRoute).(string)
	if !ok {
		route = metrics.Other
	}
	status := c.Response().StatusCode()
	took := time.Since(begin)
	s.count.requests.With(route, strconv.Itoa(status)).Inc()
	s.count.seconds.With(route).Observe(took.Seconds())
	if s.log.Enabled(s.life, slog.LevelDebug) {
		s.log.DebugContext(s.life, "request", slog.String("method", c.Method()), slog.String("path", shorten(c.Path())),
			slog.Int("status", status), slog.Duration("duration", took))
	}
	return nil
}

func shorten(s string) string { return s[:min(len(s), 200)] }

func (s *Server) guard(c *fiber.Ctx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.ErrorContext(s.life, "request panicked", slog.String("method", c.Method()), slog.String("path", shorten(c.Path())),
				slog.Any("err", p), slog.String("stack", string(debug.Stack())))
			err = newProblem(http.StatusInternalServerError, "internal error; the log of the api says more")
		}
	}()
	if err := s.ownName(c); err != nil {
		return err
	}
	if err := sameOrigin(c); err != nil {
		return err
	}
	return c.Next()
}

// ownName refuses requests for a name that is not this machine's, where only
// this machine is meant to get through: a page of a site whose name was made to
// lead to loopback (DNS rebinding) is, for its browser, of the same origin.
// Browsers always say for whom a request is; HTTP/1.0 need not.
func (s *Server) ownName(c *fiber.Ctx) error {
	if s.listener == nil || !s.listener.loopback() { // nil: a test that needs no network
		return nil
	}
	host := string(c.Request().Host())
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") || net.ParseIP(strings.Trim(host, "[]")) != nil {
		return nil
	}
	return newProblem(http.StatusForbidden, "this server answers to its IP address and to localhost only; a proxy must set the header Host so")
}

// sameOrigin refuses what a page of another site makes a browser send: there is
// no login that would stop it. Browsers say where a request comes from, other
// clients need not (Fetch Metadata; RFC 6454 section 7).
func sameOrigin(c *fiber.Ctx) error {
	if m := c.Method(); m == http.MethodGet || m == http.MethodHead || m == http.MethodOptions {
		return nil
	}
	refused := newProblem(http.StatusForbidden, "a page of another site may not write here")
	switch c.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return nil
	case "":
	default:
		return refused
	}
	origin := c.Get(fiber.HeaderOrigin)
	if origin == "" {
		return nil
	}
	if u, err := url.Parse(origin); err != nil || !strings.EqualFold(u.Host, string(c.Request().Host())) {
		return refused
	}
	return nil
}

// failOutside answers what never reached a handler: requests that are no HTTP,
// too large or too slow.
func (s *Server) failOutside(c *fiber.Ctx, err error) error {
	if err := s.fail(c, err); err != nil {
		return err
	}
	s.count.requests.With("none", strconv.Itoa(c.Response().StatusCode())).Inc()
	return nil
}
