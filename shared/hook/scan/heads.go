package scan

import "github.com/wattline/wattline/shared/senml"

// MaxHeads is how many names and units are remembered in one of the two
// generations: those of ten thousand plugs, of which all are heard in turn. A head
// takes some 300 bytes, with its key.
const MaxHeads = 65_536

const maxHeadKey = 320 // bytes of name and unit

// heads are what names and units have become. When young is full it becomes old
// and what is still in use moves back: bounded, and a stranger who sends a new
// name each time cannot make it useless.
type heads[H any] struct {
	learn      func(senml.Record) (H, bool)
	young, old map[string]*H
	key        []byte
}

// of finds that of a name, which comes in two parts, and a unit; nil where there
// is none.
func (h *heads[H]) of(base, name, unit []byte) *H {
	if len(base)+len(name)+len(unit) >= maxHeadKey {
		return nil
	}
	h.key = append(append(append(append(h.key[:0], base...), name...), 0), unit...)
	if head, ok := h.young[string(h.key)]; ok {
		return head
	}
	head, ok := h.old[string(h.key)]
	if !ok {
		if head = h.new(len(base)+len(name), unit); head == nil {
			return nil
		}
	}
	if len(h.young) >= MaxHeads {
		h.old, h.young = h.young, make(map[string]*H)
	}
	h.young[string(h.key)] = head
	return head
}

// new learns of the name that the key begins with.
func (h *heads[H]) new(name int, unit []byte) *H {
	r := senml.Record{Name: string(h.key[:name]), Unit: string(unit), Absolute: true, Kind: senml.Number}
	if senml.CheckName(r.Name) != nil {
		return nil
	}
	head, ok := h.learn(r)
	if !ok {
		return nil
	}
	return &head
}
