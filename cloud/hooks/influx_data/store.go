package influxdata

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wattline/wattline/cloud/influx/line"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
)

// Store is where points go. An error whose Refused() is true says that the
// lines themselves will never be taken, BeyondRetention() that they are too old
// to be kept; any other error means "not now".
type Store interface {
	Write(ctx context.Context, database string, lines []byte) error
}

// Ledger takes entries for what is stored.
type Ledger interface {
	Enter(ctx context.Context, entries []contract.Entry) error
}

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
	text, err := bus.Inflate(m.payload)
	if err != nil {
		return false
	}
	var q *quick
	h.mu.Lock()
	if n := len(h.idle); n > 0 {
		q, h.idle = h.idle[n-1], h.idle[:n-1]
	}
	h.mu.Unlock()
	if q == nil {
		q = newQuick()
	}
	ok := q.read(text, h.options.Now(), m)
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
	m.lines, err = Points(make([]byte, 0, 96*len(records)), records)
	return err
}

// store writes the messages, then the ledger. It returns only when that is
// done, or ctx has ended; what of it failed for good is marked unsaid.
func (h *Hook) store(ctx context.Context, messages []*message) error {
	groups := byDatabase(messages)
	for _, database := range slices.Sorted(maps.Keys(groups)) {
		if err := h.writeGroup(ctx, database, groups[database]); err != nil {
			return err
		}
	}
	if err := h.quarantine(ctx, messages); err != nil {
		return err
	}
	toEnter := make([]*message, 0, len(messages))
	for _, m := range messages {
		if m.envelope.ResponseTopic != "" && m.envelope.ID != "" && m.fate != unsaid {
			toEnter = append(toEnter, m)
		}
	}
	return h.enter(ctx, toEnter)
}

// enter writes the ledger; when it refuses entries, one by one, so that one
// does no harm to the others.
func (h *Hook) enter(ctx context.Context, messages []*message) error {
	if len(messages) == 0 {
		return nil
	}
	entries := make([]contract.Entry, len(messages))
	for i, m := range messages {
		entries[i] = m.entry()
	}
	err := h.untilDone(ctx, "ledger", func(ctx context.Context) error { return h.options.Ledger.Enter(ctx, entries) })
	switch {
	case err == nil || ctx.Err() != nil || !refused(err):
		return err
	case len(messages) > 1:
		for _, m := range messages {
			if err := h.enter(ctx, []*message{m}); err != nil {
				return err
			}
		}
	default:
		h.unsaid(ctx, messages[0], "entry refused: its source keeps the batch", err)
	}
	return nil
}

// unsaid gives a message up: its source hears nothing, and keeps it.
func (h *Hook) unsaid(ctx context.Context, m *message, what string, err error) {
	m.fate = unsaid
	h.options.Unsaid.Inc()
	h.log.ErrorContext(ctx, what, slog.String("source", m.topic.Source), slog.String("batch", m.envelope.ID), slog.Any("err", err)) //nolint:sloglint // one of three constants
}

func byDatabase(messages []*message) map[string][]*message {
	groups := make(map[string][]*message)
	for _, m := range messages {
		if m.fate == stored && len(m.lines) > 0 {
			groups[m.database] = append(groups[m.database], m)
		}
	}
	return groups
}

// writeGroup writes the lines of many messages at once; when their content is
// refused, one by one, to find the ones to blame. What was stored of them
// before is stored again, the same.
func (h *Hook) writeGroup(ctx context.Context, database string, group []*message) error {
	var lines []byte
	if len(group) == 1 {
		lines = group[0].lines
	} else {
		n := 0
		for _, m := range group {
			n += len(m.lines)
		}
		lines = make([]byte, 0, n)
		for _, m := range group {
			lines = append(lines, m.lines...)
		}
	}
	for _, target := range append([]string{database}, h.options.Copies[database]...) {
		err := h.untilDone(ctx, "influxdb", func(ctx context.Context) error { return h.options.Store.Write(ctx, target, lines) })
		if err == nil {
			continue
		}
		if ctx.Err() != nil || !refused(err) {
			return err
		}
		if len(group) > 1 {
			for _, m := range group {
				if err := h.writeGroup(ctx, database, []*message{m}); err != nil {
					return err
				}
			}
			return nil
		}
		group[0].fate, group[0].reason = quarantined, err.Error()
		if beyondRetention(err) {
			group[0].fate = expired
		}
		return nil
	}
	for _, m := range group {
		h.options.Points.Add(float64(m.records))
	}
	return nil
}

