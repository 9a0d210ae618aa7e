package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/wattline/wattline/cloud/broker"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hook"
	"github.com/wattline/wattline/shared/pki"
)

// refusalsWaiting bounds what clients did against the rules and the registry has
// not been told yet; more is only counted.
const refusalsWaiting = 256

// warden stands between the embedded broker and the registry: it tells the broker
// which certificates are in force, and the registry what the broker refused.
type warden struct {
	broker   *broker.Broker
	refusals chan contract.Audited
	log      *slog.Logger
}

// startBroker starts the embedded broker with the certificate of this site.
func (s *Server) startBroker(ctx context.Context) error {
	w := &warden{refusals: make(chan contract.Audited, refusalsWaiting), log: s.log}
	options := []broker.Option{broker.OnRefusal(w.refused)}
	if r := s.config.Republish; r.Enabled {
		outlet := broker.Outlet{Prefix: r.Prefix, HomeAssistant: r.HomeAssistant.Prefix, Commands: r.HomeAssistant.Enabled}
		options = append(options, broker.WithOutlet(outlet))
	}
	if s.config.Broker.TLS.Listen != "" {
		secure, err := s.brokerTLS()
		if err != nil {
			return err
		}
		options = append(options, broker.Secured(secure))
	}
	b, err := broker.Start(ctx, s.config.Broker, s.log, options...)
	if err != nil {
		return err
	}
	w.broker, s.warden = b, w
	s.closers = append(s.closers, b.Close)
	b.Register(s.metrics)
	return nil
}

// brokerTLS makes the settings of the broker's listener for other machines: its
// certificate is the operator's or one that the site's authority issues, clients
// have to show one of the site's authority.
func (s *Server) brokerTLS() (*tls.Config, error) {
	files := s.config.Broker.TLS.Files()
	source, ca := files.Pair, []byte(nil)
	if files.Cert == "" {
		authority, err := pki.LoadAuthority(s.config.path(trustDir), time.Now())
		if err != nil {
			return nil, fmt.Errorf("broker.tls: %w", err)
		}
		source = pki.NewServerCertificate(authority, hosts(s.config.Broker.TLS.Names), nil, s.log).Get
		ca = authority.PEM()
	}
	if files.CA == "" && ca == nil {
		files.CA = s.config.path(trustDir + "/" + pki.AuthorityCertificate)
	}
	if files.CA != "" {
		text, err := pki.ReadFile(files.CA)
		if err != nil {
			return nil, fmt.Errorf("broker.tls.ca: %w", err)
		}
		ca = text
	}
	if _, err := source(); err != nil { // now, not at the first client
		return nil, fmt.Errorf("broker.tls: %w", err)
	}
	secure, err := pki.ServerConfig(source, ca, pki.Required)
	if err != nil {
		return nil, fmt.Errorf("broker.tls.ca: %w", err)
	}
	return secure, nil
}

// refused takes a refusal from the broker, which must not wait.
func (w *warden) refused(e contract.Audited) {
	select {
	case w.refusals <- e:
	default: // the broker's counter has it
	}
}

// run does both until ctx ends.
func (w *warden) run(ctx context.Context, options bus.Options) error {
	options.ClientID = "warden-" + hook.Instance()
	options.Up = func(ctx context.Context, s *bus.Session) error {
		return s.Subscribe(ctx, bus.GatewaysInfoPrefix+"+", w.hear)
	}
	link := bus.NewLink(options, w.log)
	ended := make(chan error, 1)
	go func() { ended <- link.Run(ctx) }()
	for {
		select {
		case err := <-ended:
			return err
		case e := <-w.refusals:
			w.tell(ctx, link, e)
		}
	}
}

// hear takes what the registry says of a gateway; an empty payload deletes it.
func (w *warden) hear(m bus.Message) {
	gateway := strings.TrimPrefix(m.Topic, bus.GatewaysInfoPrefix)
	if len(m.Payload) == 0 {
		w.broker.Trust(gateway, "", nil)
		return
	}
	var info contract.GatewayInfo
	if err := json.Unmarshal(m.Payload, &info); err != nil {
		w.log.Error("what the registry says of a gateway is not understood: its certificates are out of force", slog.String("gateway", gateway), slog.Any("err", err))
	}
	var serials []string
	for _, c := range info.Certificates {
		serials = append(serials, c.Serial)
	}
	w.broker.Trust(gateway, info.Trust, serials)
}

// tell notes a refusal in the audit log, which bounds their rate itself.
func (w *warden) tell(ctx context.Context, link *bus.Link, e contract.Audited) {
	content, err := json.Marshal(e)
	if err != nil {
		return // texts and a time always marshal
	}
	data, err := json.Marshal(contract.RegistryRequest{Verb: "note", Who: "broker", From: e.From, Content: content})
	if err != nil {
		return
	}
	payload, err := bus.Envelope{ID: bus.NewID(), Data: data}.Encode()
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := link.Publish(ctx, bus.Message{Topic: "command/registry/audit", Payload: payload}); err != nil {
		w.log.DebugContext(ctx, "refusal not noted", slog.Any("err", err))
	}
}
