package alerting

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/wattline/wattline/cloud/alerting/alertmanager"
	"github.com/wattline/wattline/cloud/alerting/mail"
	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/cloud/alerting/post"
	"github.com/wattline/wattline/shared/contract"
)

// audience are those who are told: some what changes, some what is.
type audience struct {
	told    []notify.Receiver
	states  []stateful
	closers []func()
}

func (a *audience) close() {
	for _, c := range a.closers {
		c()
	}
}

// told is a receiver with the defaults of its kind.
func (r *Receiver) told() notify.Receiver {
	one := notify.Receiver{Name: r.Name, Kind: r.Kind, From: r.least(), Digest: r.Digest, Over: r.Over == nil || *r.Over}
	if r.Kind == kindEmail {
		one.Wait, one.Most = 30*time.Second, 12
	}
	if r.Wait != nil {
		one.Wait = *r.Wait
	}
	if r.MostPerHour != nil {
		one.Most = *r.MostPerHour
	}
	return one
}

func (r *Receiver) least() contract.Severity {
	if r.Least == "" {
		return contract.Warning
	}
	return r.Least
}

// audience makes the senders of all receivers.
func (c *Config) audience(site func() contract.Site, zone func() *time.Location, log *slog.Logger) (*audience, error) {
	a := &audience{}
	var errs []error
	for i := range c.Receivers {
		if err := a.add(&c.Receivers[i], c.Link, site, zone, log); err != nil {
			errs = append(errs, fmt.Errorf("alerting.receivers[%d] (%s): %w", i, c.Receivers[i].Name, err))
		}
	}
	if len(errs) > 0 {
		a.close()
		return nil, errors.Join(errs...)
	}
	return a, nil
}

func (a *audience) add(r *Receiver, link string, site func() contract.Site, zone func() *time.Location, log *slog.Logger) error {
	one := r.told()
	switch r.Kind {
	case kindEmail:
		sender, err := mail.New(*r.Email, zone, log)
		if err != nil {
			return err
		}
		one.Sender = sender
	case kindWebhook:
		sender, err := post.New(*r.Webhook, zone)
		if err != nil {
			return err
		}
		one.Sender = sender
		a.closers = append(a.closers, sender.Close)
	case kindAlertmanager:
		pusher, err := alertmanager.New(*r.Alertmanager, alertmanager.Options{
			Name: r.Name, From: r.least(), Site: func() string { return site().Name }, Link: link, Log: log,
		})
		if err != nil {
			return err
		}
		a.states = append(a.states, pusher)
		return nil
	}
	a.told = append(a.told, one)
	return nil
}
