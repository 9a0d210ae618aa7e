package inventory

import "fmt"

// Set takes a value for one field of the site, named as in YAML, from its text;
// "" means none. An error says what is wrong with the text, and nothing was set.
func (s *Site) Set(field, text string) error { return set(s, siteFields, field, text) }

// Set is as that of [Site].
func (g *Gateway) Set(field, text string) error { return set(g, gatewayFields, field, text) }

// Set is as that of [Site].
func (p *Place) Set(field, text string) error { return set(p, placeFields, field, text) }

func set[T any](record *T, fields []field[T], name, text string) error {
	for _, f := range fields {
		if f.name == name {
			return f.set(record, text)
		}
	}
	return fmt.Errorf("no field %.40q", name)
}