func refused(err error) bool {
	r, ok := errors.AsType[interface {
		error
		Refused() bool
	}](err)
	return ok && r.Refused()
}

func beyondRetention(err error) bool {
	r, ok := errors.AsType[interface {
		error
		BeyondRetention() bool
	}](err)
	return ok && r.BeyondRetention()
}

// untilDone repeats what is refused for the moment, until it is done, refused
// for good, or ctx ends. Meanwhile the queue fills and the sources keep their
// readings: that is the back pressure.
func (h *Hook) untilDone(ctx context.Context, what string, try func(context.Context) error) error {
	for wait := retryLeast; ; wait = min(2*wait, retryMost) {
		err := try(ctx)
		if err == nil || refused(err) {
			h.answering(ctx, what, nil)
			return err
		}
		h.options.NotNow.Inc()
		h.answering(ctx, what, err)
		pause := wait
		if r, ok := errors.AsType[interface {
			error
			RetryAfter() time.Duration
		}](err); ok {
			pause = min(max(pause, r.RetryAfter()), 30*time.Second)
		}
		if err := h.options.Pause(ctx, pause); err != nil {
			return err
		}
	}
}

// quarantinePiece is how much of a payload one point carries, before base64.
const quarantinePiece = 48 << 10

// quarantine writes refused messages, whole, with the reason.
func (h *Hook) quarantine(ctx context.Context, messages []*message) error {
	for _, m := range messages {
		if m.fate != quarantined {
			continue
		}
		lines := h.quarantineLines(m, h.tick())
		err := h.untilDone(ctx, "quarantine", func(ctx context.Context) error { return h.options.Store.Write(ctx, SystemDatabase, lines) })
		switch {
		case err == nil:
			h.options.Quarantined.Inc()
			h.log.WarnContext(ctx, "batch quarantined", slog.String("source", m.topic.Source), slog.String("batch", m.envelope.ID), slog.String("err", m.reason))
		case ctx.Err() != nil || !refused(err):
			return err
		default:
			h.unsaid(ctx, m, "quarantine refused: its source keeps the batch", err)
		}
	}
	return nil
}

// quarantineLines are the points of a refused message, one for each piece. Their
// identity is the run of this hook, the source, the piece and a time that no
// other refusal of this run has. The digest is a field: as a tag it would make
// series without bound.
func (h *Hook) quarantineLines(m *message, at device.Micros) (lines []byte) {
	digest := m.digest.String()
	pieces := slices.Collect(slices.Chunk(m.payload, quarantinePiece))
	for i, piece := range pieces {
		lines = line.Append(lines, "quarantine",
			[]line.Tag{{Key: "instance", Value: h.instance}, {Key: "piece", Value: strconv.Itoa(i)}, {Key: "source", Value: m.topic.Source}},
			[]line.Field{
				line.String("digest", digest), line.String("topic", m.on), line.String("batch", m.envelope.ID), line.String("reason", clip(m.reason)),
				line.Int("pieces", int64(len(pieces))), line.Int("bytes", int64(len(m.payload))), line.String("payload", base64.StdEncoding.EncodeToString(piece)),
			}, int64(at))
	}
	return lines
}

// tick is max(wall clock, last + 1 us).
func (h *Hook) tick() device.Micros {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = max(h.options.Now(), h.last+1)
	return h.last
}

func clip(s string) string {
	const most = 2000
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "?")
}

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
