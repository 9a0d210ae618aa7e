package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/wattline/wattline/edge/gateway"
)

// A box that waits to be approved polls its plugs and keeps what it reads; its
// page says what it waits for.
func TestAnUnenrolledBoxReadsAndKeeps(t *testing.T) {
	s := newSite(t)
	s.configure(1)
	stop := s.start()
	s.eventually("a configuration that is kept", func() bool { return s.pageView().Status.ConfigVersion == 1 })
	stop()
	cloud := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write([]byte(`{"state":"pending"}`))
	}))
	t.Cleanup(cloud.Close)
	s.config.Broker.URL = strings.Replace(s.config.Broker.URL, "tcp:", "tls:", 1)
	s.config.Enrolment.URL, s.config.Enrolment.JoinToken = cloud.URL, "a token"
	if err := s.config.Validate(); err != nil {
		t.Fatal(err)
	}
	before := s.pageView().Status.Outbox.Readings
	s.start()
	s.eventually("readings are kept and the page says why", func() bool {
		v := s.pageView()
		return v.Status.Outbox.Readings > before+3 && !v.Cloud.Reachable && strings.Contains(v.Cloud.Err, "approve")
	})
}

func TestConfigurationsOfTrustThatCannotBe(t *testing.T) {
	c := gateway.DefaultConfig()
	c.Gateway, c.Enrolment.URL, c.Broker.TLS.Cert = "edge-f1", "http://cloud.example", "x"
	err := c.Validate()
	for _, want := range []string{"broker.tls.cert", "enrolment.url"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %s: %v", want, err)
		}
	}
	c.Enrolment.URL, c.Broker.TLS.Cert = "http://localhost:8080", ""
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "tls://host:8883") {
		t.Errorf("an identity that nobody sees: %v", err)
	}
}
