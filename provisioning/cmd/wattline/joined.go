package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/wattline/wattline/provisioning/client"
)

// enrolments is how far the gateways are, by their ids. Where the server does not
// tell, nothing is known: who may not look is refused the join token anyway.
func (s *session) enrolments(ctx context.Context) (map[string]document, error) {
	docs, _, _, err := s.items(ctx, "/api/v1/enrolments", nil, 0)
	if _, refused := errors.AsType[*client.ProblemError](err); err != nil && !refused {
		return nil, err
	}
	by := make(map[string]document, len(docs))
	for _, d := range docs {
		by[d.text("gateway")] = d
	}
	return by, nil
}

// noteJoin says what a new join token does to a gateway that has something to
// lose; on stderr, for scripts read the other.
func (s *session) noteJoin(d document, id string) {
	id = cleanLine(id)
	if d.text("trust") == "trusted" {
		fmt.Fprintf(s.stderr, "Note: %s is trusted already. A box with this asks to be it, too, and waits to be approved.\n", id)
	}
	if d.text("asked.key") != "" {
		fmt.Fprintf(s.stderr, "Note: a box waits to be approved as %s. It is sent away now, and its join token is void.\n", id)
	}
	if until := d.text("join_expires"); until != "" {
		fmt.Fprintf(s.stderr, "Note: %s has a join token that no box has used (until %s). It becomes void now: an image made with it is of no use any more.\n", id, cleanLine(until))
	}
}
