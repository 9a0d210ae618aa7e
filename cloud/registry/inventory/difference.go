package inventory

import (
	"fmt"
	"slices"
	"strings"
)

// Difference is how what would be differs from what is, in JSON an answer to
// people and programs.
type Difference struct {
	Added   []Change `json:"added"`
	Changed []Change `json:"changed"`
	Removed []Change `json:"removed"`
	// Counts are those of all changes, More those that [Difference.Limit] has left
	// out of the lists.
	Counts    Counts `json:"counts"`
	More      int    `json:"more,omitempty"`
	Unchanged int    `json:"unchanged"`
	// Notes are what was left out of the file, and why.
	Notes []string `json:"notes,omitempty"`
}

// Counts are how many records are added, changed and removed.
type Counts struct {
	Added   int `json:"added"`
	Changed int `json:"changed"`
	Removed int `json:"removed"`
}

// Change is what becomes of one record.
type Change struct {
	Kind string `json:"kind"` // site, gateway or place
	ID   string `json:"id,omitempty"`
	// Fields are those that differ; of a record that goes none are listed.
	Fields []FieldChange `json:"fields,omitempty"`
}

// FieldChange is what becomes of one value; "" is none.
type FieldChange struct {
	Field string `json:"field"`
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`
}

// IsEmpty reports whether the import would change nothing.
func (d *Difference) IsEmpty() bool {
	return d.Counts == Counts{}
}

// Limit is d with at most n changes listed, the removed ones first because they
// cannot be undone; the others are counted in More.
func (d *Difference) Limit(n int) Difference {
	short := *d
	for _, list := range []*[]Change{&short.Removed, &short.Changed, &short.Added} {
		keep := min(n, len(*list))
		short.More += len(*list) - keep
		*list, n = (*list)[:keep], n-keep
	}
	keep := min(len(short.Notes), 100)
	short.Notes = short.Notes[:keep]
	return short
}

// String is the difference for people, a line for each value.
func (d *Difference) String() string {
	var b strings.Builder
	for _, c := range d.Added {
		fmt.Fprintf(&b, "+ %s\n", c.name())
		c.write(&b)
	}
	for _, c := range d.Changed {
		fmt.Fprintf(&b, "~ %s\n", c.name())
		c.write(&b)
	}
	for _, c := range d.Removed {
		fmt.Fprintf(&b, "- %s\n", c.name())
	}
	for _, note := range d.Notes {
		fmt.Fprintf(&b, "! %s\n", note)
	}
	if d.More > 0 {
		fmt.Fprintf(&b, "and %d more\n", d.More)
	}
	fmt.Fprintf(&b, "%d added, %d changed, %d removed, %d unchanged\n", d.Counts.Added, d.Counts.Changed, d.Counts.Removed, d.Unchanged)
	return b.String()
}

func (c Change) name() string { return strings.TrimSpace(c.Kind + " " + c.ID) }

func (c Change) write(b *strings.Builder) {
	for _, f := range c.Fields {
		switch {
		case f.From == "":
			fmt.Fprintf(b, "    %s: %s\n", f.Field, f.To)
		case f.To == "":
			fmt.Fprintf(b, "    %s: %s -> (none)\n", f.Field, f.From)
		default:
			fmt.Fprintf(b, "    %s: %s -> %s\n", f.Field, f.From, f.To)
		}
	}
}

// find compares sorted records.
func (d *Difference) find(now, then Records) {
	d.Added, d.Changed, d.Removed = []Change{}, []Change{}, []Change{}
	var before, after []Site
	if now.Site != nil {
		before = []Site{*now.Site}
	}
	if then.Site != nil {
		after = []Site{*then.Site}
	}
	compare(d, "site", before, after, siteFields, func(*Site) string { return "" })
	compare(d, "gateway", now.Gateways, then.Gateways, gatewayFields, func(g *Gateway) string { return g.ID })
	compare(d, "place", now.Places, then.Places, placeFields, func(p *Place) string { return p.Device.String() })
	d.Counts = Counts{len(d.Added), len(d.Changed), len(d.Removed)}
}

func compare[T comparable](d *Difference, kind string, now, then []T, fields []field[T], id func(*T) string) {
	before := make(map[string]*T, len(now))
	for i := range now {
		before[id(&now[i])] = &now[i]
	}
	stays := make(map[string]bool, len(then))
	for i := range then {
		key := id(&then[i])
		stays[key] = true
		was, known := before[key]
		switch {
		case !known:
			d.Added = append(d.Added, Change{Kind: kind, ID: key, Fields: differing(nil, &then[i], fields)})
		case *was == then[i]:
			d.Unchanged++
		default:
			d.Changed = append(d.Changed, Change{Kind: kind, ID: key, Fields: differing(was, &then[i], fields)})
		}
	}
	for i := range now {
		if key := id(&now[i]); !stays[key] {
			d.Removed = append(d.Removed, Change{Kind: kind, ID: key})
		}
	}
}

// differing lists the values of is that was, nil for a new record, has not.
func differing[T any](was, is *T, fields []field[T]) []FieldChange {
	changes := make([]FieldChange, 0, len(fields))
	for _, f := range fields {
		from, to := "", f.get(is)
		if was != nil {
			from = f.get(was)
		}
		if from != to {
			changes = append(changes, FieldChange{Field: f.name, From: from, To: to})
		}
	}
	return slices.Clip(changes)
}
