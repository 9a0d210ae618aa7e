package alertmanager

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/wattline/wattline/cloud/alerting/wording"
	"github.com/wattline/wattline/shared/contract"
)

// errPart says that Alertmanager stored the valid alerts of a request and refused
// others.
var errPart = errors.New("some alerts are refused")

const maxAnswer = 4 << 10 // bytes

// run pushes everything each period and changes at once. After a failure all is
// pushed again, until once all has arrived.
func (i *instance) run(ctx context.Context, state func() []contract.Alert) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last time.Time // of the last push
	whole, failures := true, 0
	due := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			whole = true
		case <-i.poked:
			if !sleep(ctx, time.Until(last.Add(apart))) {
				return
			}
		}
		began := time.Now()
		err := i.push(ctx, state(), whole)
		if ctx.Err() != nil {
			return
		}
		last = time.Now()
		i.note(ctx, err, whole)
		switch {
		case err != nil && !errors.Is(err, errPart):
			wait := min(retry<<min(failures, 10), i.p.every)
			failures++
			whole = true
			due = last.Add(wait/2 + rand.N(wait/2+1)) // jitter
		case whole:
			failures, whole = 0, false
			due = began.Add(i.p.every)
		default:
			failures = 0
		}
		timer.Reset(time.Until(due))
	}
}

// sleep reports whether it was not woken by the end of ctx.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// push sends all alerts, or those that the instance does not have as they are.
func (i *instance) push(ctx context.Context, alerts []contract.Alert, whole bool) error {
	site := ""
	if i.p.options.Site != nil {
		site = i.p.options.Site()
	}
	alerts = current(alerts, i.p.options.From)
	there := make(map[string]bool, len(alerts))
	var due []contract.Alert
	for _, a := range alerts {
		there[a.ID] = true
		if known, has := i.known[a.ID]; whole || !has || known != stampOf(a) {
			due = append(due, a)
		}
	}
	for id := range i.known {
		if !there[id] {
			delete(i.known, id)
		}
	}
	var part error
	for len(due) > 0 {
		n := min(len(due), batch)
		now := time.Now()
		body := make([]wire, n)
		for k, a := range due[:n] {
			body[k] = encode(a, site, i.p.options.Link, now, periods*i.p.every)
		}
		err := i.post(ctx, body)
		if err != nil && !errors.Is(err, errPart) {
			return err
		}
		if err != nil {
			part = err
		}
		for _, a := range due[:n] {
			i.known[a.ID] = stampOf(a)
		}
		due = due[n:]
	}
	return part
}

func stampOf(a contract.Alert) stamp {
	s := stamp{ended: a.Ended, severity: a.Severity, flapping: a.Flapping}
	if a.Hushed != nil {
		s.hushed, s.until = a.Hushed.At, a.Hushed.Until
	}
	return s
}

// post makes one request and reads no more of the answer than is worth telling.
func (i *instance) post(ctx context.Context, alerts []wire) error {
	body, err := json.Marshal(alerts)
	if err != nil {
		return fmt.Errorf("encode alerts: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, i.url.JoinPath("api/v2/alerts").String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("push alerts: %w", bare(err))
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "wattline")
	if cfg := &i.p.cfg; cfg.Token != "" {
		request.Header.Set("Authorization", "Bearer "+cfg.Token.Reveal())
	} else if cfg.Username != "" {
		request.SetBasicAuth(cfg.Username, cfg.Password.Reveal())
	}
	answer, err := i.p.client.Do(request)
	if err != nil {
		return fmt.Errorf("push alerts: %w", bare(err))
	}
	defer answer.Body.Close()
	// Whether the end of the answer comes does not matter: the status has said it.
	text, _ := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	said := wording.Shorten(wording.Line(string(text)), 200)
	switch {
	case answer.StatusCode/100 == 2:
		return nil
	case answer.StatusCode == http.StatusBadRequest:
		return fmt.Errorf("%w: %s", errPart, said)
	default:
		return fmt.Errorf("push alerts: status %d: %s", answer.StatusCode, said)
	}
}

// bare takes the address out of what net/http says.
func bare(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// note keeps how the instance is, and tells when that changes. A push of changes
// alone does not show that what was refused is taken now.
func (i *instance) note(ctx context.Context, err error, whole bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	log := i.p.options.Log.With(slog.String("receiver", i.p.options.Name), slog.String("instance", i.url.Host))
	if err == nil || errors.Is(err, errPart) {
		i.sent = time.Now()
	}
	if err == nil && !whole {
		return
	}
	if err == nil {
		if !i.failing.IsZero() {
			log.InfoContext(ctx, "alertmanager takes alerts again", slog.Duration("duration", time.Since(i.failing)))
		}
		i.failing, i.fault = time.Time{}, ""
		return
	}
	if errors.Is(err, errPart) {
		i.refused++
	}
	if i.failing.IsZero() {
		i.failing = time.Now()
		log.WarnContext(ctx, "alertmanager does not take all alerts; they are pushed again", slog.Any("err", err))
	}
	i.fault = err.Error()
}
