package influxdata

import (
	"errors"
	"fmt"
	"strings"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
)

// fate is what became of a message.
type fate uint8

const (
	stored fate = iota
	quarantined
	expired
	unsaid // neither stored nor quarantined, or not entered: nothing may be said of it
)

// message is one message of a source on its way into the store.
type message struct {
	topic    bus.Data
	on       string // the topic as it came
	payload  []byte
	digest   contract.Digest
	envelope bus.Envelope
	database string
	records  int
	from, to device.Micros
	lines    []byte
	fate     fate
	reason   string // why it is quarantined
	limited  bool   // unsaid, because its source is beyond a limit

	counted bool     // its topic ends in the id of a numbered batch
	shelf   *shelf   // where the series of its source are known
	fresh   []uint64 // its series that are not on it
}

// numbered tells a batch that counts, and that waits for its receipt.
func (m *message) numbered() bool {
	if m.envelope.Batch == nil || m.envelope.ResponseTopic == "" {
		return false
	}
	if m.topic.Batch != "" { // the same id
		return m.counted
	}
	_, err := contract.ParseBatchID(m.envelope.ID)
	return err == nil
}

// Bounds of what names a message: it goes into tags and answers.
const (
	maxTopic = 1024
	maxID    = 256
)

// read takes a message apart. An error means that its envelope can't be read;
// records that are refused make a message for the quarantine.
func (h *Hook) read(m bus.Message) (*message, error) {
	topic, err := parseTopic(m.Topic)
	if err != nil {
		return nil, err
	}
	msg := &message{topic: topic, on: m.Topic, payload: m.Payload}
	database, refused := Database(topic.Database)
	msg.database = database
	_, unnumbered := contract.ParseBatchID(topic.Batch)
	msg.counted = unnumbered == nil
	if msg.shelf = h.limits.shelf(msg); msg.shelf == nil {
		return msg, h.notNow(bySources)
	}
	if refused != nil || !h.readQuickly(msg) {
		if msg.envelope, err = bus.Decode(m.Payload); err != nil {
			return msg, err
		}
		if refused == nil {
			refused = h.readRecords(msg)
		}
		msg.envelope.Data = nil // as lines, or whole as payload, it is kept already
	}
	id := msg.envelope.ID
	if len(id) > maxID {
		msg.envelope.ID = ""
		return msg, fmt.Errorf("id of %d bytes, at most %d fit", len(id), maxID)
	}
	if topic.Batch != "" && topic.Batch != id {
		return msg, fmt.Errorf("batch %.80q of the topic is %.80q in the envelope", topic.Batch, id)
	}
	if refused != nil {
		msg.fate, msg.reason, msg.lines = quarantined, refused.Error(), nil
	}
	msg.digest = contract.DigestOf(m.Payload)
	return msg, nil
}

// parseTopic refuses topics that no tag, log or answer could name.
func parseTopic(topic string) (bus.Data, error) {
	odd := func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' }
	if len(topic) > maxTopic || strings.ContainsFunc(topic, odd) {
		return bus.Data{}, fmt.Errorf("topic %.80q of %d bytes: at most %d fit, and neither control characters nor bytes that are no UTF-8", topic, len(topic), maxTopic)
	}
	return bus.ParseData(topic)
}

// readQuickly reads a message of the usual form; false means that it has to be
// read the long way.
func (h *Hook) readQuickly(m *message) bool {
	var q *quick
	h.mu.Lock()
	if n := len(h.idle); n > 0 {
		q, h.idle = h.idle[n-1], h.idle[:n-1]
	}
	h.mu.Unlock()
	if q == nil {
		q = newQuick(h.limits)
	}
	ok := q.read(h.options.Now(), m)
	h.mu.Lock()
	h.idle = append(h.idle, q) // as many as ever read at once
	h.mu.Unlock()
	return ok
}

func (h *Hook) readRecords(m *message) error {
	if len(m.envelope.Data) == 0 {
		return errors.New("the envelope has no data")
	}
	records, err := senml.Decode(m.envelope.Data, bus.MaxRecords)
	if err != nil {
		return err
	}
	if err := checkTimes(records, h.options.Now()); err != nil {
		return err
	}
	m.records = len(records)
	for i, r := range records {
		if i == 0 {
			m.from, m.to = r.Time, r.Time
		}
		m.from, m.to = min(m.from, r.Time), max(m.to, r.Time)
	}
	if m.lines, err = Points(make([]byte, 0, 96*len(records)), records); err != nil {
		return err
	}
	return h.meet(m, records)
}

// meet notes the series that the source of a message has not had before.
func (h *Hook) meet(m *message, records []senml.Record) error {
	met := make(map[uint64]bool)
	for _, r := range records {
		series, err := seriesOf(r)
		if err != nil {
			return err
		}
		if met[series] {
			continue
		}
		met[series] = true
		if !h.limits.has(m.shelf, series) {
			m.fresh = append(m.fresh, series)
		}
	}
	return nil
}

func clip(s string) string {
	const most = 2000
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "?")
}
