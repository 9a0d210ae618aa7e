package api_test

import (
	"net/http"
	"testing"

	"github.com/wattline/wattline/shared/hook"
)

// BenchmarkRelayOut is one question over the bus and back, with Mosquitto
// between: what the api and the bus add to the work of a component.
func BenchmarkRelayOut(b *testing.B) {
	s := start(b)
	s.component(hook.Queries, "ask", echo)
	for b.Loop() {
		s.get("/api/out/ask/x?n=1").is(http.StatusOK, "")
	}
}
