package doctor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	maxSkew     = 5 * time.Second
	expiresSoon = 30 * 24 * time.Hour
	// fresh is how old the newest stored reading may be.
	fresh = 10 * time.Minute
)

// Cloud looks at a cloud from outside: whether it answers, whether what it is
// made of does, and what its figures say.
func Cloud(ctx context.Context, o Options) *Report {
	r := &Report{}
	const about = "cloud"
	sent := o.now()
	reply, err := o.Server.Ask(ctx, "/healthz", nil)
	if err != nil {
		r.add(Fail, about, "reachable", "see that wattline-cloud runs there and that --server and --ca are right", "%v", err)
		return r
	}
	var health struct{ Status, Version string }
	_ = json.Unmarshal(reply.Body, &health) // what is no JSON has no version
	r.verdict(reply.Status != http.StatusOK, Fail, about, "reachable", "the log of wattline-cloud says why", "%s answers, version %s", o.Address, orUnknown(health.Version))
	if health.Version != "" && o.Version != "" {
		r.verdict(health.Version != o.Version, Warn, about, "version", "install the same version everywhere", "the cloud runs %s, this wattline is %s", health.Version, o.Version)
	}
	o.clock(r, reply, sent)
	if !reply.CertificateUntil.IsZero() {
		o.expiry(r, about, "certificate", "", reply.CertificateUntil, "renew the certificate of http.tls; one that the site issues itself is renewed at a start")
	}
	o.ready(ctx, r)
	o.storage(ctx, r)
	o.figures(ctx, r)
	return r
}

func orUnknown(version string) string {
	if version == "" {
		return "unknown"
	}
	return version
}

// clock compares the clocks of the server and this machine; the header has whole
// seconds.
func (o Options) clock(r *Report, reply Reply, sent time.Time) {
	if reply.Date.IsZero() {
		return
	}
	skew := reply.Date.Sub(sent.Add(o.now().Sub(sent) / 2))
	r.verdict(skew.Abs() > maxSkew, Warn, "cloud", "clock", "let both machines take their time from a time server (timedatectl, chronyc tracking)",
		"its clock and that of this machine are %v apart", skew.Abs().Round(time.Second))
}

// expiry judges the end of a certificate; what names it.
func (o Options) expiry(r *Report, about, check, what string, until time.Time, cure string) {
	left := until.Sub(o.now())
	switch day := until.UTC().Format(time.DateOnly); {
	case left <= 0:
		r.add(Fail, about, check, cure, "%sexpired on %s", what, day)
	case left < expiresSoon:
		r.add(Warn, about, check, cure, "%sexpires on %s, in %d days", what, day, int(left.Hours()/24))
	default:
		r.add(OK, about, check, "", "%svalid until %s", what, day)
	}
}

// ready asks what the cloud is made of.
func (o Options) ready(ctx context.Context, r *Report) {
	reply, err := o.Server.Ask(ctx, "/readyz", nil)
	if err != nil {
		r.add(Fail, "cloud", "ready", "", "%v", err)
		return
	}
	var parts map[string]any
	if json.Unmarshal(reply.Body, &parts) != nil {
		r.add(Fail, "cloud", "ready", "is --server a Wattline server?", "/readyz answers %d and no JSON", reply.Status)
		return
	}
	broker, _ := parts["broker"].(bool)
	r.verdict(!broker, Fail, "cloud", "broker", "see that the broker runs and lets the cloud in (mqtt.url, broker.listen)", "%s", yesNo(broker, "the api is connected to the broker", "the api has no connection to the broker"))
	registry, _ := parts["registry"].(bool)
	r.verdict(!registry, Fail, "cloud", "registry", "see that a process with the role registry runs, and that a site was made (wattline site init)",
		"%s", yesNo(registry, "the registry was heard", "the registry has said nothing yet: no place is known"))
}

func yesNo(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}

