package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// places finds those where no plug stands.
func (o Options) places(ctx context.Context, r *Report) {
	type place struct {
		ID   string `json:"id"`
		Plug struct {
			Address  string `json:"address"`
			DeviceID string `json:"device_id"`
			MAC      string `json:"mac"`
		} `json:"plug"`
	}
	all, ok := list[place](ctx, o, r, "places", "/api/v1/devices", nil)
	if !ok {
		return
	}
	var empty []string
	for _, p := range all {
		if p.Plug.Address == "" && p.Plug.DeviceID == "" && p.Plug.MAC == "" {
			empty = append(empty, p.ID)
		}
	}
	if len(all) == 0 {
		r.add(Warn, "site", "places", "wattline import FILE", "there are no places yet")
		return
	}
	r.verdict(len(empty) > 0, Warn, "site", "places", "wattline plugs found, then wattline plugs place PLUG ID", "%d places%s", len(all), named(", without a plug", empty))
}

// named is a phrase with how many and some of them; empty for none.
func named(what string, ids []string) string {
	if len(ids) == 0 {
		return ""
	}
	text := fmt.Sprintf("%s %d: %s", what, len(ids), strings.Join(ids[:min(len(ids), maxListed)], ", "))
	if len(ids) > maxListed {
		text += "..."
	}
	return text
}

// plugs finds those with a problem, and those that wait for a place.
func (o Options) plugs(ctx context.Context, r *Report) {
	type plug struct {
		MAC      string `json:"mac"`
		DeviceID string `json:"device_id"`
		Device   string `json:"device"`
		Firmware string `json:"firmware"`
		Problem  string `json:"problem"`
	}
	all, ok := list[plug](ctx, o, r, "plugs", "/api/v1/plugs", nil)
	if !ok {
		return
	}
	by := map[string][]string{}
	var waiting []string
	for _, p := range all {
		name := p.MAC
		if name == "" {
			name = p.DeviceID
		}
		if p.Device != "" {
			name += " at " + p.Device
		} else if p.Problem == "" {
			waiting = append(waiting, name)
		}
		if p.Problem != "" {
			by[p.Problem] = append(by[p.Problem], name)
		}
	}
	cures := map[string]string{
		"locked":      "its firmware does not let others in: swap the plug, or set it back and keep it from the internet",
		"unsupported": "it has no meter, or the driver of its place is for another kind: hs110 is for the HS110, shelly for plugs of Shelly from the second generation on",
		"vanished":    "see that it has power and Wi-Fi, or wattline plugs forget it",
	}
	problems := make([]string, 0, len(by))
	for problem := range by {
		problems = append(problems, problem)
	}
	slices.Sort(problems)
	for _, problem := range problems {
		r.add(Warn, "site", "plugs", cures[problem], "%s", strings.TrimSpace(named(problem, by[problem])))
	}
	if len(waiting) > 0 {
		r.add(Warn, "site", "plugs found", "wattline plugs place PLUG ID", "%s", strings.TrimPrefix(named("found and without a place", waiting), ", "))
	}
	if len(problems)+len(waiting) == 0 {
		r.add(OK, "site", "plugs", "", "%d plugs known", len(all))
	}
}

// waiting finds enrolments that nobody has finished.
func (o Options) waiting(ctx context.Context, r *Report) {
	type enrolment struct {
		Gateway     string     `json:"gateway"`
		JoinExpires *time.Time `json:"join_expires"`
	}
	all, ok := list[enrolment](ctx, o, r, "enrolment", "/api/v1/enrolments", nil)
	for _, e := range all {
		if ok && e.JoinExpires != nil {
			r.add(OK, e.Gateway, "join token", "", "given and not used yet, until %s", e.JoinExpires.UTC().Format(time.DateOnly))
		}
	}
}

// ledger asks for the proofs.
func (o Options) ledger(ctx context.Context, r *Report) {
	reply, err := o.Server.Ask(ctx, "/api/v1/ledger", url.Values{"from": {o.now().Add(-7 * 24 * time.Hour).UTC().Format(time.RFC3339)}})
	type proof struct {
		Gateway  string   `json:"gateway"`
		Claim    string   `json:"claim"`
		Complete bool     `json:"complete"`
		Missing  uint64   `json:"missing"`
		Dropped  uint64   `json:"dropped"`
		Clones   []string `json:"clones"`
		Epochs   []struct {
			RolledBack bool `json:"rolled_back"`
		} `json:"epochs"`
	}
	var raw json.RawMessage
	if denied(r, "ledger", reply, err) || !decoded(r, "ledger", reply, &raw) {
		return
	}
	var proofs []proof
	if json.Unmarshal(raw, &proofs) != nil {
		var wrapped struct {
			Data []proof `json:"data"`
		}
		if err := json.Unmarshal(raw, &wrapped); err != nil {
			r.add(Fail, "cloud", "ledger", "is the cloud of this version?", "its answer cannot be read: %v", err)
			return
		}
		proofs = wrapped.Data
	}
	if len(proofs) == 0 {
		r.add(Warn, "site", "ledger", "see that gateways are online", "nothing of the last seven days is in the ledger")
	}
	for _, p := range proofs {
		if len(p.Clones) > 0 {
			r.add(Fail, p.Gateway, "clone", "two boxes have one identity: wattline gateways revoke "+p.Gateway+", then enrol one of them again", "%s", strings.Join(p.Clones, "; "))
		}
		for _, e := range p.Epochs {
			if e.RolledBack {
				r.add(Warn, p.Gateway, "rolled back", "somebody restored an old image of the box; what it had sent is stored", "a run ended below what was heard of it")
			}
		}
		switch {
		case p.Missing > 0:
			r.add(Fail, p.Gateway, "ledger", "wattline ledger --gateway "+p.Gateway+" --json says which; they may be on a box that was exchanged", "%d batches are missing: %s", p.Missing, p.Claim)
		case !p.Complete:
			r.add(Warn, p.Gateway, "ledger", "what waits is told when it comes; a box that went away for ever keeps its run open", "%s", p.Claim)
		case p.Dropped > 0:
			r.add(Warn, p.Gateway, "ledger", "give the outbox more room (outbox.limit_bytes)", "%s", p.Claim)
		default:
			r.add(OK, p.Gateway, "ledger", "", "%s", p.Claim)
		}
	}
}
