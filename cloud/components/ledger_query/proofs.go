package ledgerquery

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
)

// partLimit is how large a part of an answer gets, in bytes: below the 1 MiB of
// the bus.
const partLimit = 900 << 10

// prove answers with the ledger's proofs.
func (c *Component) prove(ctx context.Context, r hook.Request, w Answer) error {
	p := readParameters(r.Data, "gateway", "from", "to")
	from, to := p.span()
	if err := p.err(); err != nil {
		return err
	}
	var proofs []json.RawMessage
	if err := c.ledger(ctx, p.text("gateway"), from, to, &proofs); err != nil {
		return err
	}
	return sendArray(ctx, w, proofs)
}

// ledger asks the ledger and reads its proofs into the slice that proofs points
// to.
func (c *Component) ledger(ctx context.Context, gateway string, from, to device.Micros, proofs any) error {
	raw, err := c.options.Prover.Prove(ctx, gateway, from, to)
	switch {
	case databaseMissing(err):
		err = nil // no proofs
	case err == nil:
		if err = json.Unmarshal(raw, proofs); err != nil {
			err = fmt.Errorf("read the ledger's proofs: %w", err)
		}
	}
	return c.asked(ctx, "the ledger", err)
}

// sendArray answers with an array, in parts where it is long.
func sendArray(ctx context.Context, w Answer, elements []json.RawMessage) error {
	part := []byte{'['}
	for _, e := range elements {
		if len(e) > partLimit {
			e = shorten(e)
		}
		if len(part) > 1 && len(part)+len(e) > partLimit {
			if err := w.Part(ctx, append(part, ']')); err != nil {
				return err
			}
			part = []byte{'['} // what was handed over is kept
		}
		if len(part) > 1 {
			part = append(part, ',')
		}
		part = append(part, e...)
	}
	return w.Part(ctx, append(part, ']'))
}

// shorten keeps the newest epochs of a proof that has too many for a part, and
// says how many were left off; all else, the sums included, stays.
func shorten(proof json.RawMessage) json.RawMessage {
	var members map[string]json.RawMessage
	var epochs []json.RawMessage
	if json.Unmarshal(proof, &members) != nil || json.Unmarshal(members["epochs"], &epochs) != nil {
		return json.RawMessage(`null`)
	}
	size := len(proof) - len(members["epochs"])
	first := len(epochs)
	for first > 0 && size+len(epochs[first-1])+1 < partLimit-64 {
		first--
		size += len(epochs[first]) + 1
	}
	members["epochs"], _ = json.Marshal(epochs[first:]) // valid JSON already
	members["epochs_left_off"], _ = json.Marshal(first) // a number
	short, err := json.Marshal(members)
	if err != nil || len(short) > partLimit {
		return json.RawMessage(`null`)
	}
	return short
}
