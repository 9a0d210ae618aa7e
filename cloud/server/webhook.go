package server

import (
	"context"

	"github.com/wattline/wattline/cloud/backup/copies"
	"github.com/wattline/wattline/cloud/hooks/webhook"
	"github.com/wattline/wattline/cloud/ledger"
)

// delivers reports whether the role webhook has anything to do here.
func (s *Server) delivers() bool {
	return s.has(RoleWebhook) && len(s.config.Webhook.Receivers) > 0
}

// webhookPart delivers what is stored, as the ledger tells.
func (s *Server) webhookPart() (part, error) {
	h, err := webhook.New(s.config.Webhook, webhook.Options{
		Feed: ledger.NewFeed(s.store), Store: s.store, Data: s.config.Data, Copies: s.config.Copies, Metrics: s.metrics,
	}, s.log)
	return part{webhook.Name, func(ctx context.Context) error {
		run := func(ctx context.Context) error { return h.Run(ctx, s.bus) }
		return s.withCopies(RoleWebhook, run, copies.File{Path: "webhook/webhook.db", Copy: h.Copy})(ctx)
	}}, err
}
