package spec_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/api/apitest"
	"github.com/wattline/wattline/cloud/server"
)

// otherwise are examples of the OpenAPI document that are no success here, for
// want of what they are about, and what they are instead.
var otherwise = map[string]int{
	"enrol": http.StatusBadRequest, "renew": http.StatusBadRequest, // no box, no certificate request
	"makeJoinToken":  http.StatusServiceUnavailable,                             // the site has no authority of its own
	"approveGateway": http.StatusConflict, "refuseGateway": http.StatusConflict, // no box waits
	"replay":  http.StatusBadRequest, // nothing is in quarantine
	"getPlug": http.StatusNotFound, "forgetPlug": http.StatusNotFound, "getAlert": http.StatusNotFound,
	"testReceiver": http.StatusNotFound, "deleteMaintenance": http.StatusNotFound,
	"deleteGateway": http.StatusConflict, // it still has places
}

// Every request that the OpenAPI document shows is sent to a real system, with
// real plugs, and the answers are as it says.
func TestTheExamplesOfREST(t *testing.T) {
	s := start(t, "embedded", func(c *server.Config) { c.Backup.Directory = filepath.Join(t.TempDir(), "backups") })
	book, err := apitest.New()
	if err != nil {
		t.Fatal(err)
	}
	s.until("the readings are stored", func() bool {
		status, body := s.get("/api/v1/readings?measurement=power&operation=count")
		return status == http.StatusOK && strings.Contains(body, `"value"`)
	})
	s.until("the source is listed", func() bool { status, _ := s.get("/api/v1/sources/edge-f1"); return status == http.StatusOK })
	s.until("the gateway obeys", func() bool {
		obeyed := s.exchange(apitest.Example{Method: http.MethodPut, Target: "/api/v1/devices/sp_f1.g0/relay", Body: `{"on":true}`}, "")
		return obeyed.Status == http.StatusOK
	})
	s.until("the backup answers", func() bool { status, _ := s.get("/api/v1/backups"); return status == http.StatusOK })
	for _, e := range book.Examples() {
		name := strings.TrimSuffix(e.Operation+" "+e.Name, " ")
		x := s.exchange(e, "")
		if err := book.Check(x); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		want, other := otherwise[e.Operation]
		if other && x.Status != want || !other && x.Status/100 != 2 {
			t.Errorf("%s: %s %s: %d %.400s", name, e.Method, e.Target, x.Status, x.Body)
		}
	}
	for path, accepts := range map[string][]string{
		"/api/v1/readings?measurement=power":         {"text/csv", "application/senml+json"},
		"/api/v1/devices/sp_f1.w.r0.c0/state":        {"application/senml+json"},
		"/api/v1/alerts?state=all":                   {"text/csv"},
		"/api/v1/inventory":                          {"text/csv", "application/yaml"},
		"/api/v1/gateways":                           {"application/json"},
		"/api/v1/devices":                            {"application/json"},
		"/api/v1/audit":                              {"application/json"},
		"/api/v1/tokens":                             {"application/json"},
		"/api/v1/ledger":                             {"application/json"},
		"/api/v1/readings?measurement=power&limit=3": {"application/json"},
		"/api/v1/plugs":                              {"application/json"},
		"/api/v1/enrolments":                         {"application/json"},
		"/api/v1/alerts/audit":                       {"application/json"},
		"/api/v1/sources":                            {"application/json"},
	} {
		for _, accept := range accepts {
			x := s.exchange(apitest.Example{Method: http.MethodGet, Target: path}, accept)
			if err := book.Check(x); err != nil || x.Status != http.StatusOK {
				t.Errorf("%s as %s: %d %v", path, accept, x.Status, err)
			}
		}
	}
}

// exchange sends an example. Of a stream it takes the begin.
func (s *system) exchange(e apitest.Example, accept string) apitest.Exchange {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, e.Method, s.rest+e.Target, strings.NewReader(e.Body))
	if err != nil {
		s.t.Fatal(err)
	}
	for name, value := range map[string]string{"Content-Type": e.Media, "Accept": accept} {
		if value != "" {
			request.Header.Set(name, value)
		}
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	x := apitest.Exchange{Method: e.Method, Target: e.Target, Asked: request.Header, Sent: []byte(e.Body), Status: answer.StatusCode, Header: answer.Header}
	if !strings.HasPrefix(answer.Header.Get("Content-Type"), "text/event-stream") {
		if x.Body, err = io.ReadAll(answer.Body); err != nil {
			s.t.Fatal(err)
		}
		return x
	}
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		x.Body = append(append(x.Body, lines.Bytes()...), '\n')
		if lines.Text() == "data: {}" { // the last of what there is now
			break
		}
	}
	return x
}
