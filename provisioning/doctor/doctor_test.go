package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wattline/wattline/provisioning/doctor"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		http.DefaultClient.CloseIdleConnections()
		os.Exit(code)
	}))
}

var now = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// cloud answers the doctor from a map of paths; what is missing is 404.
type cloud struct {
	answers map[string]string
	away    bool
	date    time.Time
	until   time.Time
}

func (c *cloud) Ask(_ context.Context, path string, _ url.Values) (doctor.Reply, error) {
	if c.away {
		return doctor.Reply{}, errors.New("nobody listens there")
	}
	status, body, ok := strings.Cut(c.answers[path], " ")
	if !ok {
		status, body = "404", `{"detail":"no such route"}`
	}
	r := doctor.Reply{Body: []byte(body), Date: c.date, CertificateUntil: c.until}
	fmt.Sscan(status, &r.Status)
	return r, nil
}

// well is a cloud where all is well.
func well() *cloud {
	return &cloud{date: now, until: now.Add(90 * 24 * time.Hour), answers: map[string]string{
		"/healthz":         `200 {"status":"ok","version":"1.0"}`,
		"/readyz":          `200 {"status":"ok","broker":true,"registry":true}`,
		"/metrics":         "200 # HELP x y\nwattline_api_connections_open 1\nwattline_ledger_missing_batches{gateway=\"a b\"} 0\n",
		"/api/v1/readings": `200 {"series":[{"points":[{"time":"2026-03-02T11:59:30Z","value":1}]}]}`,
		"/api/v1/site":     `200 {"name":"Calle Mayor","default_floor":1,"time_zone":"Europe/Madrid"}`,
		"/api/v1/gateways": `200 {"items":[{"id":"edge-f1","floor":1,"online":true,"trust":"trusted","config_version_wanted":3,"certificates":[{"expires":"2027-03-01T00:00:00Z"}],
			"status":{"version":"1.0","config_version":3,"clock":{"set":true,"skew_s":0.01},"plugs":{"configured":90,"reachable":90},"outbox":{"readings":12,"file_bytes":1000,"limit_bytes":100000}}}],"next":null}`,
		"/api/v1/devices":    `200 {"items":[{"id":"sp_f1.g0","plug":{"address":"10.1.2.1"}}],"next":null}`,
		"/api/v1/plugs":      `200 {"items":[{"mac":"AC:84:C6:59:D9:A1","device":"sp_f1.g0"}],"next":null}`,
		"/api/v1/enrolments": `200 {"items":[],"next":null}`,
		"/api/v1/ledger":     `200 [{"gateway":"edge-f1","claim":"none missing up to 11:59:58","complete":true,"missing":0,"dropped":0,"epochs":[]}]`,
	}}
}

func options(s doctor.Server) doctor.Options {
	return doctor.Options{Server: s, Address: "http://cloud", Version: "1.0", Now: func() time.Time { return now }}
}

func text(r *doctor.Report) string {
	var b strings.Builder
	_ = r.Write(&b, func(s string) string { return s }) // a Builder takes all
	return b.String()
}

func TestWhereAllIsWellEverythingIsOK(t *testing.T) {
	for name, r := range map[string]*doctor.Report{
		"cloud": doctor.Cloud(t.Context(), options(well())), "site": doctor.Site(t.Context(), options(well())),
	} {
		if r.Worst() != doctor.OK || len(r.Findings) < 5 {
			t.Errorf("%s:\n%s", name, text(r))
		}
	}
}

