// Package server is the central tier, put together: it reads as a table of
// contents of the cloud.
//
// The roles speak to each other over MQTT only, so each can run alone, in any
// process: broker and influx are the embedded parts, registry says what stands
// where, hooks store what the gateways send, components answer and switch,
// webhook delivers what is stored, alerting tells what is wrong, backup copies all
// of it, api is the door for people and programs.
// Started are the parts that others need first; stopped are they last, so that a
// stop loses nothing.
package server

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"

	"github.com/wattline/wattline/cloud/alerting"
	"github.com/wattline/wattline/cloud/backup/copies"
	"github.com/wattline/wattline/cloud/broker"
	influxquery "github.com/wattline/wattline/cloud/components/influx_query"
	ledgerquery "github.com/wattline/wattline/cloud/components/ledger_query"
	spcommand "github.com/wattline/wattline/cloud/components/sp_command"
	influxdata "github.com/wattline/wattline/cloud/hooks/influx_data"
	"github.com/wattline/wattline/cloud/hooks/republish"
	"github.com/wattline/wattline/cloud/influx"
	"github.com/wattline/wattline/cloud/influx/influxd"
	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/cloud/registry"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/metrics"
	"github.com/wattline/wattline/shared/pki"
)

// Role is a part of the cloud that can run alone.
type Role string

// The roles.
const (
	RoleBroker     Role = "broker"
	RoleInflux     Role = "influx"
	RoleRegistry   Role = "registry"
	RoleHooks      Role = "hooks"
	RoleComponents Role = "components"
	RoleWebhook    Role = "webhook"
	RoleAlerting   Role = "alerting"
	RoleBackup     Role = "backup"
	RoleAPI        Role = "api"
)

// Roles lists all of them, in the order in which they start.
func Roles() []Role {
	return []Role{RoleBroker, RoleInflux, RoleRegistry, RoleHooks, RoleComponents, RoleWebhook, RoleAlerting, RoleBackup, RoleAPI}
}

// Server is one process of the cloud.
type Server struct {
	config  Config
	roles   []Role
	version string
	log     *slog.Logger
	metrics *metrics.Registry
	bus     bus.Options
	store   *influx.Client
	warden  *warden // of the embedded broker; nil without one
	closers []func()
	file    string // of the configuration
	ready   func(api, broker string)
}

// Options are what a program passes beside the operator's Config.
type Options struct {
	Version string
	// ConfigFile is where the Config comes from, for backups.
	ConfigFile string
	// Ready, if not nil, is called once the api listens, with its address and the
	// broker's URL.
	Ready func(api, broker string)
}

// Run is the life of the process: it ends with ctx, in good order, or with an
// error that a person must see to.
func Run(ctx context.Context, cfg Config, roles []Role, options Options, log *slog.Logger) error {
	s := &Server{config: cfg, roles: roles, version: options.Version, log: log, metrics: metrics.New(), file: options.ConfigFile, ready: options.Ready}
	defer s.close()
	if _, err := cfg.Check(roles); err != nil {
		return err
	}
	if err := s.embedded(ctx); err != nil {
		return err
	}
	if err := s.connect(); err != nil {
		return err
	}
	return s.runAll(ctx)
}

func (s *Server) has(role Role) bool { return slices.Contains(s.roles, role) }

// whole reports whether all roles run in this process.
func (s *Server) whole() bool {
	return !slices.ContainsFunc(Roles(), func(role Role) bool { return !s.has(role) })
}

// close stops the embedded parts, the last started first.
func (s *Server) close() {
	for _, c := range slices.Backward(s.closers) {
		c()
	}
	s.closers = nil
}

// embedded starts the parts that sites without their own get from us.
func (s *Server) embedded(ctx context.Context) error {
	s.bus = bus.Options{URL: s.config.MQTT.URL, Username: s.config.MQTT.Username, Password: s.config.MQTT.Password.Reveal()}
	if !s.config.MQTT.TLS.IsZero() {
		s.bus.TLS = s.config.MQTT.TLS.Client
	}
	if s.has(RoleBroker) && s.config.MQTT.URL == "" {
		if s.config.Broker.Password == "" && s.whole() {
			// Nobody else needs it: clients that do not have it are no roles.
			s.config.Broker.Password = config.Secret(hook.Instance() + hook.Instance())
		}
		if err := s.startBroker(ctx); err != nil {
			return err
		}
		s.bus = bus.Options{URL: s.warden.broker.URL(), Username: broker.RoleUser, Password: s.config.Broker.Password.Reveal()}
	}
	if s.has(RoleInflux) && s.config.Influx.URL == "" {
		s.config.InfluxD.Dir = s.config.path(s.config.InfluxD.Dir)
		d, err := influxd.Start(ctx, s.config.InfluxD, s.log)
		if err != nil {
			return err
		}
		s.closers = append(s.closers, d.Close)
		s.config.Influx.URL, s.config.Influx.Token = d.URL(), config.Secret(d.Token())
		s.store, err = influx.New(s.config.Influx, influx.WhenStuck(d.Heal))
		return err
	}
	return nil
}

// connect makes what the roles of this process need of the others.
func (s *Server) connect() (err error) {
	if s.bus.URL == "" {
		s.bus.URL = "tcp://" + s.config.Broker.Listen // another process of this machine
		s.bus.Username, s.bus.Password = broker.RoleUser, s.config.Broker.Password.Reveal()
	}
	if s.store != nil || !s.has(RoleHooks) && !s.has(RoleComponents) && !s.delivers() && !s.backsUp() {
		return nil
	}
	s.store, err = influx.New(s.config.Influx)
	return err
}

