package ledgerquery_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	ledgerquery "github.com/wattline/wattline/cloud/components/ledger_query"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
)

func ask(t *testing.T, options ledgerquery.Options, subpath, data string) (*answer, error) {
	t.Helper()
	var a answer
	err := ledgerquery.New(options, quiet).Query(t.Context(), hook.Request{Subpath: subpath, Data: json.RawMessage(data), Wanted: true}, &a)
	return &a, err
}

func TestTimesAreReadInBothForms(t *testing.T) {
	for data, want := range map[string]fixed{
		``:                                   {},
		`null`:                               {},
		`{}`:                                 {},
		`{"gateway":"","from":"","to":null}`: {},
		`{"gateway":"edge-f1","from":"1700000000.5","to":1700000001}`:         {gateway: "edge-f1", from: 1_700_000_000_500_000, to: 1_700_000_001_000_000},
		`{"from":"2023-11-14T22:13:20Z","to":"2023-11-15T00:13:20.25+02:00"}`: {from: 1_700_000_000_000_000, to: 1_700_000_000_250_000},
		`{"from":"1700000000","to":"1700000000"}`:                             {from: 1_700_000_000_000_000, to: 1_700_000_000_000_000},
		`{"gateway":" edge \"f1\" "}`:                                         {gateway: `edge "f1"`},
	} {
		p := &fixed{proofs: `[]`}
		a, err := ask(t, ledgerquery.Options{Prover: p, Store: empty{}}, "", data)
		if err != nil || len(a.parts) != 1 || string(a.parts[0]) != `[]` {
			t.Errorf("%s: %v, %s", data, err, a.parts)
		}
		if p.gateway != want.gateway || p.from != want.from || p.to != want.to {
			t.Errorf("%s asked for %q %d..%d", data, p.gateway, p.from, p.to)
		}
	}
}

func TestEveryMistakeIsNamed(t *testing.T) {
	for name, test := range map[string]struct {
		subpath, data string
		want          []string
	}{
		"a text":               {"", `"x"`, []string{"data: want a JSON object"}},
		"no JSON":              {"", `{"from":`, []string{"data: "}},
		"two values":           {"", `{} {}`, []string{"data: "}},
		"all at once":          {"", `{"from":"yesterday","to":"1e9","gateway":["x"],"floor":1,"From":"1"}`, []string{`from: "yesterday" is neither`, `to: "1e9" is`, "gateway: want a text", "floor: unknown; known are gateway from to", "From: unknown"}},
		"twice":                {"", `{"from":"1","from":"2"}`, []string{"from: given twice"}},
		"too long":             {"", `{"gateway":"` + strings.Repeat("g", 2000) + `"}`, []string{"gateway: is longer than 1024 bytes"}},
		"backwards":            {"", `{"from":"2","to":"1"}`, []string{"to: is before from"}},
		"beyond all times":     {"", `{"from":"922337203686","to":"99999999999999999999"}`, []string{"from: ", "to: "}},
		"before 1970":          {"", `{"from":"-5","to":"1969-01-01T00:00:00Z"}`, []string{"from: ", "to: "}},
		"a hostile key":        {"", `{"a\n: b; c: ` + strings.Repeat("x", 5000) + `":1}`, []string{`"a\n: b; c: xxxxxx"...: unknown`}},
		"another topic":        {"proofs", ``, []string{`topic: "proofs" is not asked here`}},
		"limits":               {"quarantine", `{"limit":"1001","cursor":"x","from":"x"}`, []string{`limit: "1001" is not a whole number from 1 to 1000`, `cursor: "x" is not`, "from: "}},
		"two sources":          {"quarantine", `{"source":"a","gateway":"b"}`, []string{"gateway: means the same as source"}},
		"a cursor beyond time": {"quarantine", `{"cursor":"99999999999999999999-1"}`, []string{"cursor: "}},
	} {
		_, err := ask(t, ledgerquery.Options{Prover: &fixed{proofs: `[]`}, Store: empty{}}, test.subpath, test.data)
		if !errors.Is(err, ledgerquery.ErrMistakes) || len(err.Error()) > 4000 {
			t.Errorf("%s: got %v", name, err)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %s", name, err, want)
			}
		}
	}
	for data, want := range map[string]string{
		``: "id: required", `{"id":"x"}`: `id: "x" is not a digest`, `{"id":"0123456789ABCDEF"}`: "is not a digest", `{"id":"0123456789abcdef"}`: "id: nothing with the digest",
		`{"id":"0123456789abcdef","source":"g"}`: `id: nothing of "g" with`, `{"x":1}`: "x: unknown; known are id source",
	} {
		c := ledgerquery.New(ledgerquery.Options{Prover: &fixed{}, Store: empty{}}, quiet)
		err := c.Command(t.Context(), hook.Request{Subpath: "replay", Data: json.RawMessage(data)}, &answer{})
		if !errors.Is(err, ledgerquery.ErrMistakes) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", data, err, want)
		}
	}
	c := ledgerquery.New(ledgerquery.Options{Prover: &fixed{}, Store: empty{}}, quiet)
	if err := c.Command(t.Context(), hook.Request{Subpath: "drop"}, &answer{}); !errors.Is(err, ledgerquery.ErrMistakes) {
		t.Errorf("got %v", err)
	}
}

