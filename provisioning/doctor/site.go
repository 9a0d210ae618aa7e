package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// maxListed bounds how many plugs and the like a finding names.
const maxListed = 5

// Site looks at what a cloud says of its site: gateways, plugs, trust, ledger.
func Site(ctx context.Context, o Options) *Report {
	r := &Report{}
	var site struct {
		Name     string `json:"name"`
		TimeZone string `json:"time_zone"`
	}
	if !o.read(ctx, r, "site", "/api/v1/site", &site) {
		return r
	}
	r.verdict(site.Name == "", Warn, "site", "name", "wattline site set --name ...", "%s", yesNo(site.Name != "", site.Name+", "+site.TimeZone, "the site has no name"))
	gateways := o.gateways(ctx, r)
	for i := range gateways {
		o.gateway(r, &gateways[i])
	}
	o.versions(r, gateways)
	o.places(ctx, r)
	o.plugs(ctx, r)
	o.waiting(ctx, r)
	o.ledger(ctx, r)
	return r
}

// read asks for a document; false when it could not be had, which is noted.
func (o Options) read(ctx context.Context, r *Report, check, path string, into any) bool {
	reply, err := o.Server.Ask(ctx, path, nil)
	return !denied(r, check, reply, err) && decoded(r, check, reply, into)
}

func decoded(r *Report, check string, reply Reply, into any) bool {
	if reply.Status != http.StatusOK {
		r.add(Fail, "cloud", check, "`wattline doctor cloud` says what is wrong with the cloud", "%s", detail(reply))
		return false
	}
	if err := json.Unmarshal(reply.Body, into); err != nil {
		r.add(Fail, "cloud", check, "is the cloud of this version?", "its answer cannot be read: %v", err)
		return false
	}
	return true
}

// maxPages bounds a list.
const maxPages = 1000

// list reads all pages of a list.
func list[T any](ctx context.Context, o Options, r *Report, check, path string, query url.Values) (all []T, ok bool) {
	q := url.Values{"limit": {"1000"}}
	maps.Copy(q, query)
	for range maxPages {
		reply, err := o.Server.Ask(ctx, path, q)
		var page struct {
			Items []T     `json:"items"`
			Next  *string `json:"next"`
		}
		if denied(r, check, reply, err) || !decoded(r, check, reply, &page) {
			return nil, false
		}
		all = append(all, page.Items...)
		if page.Next == nil || *page.Next == "" || *page.Next == q.Get("cursor") {
			break
		}
		q.Set("cursor", *page.Next)
	}
	return all, true
}

// gatewayView is a gateway as the api shows it.
type gatewayView struct {
	ID           string     `json:"id"`
	Floor        *int       `json:"floor"`
	Online       bool       `json:"online"`
	Heard        *time.Time `json:"heard"`
	Places       int        `json:"places"`
	ConfigWanted *uint64    `json:"config_version_wanted"`
	Trust        string     `json:"trust"`
	Certificates []struct {
		Expires time.Time `json:"expires"`
	} `json:"certificates"`
	Status *struct {
		Version       string `json:"version"`
		ConfigVersion uint64 `json:"config_version"`
		ConfigRefused *struct {
			Version uint64 `json:"version"`
			Reason  string `json:"reason"`
		} `json:"config_refused"`
		Clock struct {
			Set     bool     `json:"set"`
			Rebased int      `json:"rebased"`
			Skew    *float64 `json:"skew_s"`
		} `json:"clock"`
		Plugs struct {
			Configured int           `json:"configured"`
			Reachable  int           `json:"reachable"`
			Problems   []plugProblem `json:"problems"`
		} `json:"plugs"`
		Outbox   outboxView `json:"outbox"`
		SetAside []string   `json:"set_aside"`
		Damaged  string     `json:"damaged"`
	} `json:"status"`
}

type plugProblem struct {
	Device string `json:"device"`
	Reason string `json:"reason"`
}

type outboxView struct {
	Readings  int   `json:"readings"`
	File      int64 `json:"file_bytes"`
	Limit     int64 `json:"limit_bytes"`
	Unclocked int   `json:"unclocked"`
	Dropped   int   `json:"dropped"`
	Refused   int   `json:"refused"`
}

func (o Options) gateways(ctx context.Context, r *Report) []gatewayView {
	all, ok := list[gatewayView](ctx, o, r, "gateways", "/api/v1/gateways", nil)
	if ok && len(all) == 0 {
		r.add(Warn, "site", "gateways", "wattline gateways create ID --floor N", "there are no gateways yet")
	}
	return all
}

