package influxql_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/wattline/wattline/cloud/influx/influxql"
)

func TestStringEscapesWhatEndsALiteral(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"plain":              {"sp_f2.w.r1.c1", `'sp_f2.w.r1.c1'`},
		"empty":              {"", `''`},
		"single quote":       {"it's", `'it\'s'`},
		"double quote":       {`a"b`, `'a"b'`},
		"backslash at end":   {`a\`, `'a\\'`},
		"escaped quote":      {`\'`, `'\\\''`},
		"line break":         {"a\nb", `'a\nb'`},
		"carriage return":    {"a\rb", "'a\uFFFDb'"},
		"NUL":                {"a\x00b", "'a\uFFFDb'"},
		"not UTF-8":          {"a\xffb", "'a\uFFFDb'"},
		"whole clause":       {"x' OR 'a'='a", `'x\' OR \'a\'=\'a'`},
		"two statements":     {"x'; DROP DATABASE sp", `'x\'; DROP DATABASE sp'`},
		"letters of Germany": {"Küche", `'Küche'`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := influxql.String(test.text); got != test.want {
				t.Errorf("String(%q) = %s, want %s", test.text, got, test.want)
			}
		})
	}
}

func TestIdentEscapesWhatEndsAnIdentifier(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"plain":            {"power", `"power"`},
		"reserved word":    {"select", `"select"`},
		"double quote":     {`a"b`, `"a\"b"`},
		"single quote":     {`a'b`, `"a'b"`},
		"backslash at end": {`a\`, `"a\\"`},
		"dot":              {"a.b", `"a.b"`},
		"two statements":   {`x"; DROP DATABASE "sp`, `"x\"; DROP DATABASE \"sp"`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := influxql.Ident(test.text); got != test.want {
				t.Errorf("Ident(%q) = %s, want %s", test.text, got, test.want)
			}
		})
	}
}

// scan reads one quoted literal as InfluxQL's scanner does and gives its text
// and what follows it. ok is false where the scanner reports an error.
func scan(s string) (text, rest string, ok bool) {
	quote, body := s[0], s[1:]
	var b strings.Builder
	for i := 0; i < len(body); i++ {
		switch c := body[i]; c {
		case quote:
			return b.String(), body[i+1:], true
		case '\n', '\r', 0:
			return "", "", false
		case '\\':
			i++
			if i == len(body) {
				return "", "", false
			}
			switch body[i] {
			case 'n':
				b.WriteByte('\n')
			case '\\', '"', '\'':
				b.WriteByte(body[i])
			default:
				return "", "", false
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

func FuzzQuotedTextStaysInside(f *testing.F) {
	for _, seed := range []string{"", "a", `'`, `"`, `\`, `\'`, `\\"`, "\n", "\r\n", "x'; DROP DATABASE sp; --", "\xff\\", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want := strings.NewReplacer("\r", "\uFFFD", "\x00", "\uFFFD").Replace(strings.ToValidUTF8(s, "\uFFFD"))
		for _, literal := range []string{influxql.String(s), influxql.Ident(s)} {
			if !utf8.ValidString(literal) {
				t.Fatalf("%q is not UTF-8", literal)
			}
			text, rest, ok := scan(literal + " AND x")
			if !ok {
				t.Fatalf("%s does not scan", literal)
			}
			if text != want || rest != " AND x" {
				t.Fatalf("%s scans as %q, then %q; want %q", literal, text, rest, want)
			}
		}
	})
}
