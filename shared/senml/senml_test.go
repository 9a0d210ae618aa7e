package senml_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/senml"
)

const limit = 1000

func number(name, unit string, at device.Micros, v float64) senml.Record {
	return senml.Record{Name: name, Unit: unit, Time: at, Absolute: true, Kind: senml.Number, Value: v}
}

func TestDecodeResolves(t *testing.T) {
	const at = device.Micros(1_700_000_000_000_000)
	for name, tc := range map[string]struct {
		pack string
		want []senml.Record
	}{
		"base fields apply to their own record and to all that follow": {
			`[{"bn":"sp_g1/","bt":1700000000,"bu":"W","n":"power","v":1},{"n":"voltage","u":"V","v":230.5},{"bn":"sp_g2/","n":"power","v":2}]`,
			[]senml.Record{number("sp_g1/power", "W", at, 1), number("sp_g1/voltage", "V", at, 230.5), number("sp_g2/power", "W", at, 2)},
		},
		"a record of base fields only is no record": {
			`[{"bn":"power","bver":10},{"n":"/x","t":1700000000,"v":1}]`, []senml.Record{number("power/x", "", at, 1)},
		},
		"the name may be split anywhere": {
			`[{"bn":"sp_","bt":1700000000},{"n":"w.r1.c1/power","u":"W","v":3}]`, []senml.Record{number("sp_w.r1.c1/power", "W", at, 3)},
		},
		"base value is added":           {`[{"bn":"a","bv":10,"bt":1700000000,"v":-0.5}]`, []senml.Record{number("a", "", at, 9.5)}},
		"unknown fields are ignored":    {`[{"n":"a","t":1700000000,"v":1,"x":{"y":[1,null,"z"]}}]`, []senml.Record{number("a", "", at, 1)}},
		"secondary units say 26":        {`[{"bver":26,"n":"a","u":"Wh","t":1700000000,"v":1}]`, []senml.Record{number("a", "Wh", at, 1)}},
		"an empty pack has no records":  {` [ ] `, []senml.Record{}},
		"a number may have an exponent": {`[{"n":"a","t":1.7e9,"v":1E-3}]`, []senml.Record{number("a", "", at, 0.001)}},
		"relative time is marked":       {`[{"n":"a","t":-5,"v":1}]`, []senml.Record{{Name: "a", Time: -5_000_000, Kind: senml.Number, Value: 1}}},
		"texts, booleans and data": {
			`[{"bn":"a","bt":1700000000,"vs":"\u00e4\"\n"},{"vb":true},{"vb":false},{"vd":"AQI"}]`,
			[]senml.Record{
				{Name: "a", Time: at, Absolute: true, Kind: senml.Text, Text: "ä\"\n"},
				{Name: "a", Time: at, Absolute: true, Kind: senml.Bool, Value: 1},
				{Name: "a", Time: at, Absolute: true, Kind: senml.Bool},
				{Name: "a", Time: at, Absolute: true, Kind: senml.Data, Text: "AQI"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := senml.Decode([]byte(tc.pack), limit)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecodeAddsTimesAsDecimals(t *testing.T) {
	for times, want := range map[[2]string]device.Micros{
		{"1700000000", "0.1"}:                         1_700_000_000_100_000,
		{"1593599018.0395682", "0"}:                   1_593_599_018_039_568,
		{"1700000000.0000005", "0"}:                   1_700_000_000_000_001, // half up
		{"1700000000.00000049999999999", "0"}:         1_700_000_000_000_000,
		{"1700000000.0000003", "0.0000002"}:           1_700_000_000_000_001, // the sum is rounded, not the parts
		{"1700000000.0000003", "0.00000019999999999"}: 1_700_000_000_000_000,
		{"1700000001", "-0.0000005"}:                  1_700_000_001_000_000,
		{"1700000001", "-0.0000006"}:                  1_700_000_000_999_999,
		{"1.7e9", "1e-6"}:                             1_700_000_000_000_001,
		{"-1700000000", "-0.0000005"}:                 -1_700_000_000_000_000,
	} {
		got, err := senml.Decode([]byte(`[{"n":"a","v":0,"bt":`+times[0]+`,"t":`+times[1]+`}]`), limit)
		if err != nil || got[0].Time != want {
			t.Errorf("%v: %v, %v; want %d", times, got, err, want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, pack := range map[string]string{
		"nothing": ``, "an object": `{}`, "an open array": `[`, "an open record": `[{"n":"a"`, "a trailing comma": `[{"n":"a","t":2e9,"v":1},]`,
		"something behind": `[] x`, "a number as record": `[1]`, "no value": `[{"n":"a","t":1700000000}]`, "two values": `[{"n":"a","v":1,"vs":"x"}]`,
		"a key twice": `[{"n":"a","n":"b","v":1}]`, "a field to be understood": `[{"n":"a","v":1,"crit_":1}]`, "another version": `[{"bver":11,"n":"a","v":1}]`,
		"two versions": `[{"bver":10,"n":"a","v":1},{"bver":26,"n":"a","v":1}]`, "no name": `[{"v":1}]`, "a name with a space": `[{"n":"a b","v":1}]`,
		"a name that starts with a slash": `[{"n":"/a","v":1}]`, "a value as text": `[{"n":"a","v":"1"}]`, "NaN": `[{"n":"a","v":NaN}]`,
		"a value out of range": `[{"n":"a","v":1e999}]`, "a sum out of range": `[{"n":"a","bv":1.7e308,"v":1.7e308}]`, "a leading zero": `[{"n":"a","v":01}]`,
		"a plus sign": `[{"n":"a","v":+1}]`, "a bare dot": `[{"n":"a","v":1.}]`, "a huge exponent in a time": `[{"n":"a","t":1e999999999,"v":1}]`,
		"a tiny exponent in a time": `[{"n":"a","t":1e-999999999,"v":1}]`, "a far time": `[{"n":"a","t":1e18,"v":1}]`, "a long time": `[{"n":"a","t":` + strings.Repeat("1", 1000) + `,"v":1}]`,
		"broken UTF-8": "[{\"n\":\"a\",\"vs\":\"\xff\"}]", "a bare newline in a text": "[{\"n\":\"a\",\"vs\":\"\n\"}]", "a broken escape": `[{"n":"a","vs":"\x"}]`,
		"deep nesting": `[{"n":"a","v":1,"x":` + strings.Repeat("[", 100000) + `}]`, "a boolean as number": `[{"n":"a","vb":1}]`, "null": `[{"n":null,"v":1}]`,
	} {
		if got, err := senml.Decode([]byte(pack), limit); !errors.Is(err, senml.ErrPack) {
			t.Errorf("%s: %v, %v; want ErrPack", name, got, err)
		}
	}
	if _, err := senml.Decode([]byte(`[{"n":"a","v":1},{"n":"a","v":1}]`), 1); !errors.Is(err, senml.ErrPack) {
		t.Errorf("more records than the limit: %v", err)
	}
}

func TestAppendReadsBack(t *testing.T) {
	in := []senml.Record{
		number("sp_f2.g1/power", "W", 1_700_000_000_123_456, 61.753),
		number("sp_f2.g1/energy", "Wh", 1_700_000_000_123_456, 16323),
		number("sp_f2.g1/status", "/", 1_700_000_000_123_456, 0),
		number("sp_f2.g2/power", "W", 1_700_000_001_000_000, 1e-7),
		{Name: "sp_f2.g2/suspect", Time: 1_700_000_001_500_000, Absolute: true, Kind: senml.Text, Text: "{\"<ä\u2028"},
		{Name: "plain", Time: 1_700_000_001_500_000, Absolute: true, Kind: senml.Bool, Value: 1},
		{Name: "plain", Time: 1_700_000_001_500_000, Absolute: true, Kind: senml.Data, Text: "AQI"},
	}
	pack, err := senml.Append(nil, in)
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"bver":26,"bn":"sp_f2.g1/","bt":1700000000.123456,"n":"power","u":"W","v":61.753},{"n":"energy","u":"Wh","v":16323},{"n":"status","u":"/","v":0},{"bn":"sp_f2.g2/","bt":1700000001,"n":"power"`
	if !strings.HasPrefix(string(pack), want) {
		t.Errorf("pack = %s", pack)
	}
	got, err := senml.Decode(pack, limit)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, got); diff != "" {
		t.Error(diff)
	}
}

func TestAppendRefusesWhatNobodyCouldRead(t *testing.T) {
	for name, r := range map[string]senml.Record{
		"NaN": number("a", "W", 1_700_000_000_000_000, math.NaN()), "infinity": number("a", "W", 1_700_000_000_000_000, math.Inf(1)),
		"a relative time": {Name: "a", Kind: senml.Number}, "a bad name": number("a b", "W", 1_700_000_000_000_000, 1),
	} {
		if pack, err := senml.Append(nil, []senml.Record{r}); err == nil {
			t.Errorf("%s: %s", name, pack)
		}
	}
}

// What Decode accepts is JSON, and writing it and reading it again changes nothing.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`[{"bver":26,"bn":"sp_f2.g1/","bt":1700000000.123456,"n":"power","u":"W","v":61.753},{"n":"x","vs":"a\nb"}]`))
	f.Add([]byte(`[{"n":"a","t":1e9,"bt":1.5,"bv":1e3,"v":-1,"s":1,"ut":2,"zz":[{}]}]`))
	f.Fuzz(func(t *testing.T, pack []byte) {
		first, err := senml.Decode(pack, limit)
		if err != nil {
			return
		}
		for i := range first {
			if !first[i].Absolute || first[i].Kind == senml.None {
				return
			}
		}
		again, err := senml.Append(nil, first)
		if err != nil {
			t.Fatalf("%s: %v", pack, err)
		}
		second, err := senml.Decode(again, limit)
		if err != nil {
			t.Fatalf("%s -> %s: %v", pack, again, err)
		}
		if diff := cmp.Diff(first, second); diff != "" {
			t.Errorf("%s -> %s: %s", pack, again, diff)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	var records []senml.Record
	for i := range 500 {
		records = append(records, number("sp_f2.w.r1.c1/power", "W", device.Micros(1_700_000_000_123_456+i/5), 61.753))
	}
	pack, err := senml.Append(nil, records)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(pack)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := senml.Decode(pack, limit); err != nil {
			b.Fatal(err)
		}
	}
}