func TestEachTroubleIsFoundWithItsCure(t *testing.T) {
	for name, c := range map[string]struct {
		look    func(context.Context, doctor.Options) *doctor.Report
		path    string
		old     string
		changed string
		level   doctor.Level
		want    string
	}{
		"no broker":             {doctor.Cloud, "/readyz", `"broker":true`, `"broker":false`, doctor.Fail, "no connection to the broker"},
		"no registry":           {doctor.Cloud, "/readyz", `"registry":true`, `"registry":false`, doctor.Fail, "wattline site init"},
		"another server":        {doctor.Cloud, "/readyz", `{`, `<html>`, doctor.Fail, "no JSON"},
		"another version":       {doctor.Cloud, "/healthz", `1.0`, `0.9`, doctor.Warn, "the cloud runs 0.9, this wattline is 1.0"},
		"no InfluxDB":           {doctor.Cloud, "/api/v1/readings", "200", "503", doctor.Fail, "see that InfluxDB runs"},
		"old readings":          {doctor.Cloud, "/api/v1/readings", "11:59:30", "10:00:00", doctor.Warn, "2h0m0s old"},
		"no readings":           {doctor.Cloud, "/api/v1/readings", `[{"points":[{"time":"2026-03-02T11:59:30Z","value":1}]}]`, "[]", doctor.Warn, "no reading of the last 24 hours"},
		"quarantine":            {doctor.Cloud, "/metrics", "wattline_api", "wattline_quarantine_open_batches{source=\"x\"} 3\nwattline_api", doctor.Warn, "3 batches were refused"},
		"no token":              {doctor.Cloud, "/metrics", "200", "401", doctor.Warn, "give the token of an admin"},
		"a gateway offline":     {doctor.Site, "/api/v1/gateways", `"online":true`, `"online":false,"heard":"2026-03-02T11:00:00Z"`, doctor.Fail, "offline, heard 1h0m0s ago"},
		"a clock not set":       {doctor.Site, "/api/v1/gateways", `"set":true`, `"set":false`, doctor.Warn, "its clock is not set"},
		"a clock apart":         {doctor.Site, "/api/v1/gateways", `0.01`, `-90`, doctor.Warn, "1m30s apart"},
		"an old configuration":  {doctor.Site, "/api/v1/gateways", `"config_version":3`, `"config_version":2`, doctor.Warn, "runs version 2 and should run 3"},
		"a refused one":         {doctor.Site, "/api/v1/gateways", `"config_version":3`, `"config_refused":{"version":4,"reason":"two plugs"}`, doctor.Fail, "refuses version 4: two plugs"},
		"plugs that are silent": {doctor.Site, "/api/v1/gateways", `"reachable":90`, `"reachable":89,"problems":[{"device":"sp_g1","reason":"offline"}]`, doctor.Warn, "89 of 90 answer: sp_g1 offline"},
		"no plug at all":        {doctor.Site, "/api/v1/gateways", `"reachable":90`, `"reachable":0`, doctor.Fail, "0 of 90 answer"},
		"a full outbox":         {doctor.Site, "/api/v1/gateways", `"file_bytes":1000`, `"file_bytes":95000`, doctor.Fail, "95 % of the room"},
		"half an outbox":        {doctor.Site, "/api/v1/gateways", `"file_bytes":1000`, `"file_bytes":55000`, doctor.Warn, "55 % of the room"},
		"a worn disk":           {doctor.Site, "/api/v1/gateways", `"readings":12`, `"refused":2`, doctor.Fail, "2 readings could not be written"},
		"a damaged outbox":      {doctor.Site, "/api/v1/gateways", `"clock":`, `"damaged":"outbox.db.bad","clock":`, doctor.Fail, "outbox.db.bad"},
		"a waiting box":         {doctor.Site, "/api/v1/gateways", `trusted`, `pending`, doctor.Warn, "wattline gateways approve edge-f1"},
		"an old certificate":    {doctor.Site, "/api/v1/gateways", `2027-03-01`, `2026-03-20`, doctor.Warn, "expires on 2026-03-20, in 17 days"},
		"an expired one":        {doctor.Site, "/api/v1/gateways", `2027-03-01`, `2026-03-01`, doctor.Fail, "expired on 2026-03-01"},
		"a stranger":            {doctor.Site, "/api/v1/gateways", `"floor":1`, `"floor":null`, doctor.Warn, "the registry does not know it"},
		"a place without plug":  {doctor.Site, "/api/v1/devices", `"address":"10.1.2.1"`, ``, doctor.Warn, "without a plug 1: sp_f1.g0"},
		"a locked plug":         {doctor.Site, "/api/v1/plugs", `"device":"sp_f1.g0"`, `"device":"sp_f1.g0","problem":"locked"`, doctor.Warn, "locked 1: AC:84:C6:59:D9:A1 at sp_f1.g0"},
		"an unsupported plug":   {doctor.Site, "/api/v1/plugs", `"device":"sp_f1.g0"`, `"device":"sp_f1.g0","problem":"unsupported"`, doctor.Warn, "shelly for plugs of Shelly"},
		"a plug without place":  {doctor.Site, "/api/v1/plugs", `,"device":"sp_f1.g0"`, ``, doctor.Warn, "found and without a place 1"},
		"missing batches":       {doctor.Site, "/api/v1/ledger", `"missing":0`, `"missing":2`, doctor.Fail, "2 batches are missing"},
		"an incomplete ledger":  {doctor.Site, "/api/v1/ledger", `"complete":true`, `"complete":false`, doctor.Warn, "keeps its run open"},
		"a clone":               {doctor.Site, "/api/v1/ledger", `"epochs":[]`, `"epochs":[],"clones":["two boxes"]`, doctor.Fail, "two boxes have one identity"},
		"an old image":          {doctor.Site, "/api/v1/ledger", `"epochs":[]`, `"epochs":[{"rolled_back":true}]`, doctor.Warn, "restored an old image"},
		"garbage":               {doctor.Site, "/api/v1/ledger", `[{`, `[[{`, doctor.Fail, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			s := well()
			before := s.answers[c.path]
			s.answers[c.path] = strings.Replace(before, c.old, c.changed, 1)
			if s.answers[c.path] == before {
				t.Fatalf("%q is not in the answer", c.old)
			}
			r := c.look(t.Context(), options(s))
			if got := r.Worst(); got != c.level || !strings.Contains(text(r), c.want) {
				t.Errorf("worst is %v, want %v with %q:\n%s", got, c.level, c.want, text(r))
			}
			for _, f := range r.Findings {
				if f.Level == doctor.OK && f.Cure != "" {
					t.Errorf("a cure for what is well: %+v", f)
				}
			}
		})
	}
}

