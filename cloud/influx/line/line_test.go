package line_test

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/influx/line"
)

func TestAppendWritesAPointAsOneLine(t *testing.T) {
	tags := []line.Tag{{Key: "floor", Value: "2"}, {Key: "id", Value: "sp_f2.w.r1.c1"}, {Key: "unit", Value: "W"}}
	for name, test := range map[string]struct {
		measurement string
		tags        []line.Tag
		fields      []line.Field
		want        string
	}{
		"reading":            {"power", tags, []line.Field{line.Float("value", 12.25)}, "power,floor=2,id=sp_f2.w.r1.c1,unit=W value=12.25 1700000000123456\n"},
		"no tags":            {"m", nil, []line.Field{line.Float("value", 1)}, "m value=1 1700000000123456\n"},
		"all types":          {"m", nil, []line.Field{line.Int("i", -7), line.Bool("b", true), line.Bool("c", false), line.String("s", "x")}, "m i=-7i,b=true,c=false,s=\"x\" 1700000000123456\n"},
		"empty tag value":    {"m", []line.Tag{{Key: "a", Value: ""}, {Key: "b", Value: "1"}, {Key: "", Value: "x"}}, []line.Field{line.Int("i", 1)}, "m,b=1 i=1i 1700000000123456\n"},
		"escapes":            {"a,b c=d", []line.Tag{{Key: "k,= ", Value: "v,= "}}, []line.Field{line.Int("f,= ", 1)}, `a\,b\ c=d,k\,\=\ =v\,\=\  f\,\=\ =1i 1700000000123456` + "\n"},
		"text":               {"m", nil, []line.Field{line.String("s", "a\"b\\c\nd")}, "m s=\"a\\\"b\\\\c\nd\" 1700000000123456\n"},
		"backslash inside":   {"m", []line.Tag{{Key: "p", Value: `C:\temp`}}, []line.Field{line.Int("i", 1)}, "m,p=C:\\temp i=1i 1700000000123456\n"},
		"backslash at end":   {"m", []line.Tag{{Key: "p", Value: `C:\`}}, []line.Field{line.Int("i", 1)}, "m,p=C:\uFF3C i=1i 1700000000123456\n"},
		"backslash, comma":   {"m", []line.Tag{{Key: "p", Value: `a\,b`}}, []line.Field{line.Int("i", 1)}, "m,p=a\uFF3C\\,b i=1i 1700000000123456\n"},
		"backslash, quote":   {"m", []line.Tag{{Key: "p", Value: `a\"b`}}, []line.Field{line.Int("i", 1)}, "m,p=a\uFF3C\"b i=1i 1700000000123456\n"},
		"line break in tag":  {"m", []line.Tag{{Key: "p", Value: "a\nm v=1"}}, []line.Field{line.Int("i", 1)}, "m,p=a\u240Am\\ v\\=1 i=1i 1700000000123456\n"},
		"comment":            {"#m", nil, []line.Field{line.Int("i", 1)}, "\uFF03m i=1i 1700000000123456\n"},
		"not UTF-8":          {"m", []line.Tag{{Key: "p", Value: "a\xffb"}}, []line.Field{line.String("s", "\xc3")}, "m,p=a\uFFFDb s=\"\uFFFD\" 1700000000123456\n"},
		"wide characters":    {"m", []line.Tag{{Key: "p", Value: "Küche,\u2603"}}, []line.Field{line.Int("i", 1)}, "m,p=Küche\\,\u2603 i=1i 1700000000123456\n"},
		"NaN beside a value": {"m", nil, []line.Field{line.Float("n", math.NaN()), line.Float("v", 2)}, "m v=2 1700000000123456\n"},
		"only NaN":           {"m", tags, []line.Field{line.Float("n", math.NaN()), line.Float("i", math.Inf(-1))}, ""},
		"no fields":          {"m", tags, nil, ""},
		"zero field":         {"m", tags, []line.Field{{}}, ""},
		"no measurement":     {"", tags, []line.Field{line.Int("i", 1)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := []byte("kept\n")
			got := line.Append(before, test.measurement, test.tags, test.fields, 1700000000123456)
			if want := "kept\n" + test.want; string(got) != want {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

func TestFloatsAreShort(t *testing.T) {
	for want, v := range map[string]float64{
		"0": 0, "-0": math.Copysign(0, -1), "0.1": 0.1, "1234567": 1234567, "1e+21": 1e21, "1e-07": 1e-7, "0.000001": 1e-6,
		"230.45": 230.45, "1.7976931348623157e+308": math.MaxFloat64, "5e-324": math.SmallestNonzeroFloat64,
	} {
		got := string(line.Append(nil, "m", nil, []line.Field{line.Float("v", v)}, 0))
		if want := "m v=" + want + " 0\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestAppendDoesNotAllocateWithRoom(t *testing.T) {
	tags := []line.Tag{{Key: "id", Value: "sp_f2.w.r1.c1"}, {Key: "unit", Value: "W"}}
	fields := []line.Field{line.Float("value", 12.25)}
	buf := make([]byte, 0, 1024)
	if got := testing.AllocsPerRun(100, func() { line.Append(buf, "power", tags, fields, 1700000000123456) }); got != 0 {
		t.Errorf("%v allocations a line, want 0", got)
	}
}

func TestHalveKeepsLinesWhole(t *testing.T) {
	text := line.Append(nil, "m", []line.Tag{{Key: "p", Value: `x\="`}}, []line.Field{line.String(`a="b`, "one\ntwo \"three\"\nfour=\"five")}, 1)
	for name, test := range map[string]struct {
		lines         []byte
		first, second string
		ok            bool
	}{
		"empty":             {nil, "", "", false},
		"one":               {[]byte("a v=1 1\n"), "a v=1 1\n", "", false},
		"two":               {[]byte("a v=1 1\nb v=1 1\n"), "a v=1 1\n", "b v=1 1\n", true},
		"three":             {[]byte("a v=1 1\nb v=1 1\nc v=1 1\n"), "a v=1 1\nb v=1 1\n", "c v=1 1\n", true},
		"long one last":     {[]byte("a v=1 1\nb v=1,w=2,x=3,y=4,z=5 1\n"), "a v=1 1\n", "b v=1,w=2,x=3,y=4,z=5 1\n", true},
		"text with breaks":  {text, string(text), "", false},
		"two of them":       {bytes.Repeat(text, 2), string(text), string(text), true},
		"no last break":     {[]byte("a v=1 1\nb v=1 1"), "a v=1 1\n", "b v=1 1", true},
		"ends in backslash": {[]byte(`a v=1 1\`), `a v=1 1\`, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			first, second, ok := line.Halve(test.lines)
			if string(first) != test.first || string(second) != test.second || ok != test.ok {
				t.Errorf("got %q, %q, %v; want %q, %q, %v", first, second, ok, test.first, test.second, test.ok)
			}
		})
	}
}

// expected is what the package comment says becomes of a name.
func expected(s string, measurement bool) string {
	var b strings.Builder
	if measurement && strings.HasPrefix(s, "#") {
		b.WriteRune('\uFF03')
		s = s[1:]
	}
	s = toValid(s)
	for i, r := range s {
		switch {
		case r < ' ':
			b.WriteRune('\u2400' + r)
		case r == 0x7f:
			b.WriteRune('\u2421')
		case r == '\\' && (i+1 == len(s) || strings.IndexByte(`\,= "`, s[i+1]) >= 0):
			b.WriteRune('\uFF3C')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func FuzzNoTextLeavesItsPlace(f *testing.F) {
	for _, s := range []string{"plain", "", ` `, `\`, `\\`, `\ `, `\\ `, `a\,b=c d`, "a\nm v=1 1", `"`, `x\="`, `\ \="`, "#", "\r\n", "\x00\x7f", "\xff\\", `k="`, "é\\"} {
		f.Add(s, s, s, s, s)
		f.Add("m", "k", s, "f", "text")
		f.Add("m", "k", "v", s, s)
	}
	f.Fuzz(func(t *testing.T, measurement, key, value, field, text string) {
		// Neighbours before and after must come through untouched.
		neighbour := func(dst []byte, micros int64) []byte {
			return line.Append(dst, "n", []line.Tag{{Key: "a", Value: "b"}}, []line.Field{line.String("s", "x"), line.Int("i", 1)}, micros)
		}
		lines := neighbour(nil, 1)
		lines = line.Append(lines, measurement, []line.Tag{{Key: "0", Value: "1"}, {Key: key, Value: value}, {Key: "~", Value: value}},
			[]line.Field{line.Int("0", 1), line.String(field, text), line.String("~", text)}, 2)
		lines = neighbour(lines, 3)

		got, err := parse(lines)
		if err != nil {
			t.Fatal(err)
		}
		n := point{"n", []line.Tag{{Key: "a", Value: "b"}}, []string{"s=x", "i=1i"}, 1}
		last := n
		last.micros = 3
		want := []point{n}
		if measurement != "" {
			p := point{measurement: expected(measurement, true), tags: []line.Tag{{Key: "0", Value: "1"}}, micros: 2}
			if key != "" && value != "" {
				p.tags = append(p.tags, line.Tag{Key: expected(key, false), Value: expected(value, false)})
			}
			if value != "" {
				p.tags = append(p.tags, line.Tag{Key: "~", Value: expected(value, false)})
			}
			p.fields = []string{"0=1i"}
			valid := toValid(text)
			if field != "" {
				p.fields = append(p.fields, expected(field, false)+"="+valid)
			}
			p.fields = append(p.fields, "~="+valid)
			want = append(want, p)
		}
		want = append(want, last)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(point{})); diff != "" {
			t.Fatalf("lines %q\n%s", lines, diff)
		}
		if !utf8.Valid(lines) {
			t.Fatalf("%q is not UTF-8", lines)
		}
		halves(t, lines)
	})
}

// toValid replaces each byte that is no UTF-8, not each run of them.
func toValid(s string) string {
	return strings.Map(func(r rune) rune { return r }, s)
}

func halves(t *testing.T, lines []byte) {
	t.Helper()
	first, second, ok := line.Halve(lines)
	if !bytes.Equal(append(bytes.Clone(first), second...), lines) {
		t.Fatalf("%q and %q are not %q", first, second, lines)
	}
	if !ok {
		return
	}
	for _, half := range [][]byte{first, second} {
		if len(half) == 0 {
			t.Fatalf("empty half of %q", lines)
		}
		if _, err := parse(half); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	tags := []line.Tag{{Key: "column", Value: "1"}, {Key: "floor", Value: "2"}, {Key: "id", Value: "sp_f2.w.r1.c1"}, {Key: "row", Value: "1"}, {Key: "type", Value: "w"}, {Key: "unit", Value: "W"}}
	fields := []line.Field{line.Float("value", 12.25)}
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for i := range b.N {
		buf = line.Append(buf[:0], "power", tags, fields, int64(i))
	}
}