// The asker hears who does not answer, and nothing of the inside.
func TestWhatIsAwaySaysTryAgain(t *testing.T) {
	inside := errors.New("dial tcp 10.0.0.7:8086: secret")
	for subpath, options := range map[string]ledgerquery.Options{
		"":           {Prover: &fixed{err: inside}, Store: empty{}},
		"quarantine": {Prover: &fixed{}, Store: empty{err: inside}},
	} {
		_, err := ask(t, options, subpath, `{}`)
		if !errors.Is(err, ledgerquery.ErrAway) || !strings.HasSuffix(err.Error(), "try again") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: got %v", subpath, err)
		}
	}
	if _, err := ask(t, ledgerquery.Options{Prover: &fixed{proofs: `{"a":`}, Store: empty{}}, "", ``); !errors.Is(err, ledgerquery.ErrAway) {
		t.Errorf("proofs that are none: %v", err)
	}
}

func TestADatabaseThatNobodyMadeIsEmpty(t *testing.T) {
	a, err := ask(t, ledgerquery.Options{Prover: &fixed{}, Store: empty{err: missing{}}}, "quarantine", `{}`)
	if err != nil || string(a.data) != `{"items":[],"next":null}` {
		t.Errorf("got %v, %s", err, a.data)
	}
	a, err = ask(t, ledgerquery.Options{Prover: &fixed{err: fmt.Errorf("read the ledger: %w", missing{})}, Store: empty{}}, "", `{}`)
	if err != nil || len(a.parts) != 1 || string(a.parts[0]) != `[]` {
		t.Errorf("got %v, %s", err, a.parts)
	}
}

type missing struct{}

func (missing) Error() string         { return "database not found: wattline" }
func (missing) DatabaseMissing() bool { return true }

func TestLongProofsComeInParts(t *testing.T) {
	epoch := `{"epoch":"00000000000000aa","previous":null,"last":1,"complete_to":1,"stored":1,"readings":1,"from":1,"to":2}`
	proof := func(gateway, epochs int) string {
		return fmt.Sprintf(`{"gateway":"g%d","claim":"none missing","stored":%d,"epochs":[%s]}`, gateway, epochs, strings.TrimSuffix(strings.Repeat(epoch+",", epochs), ","))
	}
	var proofs []string
	for i := range 100 {
		proofs = append(proofs, proof(i, 300))
	}
	proofs = append(proofs, proof(100, 50_000), proof(101, 1))
	a, err := ask(t, ledgerquery.Options{Prover: &fixed{proofs: "[" + strings.Join(proofs, ",") + "]"}, Store: empty{}}, "", ``)
	if err != nil || len(a.parts) < 4 {
		t.Fatalf("%d parts, %v", len(a.parts), err)
	}
	n := 0
	for _, part := range a.parts {
		var list []struct {
			Gateway string            `json:"gateway"`
			Stored  int               `json:"stored"`
			Left    int               `json:"epochs_left_off"`
			Epochs  []json.RawMessage `json:"epochs"`
		}
		if err := json.Unmarshal(part, &list); err != nil {
			t.Fatal(err)
		}
		for _, p := range list {
			if p.Gateway != fmt.Sprint("g", n) || p.Left+len(p.Epochs) != p.Stored || (p.Left > 0) != (n == 100) {
				t.Errorf("%s: %d epochs, %d left off, of %d", p.Gateway, len(p.Epochs), p.Left, p.Stored)
			}
			n++
		}
	}
	if n != 102 {
		t.Errorf("%d proofs, want 102", n)
	}
}

func TestNobodyWaitingIsNotAnswered(t *testing.T) {
	p := &fixed{proofs: `[]`, from: -1}
	c := ledgerquery.New(ledgerquery.Options{Prover: p, Store: empty{}}, quiet)
	if err := c.Query(t.Context(), hook.Request{}, &answer{}); err != nil || p.from != device.Micros(-1) {
		t.Errorf("asked the ledger for nobody: %v", err)
	}
}

func FuzzRequests(f *testing.F) {
	f.Add("", `{"gateway":"g","from":"1","to":2}`)
	f.Add("quarantine", `{"source":"g'\"\\","limit":"5","cursor":"1700000000000000-3"}`)
	f.Add("replay", `{"id":"0123456789abcdef","source":"g"}`)
	f.Fuzz(func(t *testing.T, subpath, data string) {
		c := ledgerquery.New(ledgerquery.Options{Prover: &fixed{proofs: `[]`}, Store: empty{}}, quiet)
		r := hook.Request{Subpath: subpath, Data: json.RawMessage(data), Wanted: true}
		for _, err := range []error{c.Query(t.Context(), r, &answer{}), c.Command(t.Context(), r, &answer{})} {
			if err != nil && !errors.Is(err, ledgerquery.ErrMistakes) || err != nil && len(err.Error()) > 16<<10 {
				t.Errorf("%s %s: %v", subpath, data, err)
			}
		}
	})
}
