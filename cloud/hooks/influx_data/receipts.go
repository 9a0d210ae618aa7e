package influxdata

import (
	"encoding/json"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

// entry is the message's line in the ledger.
func (m *message) entry() contract.Entry {
	e := contract.Entry{
		Source: m.topic.Source, ID: m.envelope.ID, Digest: m.digest, Readings: m.records, From: m.from, To: m.to,
		Quarantined: m.fate == quarantined, Expired: m.fate == expired,
	}
	if id, err := contract.ParseBatchID(m.envelope.ID); err == nil && m.envelope.Batch != nil {
		head := m.envelope.Batch
		e.Batch, e.Readings, e.Refused, e.From, e.To = &id, head.Readings, head.Refused, head.From, head.To
		e.Previous, e.Replaces, e.Estimated = head.Previous, head.Replaces, head.Estimated
	}
	return e
}

// receipts gives one answer per response topic.
func receipts(messages []*message) map[string][]byte {
	type receipt struct {
		ID     string          `json:"id"`
		Digest contract.Digest `json:"digest"`
	}
	type lists struct {
		Stored      []receipt `json:"stored,omitempty"`
		Quarantined []receipt `json:"quarantined,omitempty"`
		Expired     []receipt `json:"expired,omitempty"`
	}
	byTopic := make(map[string]*lists)
	for _, m := range messages {
		topic := m.envelope.ResponseTopic
		if topic == "" || m.envelope.ID == "" || m.fate == unsaid {
			continue
		}
		l := byTopic[topic]
		if l == nil {
			l = &lists{}
			byTopic[topic] = l
		}
		list := &l.Stored
		switch m.fate {
		case quarantined:
			list = &l.Quarantined
		case expired:
			list = &l.Expired
		default:
		}
		*list = append(*list, receipt{m.envelope.ID, m.digest})
	}
	answers := make(map[string][]byte, len(byTopic))
	for topic, l := range byTopic {
		data, err := json.Marshal(l)
		if err != nil {
			continue // strings only: never fails
		}
		if answers[topic], err = (bus.Envelope{Data: data}).Encode(); err != nil {
			delete(answers, topic)
		}
	}
	return answers
}
