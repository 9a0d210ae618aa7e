package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/wattline/wattline/cloud/registry/audit"
	"github.com/wattline/wattline/shared/contract"
)

const siteResource = "site"

// queries are the verbs that change nothing; all others are commands.
var queries = []string{"list", "get", "export"}

// verb does one thing of one resource.
type verb func(s *Store, r contract.RegistryRequest) (contract.RegistryAnswer, error)

var resources = map[string]map[string]verb{
	siteResource: {"get": getSite, "create": createSite, "change": changeSite},
	"places": {
		"list": listPlaces, "get": getPlace, "create": createPlace, "change": changePlace, "delete": deletePlace,
		"plug": putPlug, "unplug": takePlug,
	},
	"plugs":     {"list": listPlugs, "get": getPlug, "delete": forgetPlug},
	"gateways":  {"list": listGateways, "get": getGateway, "create": createGateway, "change": changeGateway, "delete": deleteGateway},
	"inventory": {"export": exportInventory, "import": importInventory},
}

// IsQuery tells a verb that changes nothing from a command.
func IsQuery(verb string) bool { return slices.Contains(queries, verb) }

// Answer does what is asked of a resource. What is wrong is in the answer's
// Problem, and then nothing was done.
func (s *Store) Answer(ctx context.Context, resource string, r contract.RegistryRequest) contract.RegistryAnswer {
	if room := s.rooms[resource]; room != nil {
		return room.Answer(ctx, r)
	}
	verbs, known := resources[resource]
	if !known {
		names := slices.AppendSeq(slices.Collect(maps.Keys(resources)), maps.Keys(s.rooms))
		slices.Sort(names)
		return refuse(contract.NotFound, "the registry has no %.40q; there are %s", resource, strings.Join(names, ", "))
	}
	do, known := verbs[r.Verb]
	if !known {
		return refuse(contract.Invalid, "%s have no %.40q; there are %s", resource, r.Verb, strings.Join(slices.Sorted(maps.Keys(verbs)), ", "))
	}
	if !IsQuery(r.Verb) {
		s.writing.Lock()
		defer s.writing.Unlock()
	}
	answer, err := do(s, r)
	if p, ok := errors.AsType[*contract.Problem](err); ok {
		s.noteRefusal(resource, r, p)
		return contract.RegistryAnswer{Problem: p}
	}
	if err != nil {
		return refuse(contract.NotNow, "%s of the registry, nothing was changed: %v", r.Verb, err)
	}
	return answer
}

// noteRefusal enters what others would not have done either: a clash with what
// is registered.
func (s *Store) noteRefusal(resource string, r contract.RegistryRequest, p *contract.Problem) {
	if p.Kind != contract.Conflict || r.DryRun || IsQuery(r.Verb) {
		return
	}
	_ = s.audit.Note(contract.Audited{ // the refusal counts, written down or not
		Who: r.Who, What: r.Verb + " " + strings.TrimSuffix(resource, "s"), Object: r.Key, Reason: r.Reason, From: r.From, Result: audit.Refused, Detail: p.Detail,
	})
}

func refuse(kind contract.ProblemKind, format string, args ...any) contract.RegistryAnswer {
	return contract.RegistryAnswer{Problem: problem(kind, format, args...)}
}

func problem(kind contract.ProblemKind, format string, args ...any) *contract.Problem {
	return &contract.Problem{Kind: kind, Detail: fmt.Sprintf(format, args...)}
}

// content is an answer with a value in it.
func content(value any, revision uint64) (contract.RegistryAnswer, error) {
	text, err := json.Marshal(value)
	return contract.RegistryAnswer{Content: text, Revision: revision}, err
}

// unchanged refuses a command of somebody who has seen another revision.
func unchanged(r contract.RegistryRequest, what string, revision uint64) error {
	if r.Revision == 0 || r.Revision == revision {
		return nil
	}
	return problem(contract.Changed, "%s has changed since you looked: it is at revision %d, you have %d; look again and repeat what still holds", what, revision, r.Revision)
}

// finish checks a draft and commits it, unless it is a dry run.
func (s *Store) finish(d *draft) error {
	if p := d.check(); p != nil {
		return p
	}
	if d.request.DryRun {
		return nil
	}
	return s.commit(d)
}

// ready refuses what needs a site as long as there is none.
func (s *Store) ready() error {
	if s.state.site == nil {
		return problem(contract.NotNow, "there is no site yet: make it with wattline-cloud init, or import an inventory in YAML that has one")
	}
	return nil
}

func getSite(s *Store, _ contract.RegistryRequest) (contract.RegistryAnswer, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.state.site == nil {
		return contract.RegistryAnswer{}, problem(contract.NotFound, "there is no site yet: make it with wattline-cloud init")
	}
	site := s.state.shownSite()
	return content(site, site.Revision)
}

func createSite(s *Store, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	if s.state.site != nil {
		return contract.RegistryAnswer{}, problem(contract.Conflict, "there is a site already: %s", s.state.site.Name)
	}
	return setSite(s, r)
}

func changeSite(s *Store, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	if err := s.ready(); err != nil {
		return contract.RegistryAnswer{}, err
	}
	if err := unchanged(r, "the site", s.state.site.Revision); err != nil {
		return contract.RegistryAnswer{}, err
	}
	return setSite(s, r)
}

func setSite(s *Store, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	var none contract.RegistryAnswer
	patch, p := object(r.Content)
	if p != nil {
		return none, p
	}
	var site contract.Site
	if s.state.site != nil {
		site = *s.state.site
	}
	record := toSite(&site)
	if record.TimeZone == "" {
		_ = record.Set("time_zone", "") // the default
	}
	if p := problemOf(merge(&record, patch, siteMembers, map[string]string{"revision": ""}), false); p != nil {
		return none, p
	}
	d := s.state.draft(r)
	d.putSite(fromSite(record))
	if err := s.finish(d); err != nil {
		return none, err
	}
	if r.DryRun {
		return content(d.theSite(), site.Revision)
	}
	return content(s.state.shownSite(), s.state.site.Revision)
}
