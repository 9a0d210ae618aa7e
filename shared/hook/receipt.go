package hook

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

// Receipt names a batch and the bytes that were taken.
type Receipt struct {
	ID     string          `json:"id"`
	Digest contract.Digest `json:"digest"`
}

// Receipts is what a storing hook tells a source: what of its batches is safe,
// so that the source may forget them.
type Receipts struct {
	Stored      []Receipt `json:"stored,omitempty"`
	Quarantined []Receipt `json:"quarantined,omitempty"`
	Expired     []Receipt `json:"expired,omitempty"`
}

// Encode gives the payload of the message.
func (r Receipts) Encode() ([]byte, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode receipts: %w", err)
	}
	return bus.Envelope{Data: data}.Encode()
}

// MayAnswer holds the rule that data is answered to its own source only: a
// stranger must not make a hook publish where he may not.
func MayAnswer(topic, source string) bool {
	return strings.HasPrefix(topic, "responses/"+source+"/") && bus.CheckTopic(topic) == nil
}