// runAll runs the parts in stages: those that others depend on end last.
func (s *Server) runAll(ctx context.Context) error {
	if s.store != nil {
		defer s.store.Close()
	}
	var stages [][]part
	if s.warden != nil {
		stages = append(stages, []part{{"warden", func(ctx context.Context) error { return s.warden.run(ctx, s.bus) }}})
	}
	if s.has(RoleRegistry) {
		stages = append(stages, []part{s.registryPart()})
	}
	var middle []part
	if s.has(RoleHooks) {
		middle = append(middle, s.hooks()...)
	}
	if s.has(RoleComponents) {
		middle = append(middle, s.components()...)
	}
	if s.delivers() {
		part, err := s.webhookPart()
		if err != nil {
			return err
		}
		middle = append(middle, part)
	} else if s.has(RoleWebhook) {
		middle = append(middle, part{"webhook copies", s.withCopies(RoleWebhook, nil)})
	}
	if s.has(RoleAlerting) {
		middle = append(middle, s.alertingPart())
	}
	if s.has(RoleBackup) {
		part, err := s.backupPart()
		if err != nil {
			return err
		}
		middle = append(middle, part)
	}
	stages = append(stages, middle)
	if s.has(RoleAPI) {
		door, err := s.door() //nolint:contextcheck // requests live under the server's own context
		if err != nil {
			return err
		}
		stages = append(stages, []part{door})
	}
	return runStages(ctx, stages, s.log)
}

func (s *Server) registryPart() part {
	return part{"registry", func(ctx context.Context) error {
		r, err := registry.New(s.config.Registry, s.config.Data, s.bus, s.metrics, s.log)
		if err != nil {
			return err
		}
		if err := s.ensureAdmin(r.Store()); err != nil {
			return errors.Join(err, r.Store().Close())
		}
		files := []copies.File{{Path: "registry/registry.db", Copy: r.Store().Copy}}
		for _, name := range []string{pki.AuthorityCertificate, pki.AuthorityKey} {
			files = append(files, copies.Plain("registry/"+name, s.config.path(trustDir+"/"+name), true))
		}
		return s.withCopies(RoleRegistry, r.Run, files...)(ctx)
	}}
}

func (s *Server) alertingPart() part {
	return part{alerting.Name, func(ctx context.Context) error {
		a, err := alerting.New(s.config.Alerting, s.config.Data, s.bus, s.metrics, s.log)
		if err != nil {
			return err
		}
		return s.withCopies(RoleAlerting, a.Run, copies.File{Path: "alerting/alerting.db", Copy: a.Copy})(ctx)
	}}
}

// hooks take the data of the agents.
func (s *Server) hooks() []part {
	book := ledger.NewBook(s.store, hook.Instance(), nil)
	m := s.metrics
	storing := influxdata.New(influxdata.Options{
		Store: s.store, Ledger: book, Copies: s.config.Copies, Limits: s.config.InfluxData.Limits,
		Limited:     m.CounterVec("wattline_influx_data_limited_total", "Messages not taken because their source was beyond a limit, by which.", 10, "limit"),
		Messages:    m.Counter("wattline_influx_data_messages_total", "Messages heard."),
		Points:      m.Counter("wattline_influx_data_points_total", "Points stored, repeated ones included."),
		Malformed:   m.Counter("wattline_influx_data_malformed_total", "Messages that could not be read."),
		Discarded:   m.Counter("wattline_influx_data_discarded_total", "Messages that came while the queue was full; their sources send them again."),
		NotNow:      m.Counter("wattline_influx_data_not_now_total", "Writes that InfluxDB did not take at the moment."),
		Quarantined: m.Counter("wattline_influx_data_quarantined_total", "Batches put into the quarantine."),
		Misdirected: m.Counter("wattline_influx_data_misdirected_total", "Data that asked for an answer to somebody else."),
		Unsaid:      m.Counter("wattline_influx_data_unsaid_total", "Batches that neither the quarantine nor the ledger takes."),
	}, s.log)
	heads := ledger.NewHeads(book, s.log)
	parts := []part{
		{"influx_data", func(ctx context.Context) error { return storing.Run(ctx, s.bus) }},
		{"ledger", func(ctx context.Context) error { return heads.Run(ctx, s.bus) }},
	}
	if s.config.Republish.Enabled {
		plain := republish.New(s.config.Republish, s.metrics, s.log)
		parts = append(parts, part{republish.Name, func(ctx context.Context) error { return plain.Run(ctx, s.bus) }})
	}
	return parts
}

// components answer queries and commands.
func (s *Server) components() []part {
	// A quarter of InfluxDB's turns stays for the ledger and the quarantine,
	// however slowly askers read.
	turns := s.config.Influx.MaxConcurrentQueries
	query := influxquery.New(influxquery.Options{Store: s.store, Metrics: s.metrics, Concurrent: max(1, turns-max(1, turns/4))}, s.log)
	command := spcommand.New(s.config.SPCommand, spcommand.Options{Store: s.store, Metrics: s.metrics}, s.log)
	reader := ledger.NewReader(s.store)
	reader.Log = s.log
	proof := ledgerquery.New(ledgerquery.Options{Prover: prover{reader}, Store: s.store, Metrics: s.metrics}, s.log)
	return []part{
		{"influx_query", func(ctx context.Context) error { return query.Run(ctx, s.bus) }},
		{"sp_command", func(ctx context.Context) error { return command.Run(ctx, s.bus) }},
		{"ledger_query", func(ctx context.Context) error { return proof.Run(ctx, s.bus) }},
	}
}

// prover gives the ledger's proofs as the component wants them.
type prover struct{ *ledger.Reader }

func (p prover) Prove(ctx context.Context, gateway string, from, to device.Micros) (json.RawMessage, error) {
	proofs, err := p.Reader.Prove(ctx, gateway, from, to)
	if err != nil {
		return nil, err
	}
	return json.Marshal(proofs)
}
