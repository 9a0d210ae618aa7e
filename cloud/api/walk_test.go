package api // inside: the fast way and the slow way must say the same, and only the package has both

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/contract"
)

// walked gives what a part comes to, by both ways as walk chooses.
func walked(part string) (asJSON, asCSV string, err error) {
	j, c := &seriesStream{zone: time.UTC}, &csvStream{zone: time.UTC}
	var a, b bytes.Buffer
	if err := j.part(&a, json.RawMessage(part)); err != nil {
		return "", "", err
	}
	_ = j.end(&a)
	if err := c.part(&b, json.RawMessage(part)); err != nil {
		return "", "", err
	}
	return a.String(), b.String(), nil
}

const samplePart = `[{"measurement":"power","unit":"W","group":{"id":"sp_g3"},"points":[{"t":1790000000.123456,"v":12.5},{"t":-1.5,"v":null,"id":"a"}]},` +
	`{"measurement":"power","points":[]},{"measurement":"x,\"y\"","group":{"id":"\"points\":["},"points":[{"t":0,"v":-1.5,"id":""}]}]`

func TestBothWaysThroughAPartSayTheSame(t *testing.T) {
	fast, fastCSV, err := walked(samplePart)
	if err != nil {
		t.Fatal(err)
	}
	points := 0
	if ok, err := walkFast([]byte(samplePart), func(contract.Series) error { return nil }, func(rawPoint) { points++ }); !ok || err != nil || points != 3 {
		t.Errorf("the fast way: %v, %v, %d points", ok, err, points)
	}
	// A space where influx_query writes none leads the slow way, also in the middle.
	for _, slow := range []string{strings.ReplaceAll(samplePart, `{"t":`, `{ "t":`), strings.Replace(samplePart, `{"t":0`, `{"t": 0`, 1), strings.Replace(samplePart, `]},{"measurement":"x`, `]}, {"measurement":"x`, 1)} {
		if got, gotCSV, err := walked(slow); err != nil || got != fast || gotCSV != fastCSV {
			t.Errorf("%v\n%s\n%s\nwant\n%s\n%s", err, got, gotCSV, fast, fastCSV)
		}
	}
	const want = `{"series":[{"measurement":"power","unit":"W","group":{"id":"sp_g3"},"points":[{"time":"2026-09-21T14:13:20.123456Z","value":12.5},{"time":"1969-12-31T23:59:58.5Z","value":null,"id":"a"}]},` +
		`{"measurement":"power","points":[]},{"measurement":"x,\"y\"","group":{"id":"\"points\":["},"points":[{"time":"1970-01-01T00:00:00Z","value":-1.5}]}]}`
	if fast != want+"\n" {
		t.Errorf("got\n%s\nwant\n%s", fast, want)
	}
	if !strings.HasSuffix(fastCSV, "1970-01-01T00:00:00Z,\"x,\"\"y\"\"\",,\"\"\"points\"\":[\",,,,,-1.5\r\n") {
		t.Errorf("%q", fastCSV)
	}
}

func FuzzWalk(f *testing.F) {
	f.Add(samplePart)
	f.Add(`[]`)
	f.Add(`[{"points":[{"t":1,"v":1e5,"id":"\u0041"}],"unit":"W"}]`)
	f.Fuzz(func(t *testing.T, part string) {
		if !json.Valid([]byte(part)) {
			return // an envelope holds none
		}
		got, _, err := walked(part)
		if err != nil {
			return
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("%s becomes %s", part, got)
		}
		var slow []contract.Series
		if json.Unmarshal([]byte(part), &slow) != nil {
			return // a number beyond float64: it goes out as it came in
		}
		var fast struct {
			Series []struct{ Points []struct{ Time time.Time } }
		}
		if err := json.Unmarshal([]byte(got), &fast); err != nil {
			return // a year of five digits
		}
		want, have := 0, 0
		for _, s := range slow {
			want += len(s.Points)
		}
		for _, s := range fast.Series {
			have += len(s.Points)
		}
		if want != have {
			t.Errorf("%s has %d points, %s has %d", part, want, got, have)
		}
	})
}

func FuzzParseBody(f *testing.F) {
	f.Add([]byte(`{"payload":1,"subtopics":["a"]}`))
	f.Add([]byte(`{"on":true,"select":{"ids":["sp_g1"],"floor":1}}`))
	f.Fuzz(func(_ *testing.T, text []byte) {
		b, err := parseBody(text)
		if err != nil {
			return
		}
		b.subtopics()
		b.boolean("on")
		b.text("reason")
		b.ordinal("floor", 0)
		b.known("a")
	})
}

func FuzzNanoseconds(f *testing.F) {
	f.Add("1593599018.0395682")
	f.Add("-1.5e3")
	f.Fuzz(func(t *testing.T, number string) {
		if got, ok := timesBillion(number); ok && !json.Valid([]byte(got)) {
			t.Errorf("%q becomes %q", number, got)
		}
	})
}
