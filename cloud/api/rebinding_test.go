package api_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/wattline/wattline/cloud/api/apitest"
)

// A page of a site whose name leads to loopback for a moment is of the same
// origin for its browser: only the name gives it away.
func TestOnLoopbackOnlyItsOwnNamesAreAnswered(t *testing.T) {
	s := start(t)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]int{
		"127.0.0.1:" + port: http.StatusOK, "127.0.0.1": http.StatusOK, "[::1]:" + port: http.StatusOK, "[::1]": http.StatusOK, "localhost:" + port: http.StatusOK,
		"LOCALHOST": http.StatusOK, "localhost.:80": http.StatusOK, "wattline.localhost": http.StatusOK,
		"rebound.example:" + port: http.StatusForbidden, "127.0.0.1.example": http.StatusForbidden, "localhost.example": http.StatusForbidden, "xlocalhost": http.StatusForbidden,
	} {
		for _, path := range []string{"/", "/api/v1/devices", "/metrics"} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Host = host
			answer, err := s.client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			s.described(apitest.Exchange{Method: http.MethodGet, Target: path, Status: answer.StatusCode, Header: answer.Header, Body: body})
			if refused := answer.StatusCode == http.StatusForbidden; refused != (want == http.StatusForbidden) {
				t.Errorf("%s of %s: %d, want %d", path, host, answer.StatusCode, want)
			}
		}
	}
}
