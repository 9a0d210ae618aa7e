package influxdata

import (
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hook"
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
	byTopic := make(map[string]*hook.Receipts)
	for _, m := range messages {
		topic := m.envelope.ResponseTopic
		if topic == "" || m.envelope.ID == "" || m.fate == unsaid {
			continue
		}
		l := byTopic[topic]
		if l == nil {
			l = &hook.Receipts{}
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
		*list = append(*list, hook.Receipt{ID: m.envelope.ID, Digest: m.digest})
	}
	answers := make(map[string][]byte, len(byTopic))
	for topic, l := range byTopic {
		text, err := l.Encode()
		if err != nil {
			continue // strings only: never fails
		}
		answers[topic] = text
	}
	return answers
}