// storage asks for the newest reading, which only InfluxDB can answer.
func (o Options) storage(ctx context.Context, r *Report) {
	from := o.now().Add(-24 * time.Hour).UTC().Format(time.RFC3339)
	reply, err := o.Server.Ask(ctx, "/api/v1/readings", url.Values{"measurement": {"power"}, "from": {from}, "order": {"desc"}, "limit": {"1"}})
	if denied(r, "influx", reply, err) {
		return
	}
	if reply.Status != http.StatusOK {
		r.add(Fail, "cloud", "influx", "see that InfluxDB runs and lets the cloud in (influx.url, influx.token, or the log of influxd)",
			"readings cannot be asked for: %s", detail(reply))
		return
	}
	newest := newestOf(reply.Body)
	if newest.IsZero() {
		r.add(Warn, "cloud", "influx", "see below whether gateways are online and what waits at them", "InfluxDB answers, and has no reading of the last 24 hours")
		return
	}
	age := o.now().Sub(newest)
	r.verdict(age > fresh, Warn, "cloud", "influx", "see below whether gateways are online and what waits at them", "InfluxDB answers; the newest reading is %v old", max(age, 0).Round(time.Second))
}

func newestOf(body []byte) (newest time.Time) {
	var answer struct {
		Series []struct {
			Points []struct {
				Time time.Time `json:"time"`
			} `json:"points"`
		} `json:"series"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return newest
	}
	for _, s := range answer.Series {
		for _, p := range s.Points {
			if p.Time.After(newest) {
				newest = p.Time
			}
		}
	}
	return newest
}

// denied notes what could not be looked at, and that a token is missing.
func denied(r *Report, check string, reply Reply, err error) bool {
	switch {
	case err != nil:
		r.add(Fail, "cloud", check, "", "%v", err)
	case reply.Status == http.StatusUnauthorized || reply.Status == http.StatusForbidden:
		r.add(Warn, "cloud", check, "give the token of an admin, so that everything can be looked at", "not looked at: %s", detail(reply))
	default:
		return false
	}
	return true
}

// detail is what a problem says.
func detail(reply Reply) string {
	var p struct{ Detail, Title string }
	if json.Unmarshal(reply.Body, &p) == nil && p.Detail != "" {
		return p.Detail
	}
	return fmt.Sprintf("status %d %s", reply.Status, http.StatusText(reply.Status))
}

// alarming are figures that should be zero, and what they mean when they are
// not.
var alarming = []struct {
	name, check, text, cure string
	level                   Level
}{
	{"wattline_quarantine_open_batches", "quarantine", "%v batches were refused by InfluxDB and wait in the quarantine", "GET /api/v1/quarantine lists them with the reason; POST /api/v1/quarantine/{id}/replay tries one again", Warn},
	{"wattline_ledger_missing_batches", "ledger", "%v batches are missing", "`wattline doctor site` says at which gateway", Fail},
	{"wattline_api_notes_untold_total", "audit", "%v entries could not be told to the audit log", "the log of wattline-cloud says why", Warn},
	{"wattline_broker_messages_dropped_total", "broker queue", "%v messages were dropped for slow clients since the start", "batches are sent again, so nothing is lost; look for a client that does not read", Warn},
	{"wattline_influx_data_misdirected_total", "data", "%v messages named a database that cannot be", "look for the source in the log of wattline-cloud", Warn},
}

// figures reads the metrics of the cloud.
func (o Options) figures(ctx context.Context, r *Report) {
	reply, err := o.Server.Ask(ctx, "/metrics", nil)
	if denied(r, "figures", reply, err) {
		return
	}
	if reply.Status != http.StatusOK {
		r.add(Warn, "cloud", "figures", "", "/metrics: %s", detail(reply))
		return
	}
	sums := sumsOf(reply.Body)
	for _, a := range alarming {
		n, known := sums[a.name]
		if known && n > 0 {
			r.add(a.level, "cloud", a.check, a.cure, a.text, n)
		}
	}
	r.add(OK, "cloud", "figures", "", "%d figures read", len(sums))
}

// sumsOf adds the values of each metric up over its labels (Prometheus text
// format, version 0.0.4).
func sumsOf(text []byte) map[string]float64 {
	sums := map[string]float64{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		if brace := strings.IndexByte(line, '{'); brace >= 0 && brace < len(name) {
			name = line[:brace]
			_, rest, _ = strings.Cut(line[strings.LastIndexByte(line, '}')+1:], " ")
		}
		value, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			sums[name] += v
		}
	}
	return sums
}
