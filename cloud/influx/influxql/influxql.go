// Package influxql turns text into InfluxQL literals that cannot end before
// their closing quote, whatever the text is. It is pure text: it knows no
// client and no query, and any package of the cloud may import it.
//
// A statement whose every foreign part went through String or Ident holds the
// same clauses as the one its author wrote. Text that InfluxQL has no way to
// write (NUL, a carriage return, bytes that are no UTF-8) becomes U+FFFD, which
// no point written through package line contains, so that it matches nothing
// instead of being refused.
package influxql

import "strings"

// replacement stands for what a literal cannot hold.
const replacement = "\uFFFD"

// The scanner of InfluxQL 1.8 and 2.x reads both kinds of quoted text alike:
// it knows the escapes \n, \\, \" and \', refuses every other one, ends at a
// raw line break, and reads a carriage return as a line break.
var (
	inString = strings.NewReplacer("\n", `\n`, `\`, `\\`, `'`, `\'`, "\r", replacement, "\x00", replacement)
	inIdent  = strings.NewReplacer("\n", `\n`, `\`, `\\`, `"`, `\"`, "\r", replacement, "\x00", replacement)
)

// String gives s as a string literal in single quotes, for values: of tags, of
// string fields, of times.
func String(s string) string {
	return `'` + inString.Replace(strings.ToValidUTF8(s, replacement)) + `'`
}

// Ident gives s as an identifier in double quotes, for names: of databases,
// measurements, tags, fields. Quoting never changes what a name means, except
// that "time" is still the time column. An empty name stays empty quotes, which
// InfluxDB takes for an identifier that nothing has.
func Ident(s string) string {
	return `"` + inIdent.Replace(strings.ToValidUTF8(s, replacement)) + `"`
}
