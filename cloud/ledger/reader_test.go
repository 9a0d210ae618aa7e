package ledger_test

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/shared/device"
)

// underWay is an InfluxDB that shows parts of the write that is under way, as it
// does: series by series, field by field.
type underWay struct {
	rows  []shownRow
	stage int
}

// shownRow is an entry of sequence n of edge-a or edge-b, which shows from a
// stage on, and whose sequence shows from another.
type shownRow struct {
	at          device.Micros
	gateway     string
	n           int
	shows, full int
}

func (u *underWay) Write(context.Context, string, []byte) error { return nil }

var bounds = regexp.MustCompile(`time > (\d+)u AND time <= (\d+)u`)

func (u *underWay) Query(_ context.Context, _, q string, each func(string, map[string]string, []string, [][]any) error) error {
	number := func(n int64) json.Number { return json.Number(strconv.FormatInt(n, 10)) }
	if strings.Contains(q, `"head"`) {
		return nil
	}
	if strings.Contains(q, "last(") {
		newest := device.Micros(0)
		for _, r := range u.rows {
			if r.shows <= u.stage {
				newest = max(newest, r.at)
			}
		}
		return each("batch", map[string]string{"instance": "i"}, []string{"time", "last"}, [][]any{{number(int64(newest)), "x"}})
	}
	m := bounds.FindStringSubmatch(q)
	if m == nil {
		return fmt.Errorf("a question without bounds: %s", q)
	}
	from, _ := strconv.ParseInt(m[1], 10, 64)
	to, _ := strconv.ParseInt(m[2], 10, 64)
	var rows [][]any
	for _, r := range u.rows {
		if r.shows > u.stage || int64(r.at) <= from || int64(r.at) > to {
			continue
		}
		var sequence any
		if r.full <= u.stage {
			sequence = number(int64(r.n))
		}
		rows = append(rows, []any{number(int64(r.at)), r.gateway, "i", "0000000000000001", sequence, number(10)})
	}
	return each("batch", nil, []string{"time", "gateway", "instance", "epoch", "sequence", "readings"}, rows)
}

// Seen in a drain of three million readings: the ledger was asked while a write
// of 50 entries was half visible, and called them missing for ever.
//
// Seen to fail with a position at the newest entry: 2 are missing, and with rows
// that are taken whatever they lack: one has no number.
func TestAWriteThatIsHalfVisibleIsReadAgain(t *testing.T) {
	const first, second, third = 1_000_000_000, 1_000_001_000, 1_000_002_000
	u := &underWay{rows: []shownRow{
		{first, "edge-a", 1, 0, 0},
		{second, "edge-a", 2, 2, 2}, // not at all at first
		{second + 1, "edge-a", 3, 1, 2},
		{second + 2, "edge-b", 1, 1, 1},
		{third, "edge-a", 4, 3, 3},
	}}
	now := device.Micros(third)
	reader := ledger.NewReader(u)
	reader.Now = clock(&now)
	for stage, want := range []uint64{1, 1, 3, 4, 4} {
		u.stage = stage
		p := prove(t, reader, "edge-a")
		if p.Stored != want || p.Unnumbered != 0 || p.Readings != int(want)*10 {
			t.Errorf("stage %d: stored %d, readings %d, without a number %d; want %d", stage, p.Stored, p.Readings, p.Unnumbered, want)
		}
	}
	if p := prove(t, reader, "edge-b"); p.Stored != 1 || p.Unnumbered != 0 {
		t.Errorf("edge-b: %+v", p)
	}
}
