package api

import (
	"encoding/json"
	"time"

	"github.com/wattline/wattline/cloud/api/directory"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// Who has changed something and looks, must see it. The registry answers before
// the retained topics have come round, which takes milliseconds; an answer waits
// for them, but not long.
const (
	hearPatience = time.Second
	hearEvery    = 2 * time.Millisecond
)

// awaitHeard waits until the directory knows what a command has done.
func (s *Server) awaitHeard(resource string, r contract.RegistryRequest, answer contract.RegistryAnswer) {
	knows := s.outcome(resource, r, answer)
	if knows == nil {
		return
	}
	for end := time.Now().Add(hearPatience); !knows() && time.Now().Before(end) && s.life.Err() == nil; {
		time.Sleep(hearEvery)
	}
}

// outcome gives the question whether the directory knows it; nil when there is
// nothing that it could know.
func (s *Server) outcome(resource string, r contract.RegistryRequest, answer contract.RegistryAnswer) func() bool {
	gone := r.Verb == "delete"
	var names struct{ ID, Device, Gateway string }
	_ = json.Unmarshal(answer.Content, &names) // empty names are nobody's
	switch resource {
	case "site":
		return func() bool { site, ok := s.house.Site(); return ok && site.Revision >= answer.Revision }
	case "places":
		id, err := device.Parse(names.Device)
		if err != nil {
			return nil
		}
		return func() bool { p, ok := s.house.Place(id); return ok != gone && p.Revision >= answer.Revision }
	case "gateways":
		if names.Gateway == "" {
			return nil
		}
		return func() bool { return known(s.house, names.Gateway, answer.Revision) != gone }
	case "tokens":
		if names.ID == "" {
			return nil
		}
		return func() bool { return s.house.HasToken(names.ID) != gone }
	}
	return nil
}

func known(house *directory.Directory, gateway string, revision uint64) bool {
	g, ok := house.Gateway(gateway)
	return ok && g.Info != nil && g.Info.Revision >= revision
}

// pluggedView is a place that was given another plug.
type pluggedView struct {
	deviceView

	// PlugBefore is the identity of the plug that was here, PlaceBefore where the
	// plug that is here now was.
	PlugBefore  string `json:"plug_before,omitempty"`
	PlaceBefore string `json:"place_before,omitempty"`
}

// asDevice gives a place, as the registry has it, the form that places have in
// /api/v1; other content stays as it is.
func (s *Server) asDevice(resource, verb string, content json.RawMessage) (json.RawMessage, error) {
	var place struct {
		contract.Place

		PlugBefore  string `json:"plug_before"`
		PlaceBefore string `json:"place_before"`
	}
	site, ok := s.house.Site()
	if resource != "places" || verb == "delete" || !ok {
		return content, nil
	}
	if err := json.Unmarshal(content, &place); err == nil && !place.Device.IsZero() {
		view := []deviceView{s.view(place.Place, site)}
		s.addProblems(view)
		return json.Marshal(pluggedView{view[0], place.PlugBefore, place.PlaceBefore})
	}
	return content, nil
}
