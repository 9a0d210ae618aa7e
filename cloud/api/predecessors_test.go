package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hook"
)

// A place with a new id goes on where its predecessor ended, for who asks so;
// the floors of a token hold for all of them.
func TestReadingsFollowPredecessors(t *testing.T) {
	s := start(t)
	s.register()
	for id, before := range map[string]string{"sp_f2.g3": "sp_f2.g40", "sp_f3.g3": "sp_f2.g3"} {
		s.publish(bus.PlacesPrefix+id, contract.Place{Device: mustID(t, id), Gateway: "edge-f2", Driver: "hs110", Predecessor: mustID(t, before)}, true)
	}
	await(t, "the predecessors are known", func() bool {
		var p struct{ Predecessor string }
		return s.get("/api/v1/devices/sp_f3.g3").json(&p).status == http.StatusOK && p.Predecessor == "sp_f2.g3"
	})
	asked := make(chan map[string]string, 10)
	s.component(hook.Queries, "influx_query", func(_ context.Context, r hook.Request, w *hook.Answer) error {
		var values map[string]string
		if err := json.Unmarshal(r.Data, &values); err != nil {
			return err
		}
		asked <- values
		w.Send(json.RawMessage(`[]`), nil)
		return nil
	})
	for parameters, want := range map[string]string{
		"&id=sp_f3.g3":                                 "sp_f3.g3",
		"&id=sp_f3.g3&predecessors=false":              "sp_f3.g3",
		"&id=sp_f3.g3&predecessors=true":               "sp_f3.g3,sp_f2.g3,sp_f2.g40",
		"&id=sp_f1.g3,sp_f3.g3&predecessors=true":      "sp_f1.g3,sp_f3.g3,sp_f2.g3,sp_f2.g40",
		"&predecessors=true&id=sp_f2.g3,sp_f3.g3,nope": "sp_f2.g3,sp_f3.g3,nope,sp_f2.g40",
	} {
		if r := s.get("/api/v1/readings?measurement=power" + parameters); r.status != http.StatusOK {
			t.Errorf("%s: %d", parameters, r.status)
			continue
		}
		got := <-asked
		if _, passed := got["predecessors"]; got["id"] != want || passed {
			t.Errorf("%s: asked for %v, want the ids %s", parameters, got, want)
		}
	}
	for parameters, words := range map[string]string{"&predecessors=true": "needs id", "&predecessors=yes&id=sp_g3": "true or false", "&predecessors=&id=sp_g3": "true or false"} {
		s.get("/api/v1/readings?measurement=power"+parameters).problem(http.StatusBadRequest, words)
	}
}
