package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/wattline/wattline/cloud/registry/inventory"
	"github.com/wattline/wattline/shared/contract"
)

// maxShown bounds the changes that an answer lists.
const maxShown = 1000

// records are the registry as an inventory has it.
func (s *state) records() inventory.Records {
	var r inventory.Records
	if s.site != nil {
		site := toSite(s.site)
		r.Site = &site
	}
	for _, g := range s.gateways {
		r.Gateways = append(r.Gateways, toGateway(g))
	}
	r.Places = make([]inventory.Place, 0, len(s.places))
	for _, full := range s.sorted {
		r.Places = append(r.Places, toPlace(s.places[full]))
	}
	return r
}

func exportInventory(s *Store, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	s.mu.RLock()
	records, revision := s.state.records(), s.state.revision
	s.mu.RUnlock()
	text, p := inventory.Format(r.Filter["format"], records)
	if p != nil {
		return contract.RegistryAnswer{}, p
	}
	return content(string(text), revision)
}

func importInventory(s *Store, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	var none contract.RegistryAnswer
	var want struct {
		Format string `json:"format"`
		Text   string `json:"text"`
		// Remove takes away what the file does not name.
		Remove bool `json:"remove"`
	}
	if err := json.Unmarshal(r.Content, &want); err != nil {
		return none, problem(contract.Invalid, `the content must be {"format": "csv, yaml or etcd", "text": "the file"}`)
	}
	if err := unchanged(r, "the inventory", s.state.revision); err != nil {
		return none, err
	}
	file, p := inventory.Parse(want.Format, []byte(want.Text))
	if file == nil {
		return none, p
	}
	plan, p := inventory.Make(s.state.records(), file, want.Remove)
	if p != nil {
		return none, p
	}
	d := s.state.draft(r)
	d.adopt(plan)
	if err := s.finish(d); err != nil {
		return none, err
	}
	return content(plan.Difference.Limit(maxShown), s.state.revision)
}

// adopt makes the draft what a plan says. Records that stay as they are keep
// their revision.
func (d *draft) adopt(plan *inventory.Plan) {
	before := len(d.entries)
	if plan.Records.Site != nil {
		d.putSite(fromSite(*plan.Records.Site))
	}
	stays := make(map[string]bool, len(plan.Records.Gateways)+len(plan.Records.Places))
	for _, g := range plan.Records.Gateways {
		stays["gateway "+g.ID] = true
		d.putGateway(fromGateway(g, d.state.gateways[g.ID]))
	}
	for i := range plan.Records.Places {
		p := fromPlace(plan.Records.Places[i])
		stays["place "+p.Device.String()] = true
		what := "change place"
		if d.state.places[d.full(p.Device)] == nil {
			what = "create place"
		}
		d.putPlace(p, what)
	}
	for _, full := range d.state.sorted {
		if p := d.state.places[full]; !stays["place "+p.Device.String()] {
			d.places[full] = nil
			d.note("delete place", p.Device.String(), fmt.Sprintf(kept, p.Device))
		}
	}
	for id, g := range d.state.gateways {
		if !stays["gateway "+id] {
			d.gateways[id] = nil
			d.retired = append(d.retired, id)
			d.note("delete gateway", id, fmt.Sprintf(keptGateway, id, g.Floor))
		}
	}
	if n := len(d.entries) - before; n > 0 {
		d.note("import inventory", "", fmt.Sprintf("%d records added, %d changed, %d removed", len(plan.Added), len(plan.Changed), len(plan.Removed)))
	}
}

// first imports the inventory of the configuration when there is nothing yet.
// Once there is something the file is not read any more, and a file that is
// another one than that which was imported is worth a line.
func (s *Store) first(filename string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	text, err := os.ReadFile(filename)
	used := len(s.state.gateways)+len(s.state.places) > 0
	hash := ""
	if err == nil {
		sum := sha256.Sum256(text)
		hash = hex.EncodeToString(sum[:])
	}
	switch {
	case used:
		if err == nil && hash != s.imported {
			s.remind(filename)
		}
		return nil
	case s.state.site != nil && errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("registry: there is no site yet, and no first inventory either (registry.inventory): make a site with wattline-cloud init, or write the inventory: %w", err)
	case err != nil:
		return fmt.Errorf("registry: read the first inventory: %w", err)
	}
	plan, err := s.plan(filename, text)
	if err != nil {
		return err
	}
	d := s.state.draft(contract.RegistryRequest{Who: "wattline-cloud", Reason: "the first inventory, " + filename})
	d.adopt(plan)
	d.meta[string(keyImported)] = []byte(hash)
	if err := s.finish(d); err != nil {
		return fmt.Errorf("registry: import %s: %w", filename, err)
	}
	s.imported = hash
	s.log.Info("first inventory imported", slog.String("source", filename))
	return nil
}

// remind says that the file of the first inventory does not count any more.
func (s *Store) remind(filename string) {
	s.log.Warn("the inventory file is not read any more, the registry has its own places and gateways: import it over REST or with wattline if it is meant to change them",
		slog.String("source", filename))
}

// plan reads the first inventory.
func (s *Store) plan(filename string, text []byte) (*inventory.Plan, error) {
	if s.state.site == nil { // the file must have a whole site, and says all that it lacks
		if _, err := inventory.Load(filename); err != nil {
			return nil, fmt.Errorf("registry: %w", err)
		}
	}
	file, p := inventory.Parse(inventory.YAML, text)
	if file != nil {
		var plan *inventory.Plan
		if plan, p = inventory.Make(s.state.records(), file, false); p == nil {
			return plan, nil
		}
	}
	return nil, fmt.Errorf("registry: %s: %s", filename, describeProblem(p))
}
