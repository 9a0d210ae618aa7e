package api

import (
	"slices"
	"strings"
)

// followPredecessors widens the filter id, where the client asks for it, by the
// places that were there before under other ids: their readings are the older
// part of the same history. It comes before the check of floors, which holds for
// all of them.
func (s *Server) followPredecessors(q *query) {
	switch q.text("predecessors") {
	case "true":
	case "", "false":
		if q.values["predecessors"] != nil && q.text("predecessors") == "" {
			q.mistake("predecessors", "want true or false")
		}
		return
	default:
		q.mistake("predecessors", "want true or false")
		return
	}
	if q.values["id"] == nil {
		q.mistake("predecessors", "needs id: whose predecessors")
		return
	}
	ids := q.list("id")
	for i := 0; i < len(ids) && i < maxFollowed; i++ {
		id, err := parseID(ids[i])
		if err != nil {
			continue // influx_query says what is wrong with it
		}
		p, known := s.house.Place(id)
		if !known || p.Predecessor.IsZero() || slices.Contains(ids, p.Predecessor.String()) {
			continue
		}
		ids = append(ids, p.Predecessor.String())
	}
	q.values["id"] = []string{strings.Join(ids, ",")}
}

// maxFollowed bounds how many places are looked at for predecessors.
const maxFollowed = 1000