// gateway judges one of them.
func (o Options) gateway(r *Report, g *gatewayView) {
	if g.Floor == nil {
		r.add(Warn, g.ID, "registered", "wattline gateways create "+g.ID+" --floor N, or find out whose box that is", "it reports, and the registry does not know it")
	}
	o.trust(r, g)
	if !g.Online {
		when := "never"
		if g.Heard != nil {
			when = fmt.Sprintf("%v ago", o.now().Sub(*g.Heard).Round(time.Second))
		}
		r.add(Fail, g.ID, "online", "see that the box has power and network; on it, `wattline doctor gateway` says more", "offline, heard %s", when)
	}
	s := g.Status
	if s == nil {
		return
	}
	if g.Online {
		r.add(OK, g.ID, "online", "", "online, version %s", orUnknown(s.Version))
		o.clockOf(r, g)
	}
	switch wanted := g.ConfigWanted; {
	case s.ConfigRefused != nil:
		r.add(Fail, g.ID, "configuration", "correct what it names; it runs the last good one", "it refuses version %d: %s", s.ConfigRefused.Version, s.ConfigRefused.Reason)
	case wanted != nil && *wanted != s.ConfigVersion && g.Online:
		r.add(Warn, g.ID, "configuration", "it should take it within seconds; if not, its log says why", "it runs version %d and should run %d", s.ConfigVersion, *wanted)
	}
	judgePlugs(r, g.ID, s.Plugs.Configured, s.Plugs.Reachable, s.Plugs.Problems)
	judgeOutbox(r, g.ID, s.Outbox, s.SetAside, s.Damaged)
}

func (o Options) trust(r *Report, g *gatewayView) {
	switch g.Trust {
	case "pending":
		r.add(Warn, g.ID, "trust", "wattline gateways requests, compare the key, then wattline gateways approve "+g.ID, "a box waits to be approved")
	case "revoked":
		r.add(Warn, g.ID, "trust", "wattline gateways join-token "+g.ID+" lets a box become it again", "revoked")
	}
	until := time.Time{}
	for _, c := range g.Certificates {
		if c.Expires.After(until) {
			until = c.Expires
		}
	}
	if !until.IsZero() {
		o.expiry(r, g.ID, "certificate", "", until, "a box renews it by itself from two thirds of its life on: see that it is online, or give it a new join token")
	}
}

func (o Options) clockOf(r *Report, g *gatewayView) {
	c := g.Status.Clock
	switch {
	case !c.Set:
		r.add(Warn, g.ID, "clock", "give the box a time server; until then its readings wait on its disk", "its clock is not set")
	case c.Skew != nil:
		skew := time.Duration(*c.Skew * float64(time.Second))
		r.verdict(skew.Abs() > maxSkew, Warn, g.ID, "clock", "let the box take its time from a time server (timedatectl)", "its clock is %v apart from the cloud's", skew.Abs().Round(10*time.Millisecond))
	}
}

func judgePlugs(r *Report, about string, configured, reachable int, problems []plugProblem) {
	if configured == 0 {
		r.add(Warn, about, "plugs", "wattline import, or wattline plugs found and plugs place", "it has no plugs yet")
		return
	}
	named := make([]string, 0, maxListed)
	for _, p := range problems[:min(len(problems), maxListed)] {
		named = append(named, p.Device+" "+p.Reason)
	}
	text := fmt.Sprintf("%d of %d answer", reachable, configured)
	if len(named) > 0 {
		text += ": " + strings.Join(named, ", ")
	}
	if n := len(problems) - len(named); n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	level := Warn
	if reachable == 0 {
		level = Fail
	}
	r.verdict(reachable < configured, level, about, "plugs", "see that they have power and Wi-Fi; wattline devices show ID tells of one", "%s", text)
}

func judgeOutbox(r *Report, about string, b outboxView, setAside []string, damaged string) {
	used := 0.0
	if b.Limit > 0 {
		used = float64(b.File) / float64(b.Limit)
	}
	text := fmt.Sprintf("%d readings wait, %.0f %% of the room", b.Readings, 100*used)
	const cure = "see that the cloud answers and that InfluxDB takes data; at 100 % the oldest readings are dropped"
	switch {
	case used >= 0.9:
		r.add(Fail, about, "outbox", cure, "%s", text)
	case used >= 0.5:
		r.add(Warn, about, "outbox", cure, "%s", text)
	default:
		r.add(OK, about, "outbox", "", "%s", text)
	}
	if b.Unclocked > 0 {
		r.add(Warn, about, "clock", "give the box a time server", "%d readings wait until the clock is set", b.Unclocked)
	}
	if b.Dropped > 0 {
		r.add(Warn, about, "dropped", "the ledger says which; more room: outbox.limit_bytes", "%d readings were dropped for want of room", b.Dropped)
	}
	if b.Refused > 0 {
		r.add(Fail, about, "disk", "look at the disk of the box: full, or worn out", "%d readings could not be written to disk", b.Refused)
	}
	if len(setAside) > 0 {
		r.add(Warn, about, "set aside", "the log of wattline-cloud says why they get no receipt", "%d batches get no receipt while others do", len(setAside))
	}
	if damaged != "" {
		r.add(Fail, about, "outbox file", "keep the file, look at the disk of the box; what could be read was taken over", "a damaged file was moved aside: %s", damaged)
	}
}

// versions tells when not all run the same.
func (o Options) versions(r *Report, gateways []gatewayView) {
	by := map[string][]string{}
	for _, g := range gateways {
		if g.Status != nil && g.Status.Version != "" {
			by[g.Status.Version] = append(by[g.Status.Version], g.ID)
		}
	}
	if len(by) < 2 {
		return
	}
	var parts []string
	for version, ids := range by {
		parts = append(parts, fmt.Sprintf("%s on %d", version, len(ids)))
	}
	slices.Sort(parts)
	r.add(Warn, "site", "versions", "install the same version everywhere", "the gateways run different versions: %s", strings.Join(parts, ", "))
}
