package influxdata

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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
)

// message is one message of a source on its way into the store.
type message struct {
	topic    bus.Data
	payload  []byte
	envelope bus.Envelope
	database string
	records  int
	from, to device.Micros
	lines    []byte
	fate     fate
	reason   string // why it is quarantined
}

// read takes a message apart. An error means that its envelope can't be read;
// records that are refused make a message for the quarantine.
func (h *Hook) read(m bus.Message) (*message, error) {
	topic, err := bus.ParseData(m.Topic)
	if err != nil {
		return nil, err
	}
	msg := &message{topic: topic, payload: m.Payload}
	if msg.envelope, err = bus.Decode(m.Payload); err != nil {
		return msg, err
	}
	if topic.Batch != "" && topic.Batch != msg.envelope.ID {
		return msg, fmt.Errorf("batch %.80q of the topic is %.80q in the envelope", topic.Batch, msg.envelope.ID)
	}
	if err := h.readRecords(msg); err != nil {
		msg.fate, msg.reason, msg.lines = quarantined, err.Error(), nil
	}
	return msg, nil
}

func (h *Hook) readRecords(m *message) (err error) {
	if m.database, err = Database(m.topic.Database); err != nil {
		return err
	}
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

// store writes the messages, then the ledger, then gives the receipts to send.
// It returns only when all of that is done, or ctx has ended.
func (h *Hook) store(ctx context.Context, messages []*message) error {
	for database, group := range byDatabase(messages) {
		if err := h.writeGroup(ctx, database, group); err != nil {
			return err
		}
	}
	if err := h.quarantine(ctx, messages); err != nil {
		return err
	}
	entries := make([]contract.Entry, 0, len(messages))
	for _, m := range messages {
		if m.envelope.ResponseTopic != "" && m.envelope.ID != "" {
			entries = append(entries, m.entry())
		}
	}
	if len(entries) == 0 {
		return nil
	}
	return h.untilDone(ctx, "ledger", func(ctx context.Context) error { return h.options.Ledger.Enter(ctx, entries) })
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
	h.options.Points.Add(float64(line.Count(lines)))
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
		h.options.Quarantined.Inc()
		h.log.WarnContext(ctx, "batch quarantined", slog.String("source", m.topic.Source), slog.String("batch", m.envelope.ID), slog.String("err", m.reason))
		lines := quarantineLines(m, int64(h.options.Now()))
		err := h.untilDone(ctx, "quarantine", func(ctx context.Context) error { return h.options.Store.Write(ctx, SystemDatabase, lines) })
		if err != nil {
			return err
		}
	}
	return nil
}

func quarantineLines(m *message, now int64) (lines []byte) {
	digest := contract.DigestOf(m.payload).String()
	pieces := slices.Collect(slices.Chunk(m.payload, quarantinePiece))
	for i, piece := range pieces {
		lines = line.Append(lines, "quarantine",
			[]line.Tag{{Key: "digest", Value: digest}, {Key: "piece", Value: fmt.Sprint(i)}, {Key: "source", Value: m.topic.Source}},
			[]line.Field{
				line.String("topic", m.topic.String()), line.String("batch", m.envelope.ID), line.String("reason", clip(m.reason)),
				line.Int("pieces", int64(len(pieces))), line.String("payload", base64.StdEncoding.EncodeToString(piece)),
			}, now)
	}
	return lines
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
		Source: m.topic.Source, ID: m.envelope.ID, Digest: contract.DigestOf(m.payload), Readings: m.records, From: m.from, To: m.to,
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
		if topic == "" || m.envelope.ID == "" {
			continue
		}
		l := byTopic[topic]
		if l == nil {
			l = &lists{}
			byTopic[topic] = l
		}
		list := map[fate]*[]receipt{stored: &l.Stored, quarantined: &l.Quarantined, expired: &l.Expired}[m.fate]
		*list = append(*list, receipt{m.envelope.ID, contract.DigestOf(m.payload)})
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
