package influxd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// probe is one influxd as seen from its port.
type probe struct {
	url   string
	token string
	http  *http.Client
}

// newProbe makes a probe that keeps no connections.
func newProbe(base, token string) *probe {
	return &probe{url: base, token: token, http: &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true},
	}}
}

// errCredentials says that the database knows another password than the file.
var errCredentials = errors.New("the database was made with other credentials")

// await returns nil when influxd answers and our user may use it. It returns
// early only when ctx ends or waiting is pointless.
func (p *probe) await(ctx context.Context) error {
	const first, longest = 10 * time.Millisecond, 250 * time.Millisecond
	pause := time.NewTimer(0)
	defer pause.Stop()
	for wait := first; ; wait = min(2*wait, longest) {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		err := p.check(ctx)
		if err == nil || errors.Is(err, errCredentials) {
			return err
		}
		pause.Reset(wait)
	}
}

// check asks once, and makes the user where there is none yet.
func (p *probe) check(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/ping", http.NoBody)
	if err != nil {
		return err
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("ping: %s", resp.Status)
	}
	err = p.query(ctx, "SHOW DATABASES")
	if err == nil || !strings.Contains(err.Error(), "create admin user first") {
		return err
	}
	name, password, _ := strings.Cut(p.token, ":")
	// Both are made by us or by the operator, of any characters.
	escape := strings.NewReplacer(`\`, `\\`, `'`, `\'`, `"`, `\"`, "\n", `\n`)
	err = p.query(ctx, `CREATE USER "`+escape.Replace(name)+`" WITH PASSWORD '`+escape.Replace(password)+`' WITH ALL PRIVILEGES`)
	if err != nil {
		return err
	}
	return p.query(ctx, "SHOW DATABASES")
}

// query runs a statement as our user.
func (p *probe) query(ctx context.Context, statement string) error {
	form := url.Values{"q": {statement}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/query", strings.NewReader(form))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Token "+p.token)
	resp, err := p.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusUnauthorized {
		return errCredentials
	}
	var answer struct {
		Error   string `json:"error"`
		Results []struct {
			Error string `json:"error"`
		} `json:"results"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&answer); err != nil {
		return err
	}
	for _, r := range answer.Results {
		if answer.Error == "" {
			answer.Error = r.Error
		}
	}
	if answer.Error != "" {
		return errors.New(answer.Error)
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}
