package ledgerquery

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/wattline/wattline/cloud/influx/influxql"
	"github.com/wattline/wattline/cloud/influx/line"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
)

// maxPieces bounds what is read back: 64 MiB, more than the storing hook takes.
const maxPieces = 1366

// maxSame bounds how many refusals of one digest, or of one time, are looked at.
const maxSame = 1000

// replay hands a refused payload in again.
func (c *Component) replay(ctx context.Context, r hook.Request, w Answer, publish func(context.Context, bus.Message) error) error {
	p := readParameters(r.Data, "id", "source")
	switch id := p.text("id"); {
	case id == "":
		p.wrong("id", "required: the digest of what is to be replayed")
	case !isDigest(id):
		p.wrong("id", "%s is not a digest of 16 hex digits, as the list of the quarantine shows it", clip(id))
	}
	if err := p.err(); err != nil {
		return err
	}
	item, err := c.choose(ctx, p.text("id"), p.text("source"))
	if err != nil {
		return err
	}
	payload, err := c.payload(ctx, item)
	if err != nil {
		return err
	}
	if err := checkTopic(item.Topic); err != nil {
		return err
	}
	at := c.tick() // before the hook can refuse it again, which is later then
	if err := publish(ctx, bus.Message{Topic: item.Topic, Payload: payload}); err != nil {
		c.log.WarnContext(ctx, "replay not published", slog.String("source", item.Source), slog.String("batch", item.Batch), slog.Any("err", err))
		return &awayError{"the broker"}
	}
	c.replays.Inc()
	c.log.InfoContext(ctx, "batch replayed", slog.String("source", item.Source), slog.String("batch", item.Batch), slog.String("digest", item.Digest))
	if err := c.note(ctx, r.ID, &item.Refusal, at); err != nil {
		return fmt.Errorf("it was handed in again, which could not be noted: %w", err)
	}
	data, err := json.Marshal(item.Refusal)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Send(data, nil)
	return nil
}

// choose finds the newest refusal of a digest, and asks whose where there are
// several sources.
func (c *Component) choose(ctx context.Context, digest, source string) (refusal, error) {
	found, err := c.find(ctx, conditions(source, digest, 0, 0), maxSame)
	if err != nil {
		return refusal{}, err
	}
	if len(found) == 0 {
		of := ""
		if source != "" {
			of = " of " + clip(source)
		}
		return refusal{}, mistakes{"id: nothing" + of + " with the digest " + digest + " is in quarantine"}
	}
	var sources []string
	for _, f := range found {
		if !slices.Contains(sources, clip(f.Source)) {
			sources = append(sources, clip(f.Source))
		}
	}
	if len(sources) > 1 {
		return refusal{}, mistakes{"source: required, for " + strings.Join(sources[:min(len(sources), 10)], " and ") + " have sent this"}
	}
	return found[0], nil
}

// payload reads the pieces back, one by one so that a large one takes little
// more than its own size, and checks that they are what was refused.
func (c *Component) payload(ctx context.Context, item refusal) ([]byte, error) {
	if item.pieces < 1 || item.pieces > maxPieces {
		return nil, fmt.Errorf("what is in quarantine is damaged: %d pieces", item.pieces)
	}
	var payload []byte
	for i := range item.pieces {
		piece, found := "", false
		q := fmt.Sprintf(`SELECT "payload", "digest" FROM %q WHERE "instance" = %s AND "source" = %s AND "piece" = '%d' AND time = %du`,
			quarantined, influxql.String(item.instance), influxql.String(item.tag), i, int64(item.Time))
		err := c.query(ctx, q, func(r row) error {
			if r.text("digest") == item.Digest {
				piece, found = r.text("payload"), true
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, fmt.Errorf("what is in quarantine is damaged: piece %d of %d is missing", i+1, item.pieces)
		}
		if payload, err = base64.StdEncoding.AppendDecode(payload, []byte(piece)); err != nil {
			return nil, fmt.Errorf("what is in quarantine is damaged: piece %d of %d: %w", i+1, item.pieces, err)
		}
	}
	if got := contract.DigestOf(payload).String(); got != item.Digest {
		return nil, fmt.Errorf("what is in quarantine is damaged: its digest is %s", got)
	}
	return payload, nil
}

// checkTopic refuses to publish what the storing hook would not hear, or
// everybody would.
func checkTopic(topic string) error {
	data, err := bus.ParseData(topic)
	odd := func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' || r == '+' || r == '#' }
	if err != nil || data.Hook != dataHook || strings.ContainsFunc(topic, odd) {
		return fmt.Errorf("what is in quarantine came on the topic %s, on which nothing can be published", clip(topic))
	}
	return nil
}

// note writes down that an item was replayed.
func (c *Component) note(ctx context.Context, request string, item *Refusal, at device.Micros) error {
	lines := line.Append(nil, replayed, []line.Tag{{Key: "source", Value: item.Source}}, []line.Field{
		line.String("digest", item.Digest), line.String("topic", item.Topic), line.String("batch", item.Batch), line.String("request", request[:min(len(request), maxText)]),
	}, int64(at))
	if err := c.asked(ctx, "InfluxDB", c.options.Store.Write(ctx, database, lines)); err != nil {
		return err
	}
	item.Replayed = &at
	return nil
}