func TestACloudThatIsAwayIsOneFailure(t *testing.T) {
	r := doctor.Cloud(t.Context(), options(&cloud{away: true}))
	if len(r.Findings) != 1 || r.Worst() != doctor.Fail {
		t.Errorf("got\n%s", text(r))
	}
}

func TestClocksApartAndCertificatesThatEnd(t *testing.T) {
	s := well()
	s.date, s.until = now.Add(-time.Minute), now.Add(10*24*time.Hour)
	got := text(doctor.Cloud(t.Context(), options(s)))
	for _, want := range []string{"1m0s apart", "expires on 2026-03-12, in 10 days"} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %q in\n%s", want, got)
		}
	}
}

const page = `{"status":{"gateway":"edge-f1","online":true,"version":"1.0","config_version":3,"time":1000,"clock":{"set":true},
	"outbox":{"readings":5,"file_bytes":1000,"limit_bytes":100000},"plugs":{"configured":3,"reachable":3}},
	"cloud":{"reachable":true,"since":900,"broker":"tls://me:hunter2@cloud:8883","last_receipt":999},"disk_free_bytes":1000000000,"disk_reserve_bytes":1000,"plugs":[]}`

// box is a gateway's own page.
func box(t *testing.T, status, health string) doctor.Options {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/status.json":
			fmt.Fprint(w, status)
		case health != "ok":
			http.Error(w, health, http.StatusServiceUnavailable)
		default:
			fmt.Fprintln(w, health)
		}
	}))
	t.Cleanup(s.Close)
	o := options(well())
	o.Page = s.URL
	return o
}

func TestAGatewayIsLookedOverByItsPage(t *testing.T) {
	r := doctor.Gateway(t.Context(), box(t, page, "ok"))
	for _, f := range r.Findings {
		if f.Level != doctor.OK && f.About != "this machine" {
			t.Errorf("found %+v", f)
		}
	}
	if got := text(r); strings.Contains(got, "hunter2") {
		t.Errorf("the password of the broker is told:\n%s", got)
	}
	for old, c := range map[string][2]string{
		`"reachable":true`:             {`"reachable":false,"err":"connection refused"`, "not connected to tls://[secret]@cloud:8883: connection refused"},
		`"last_receipt":999`:           {`"last_receipt":100`, "the last one came 15m0s ago"},
		`,"last_receipt":999`:          {``, "no receipt has come"},
		`"disk_free_bytes":1000000000`: {`"disk_free_bytes":500`, "500 B free"},
		`"set":true`:                   {`"set":false`, "not set yet"},
	} {
		broken := strings.Replace(page, old, c[0], 1)
		if got := text(doctor.Gateway(t.Context(), box(t, broken, "ok"))); !strings.Contains(got, c[1]) {
			t.Errorf("with %s, missing %q in\n%s", c[0], c[1], got)
		}
	}
	if r := doctor.Gateway(t.Context(), box(t, page, "the outbox is damaged")); r.Worst() != doctor.Fail || !strings.Contains(text(r), "the outbox is damaged") {
		t.Errorf("an unhealthy one:\n%s", text(r))
	}
	if r := doctor.Gateway(t.Context(), box(t, "<html>", "ok")); r.Worst() != doctor.Fail {
		t.Errorf("a page that is none:\n%s", text(r))
	}
	o := options(well())
	o.Page = "http://127.0.0.1:1"
	if r := doctor.Gateway(t.Context(), o); r.Worst() != doctor.Fail || !strings.Contains(text(r), "systemctl status wattline-edge") {
		t.Errorf("a gateway that does not run:\n%s", text(r))
	}
}
