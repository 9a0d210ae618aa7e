package line

import "unicode/utf8"

// Characters that stand for what line protocol cannot say; see the package
// comment.
const (
	backslashPicture = '\uFF3C'
	numberPicture    = '\uFF03'
	controlPicture   = '\u2400' // plus the control character
	deletePicture    = '\u2421'
)

// class sorts bytes by what they need in a measurement, tag or field key.
// Nearly all text is plain throughout and is copied in one go.
type class uint8

const (
	plain     class = iota
	escape          // a backslash goes before it
	equals          // the same, but not in a measurement
	backslash       // literal, except before what it would escape
	replace         // control characters
	wide            // part of a character of two bytes and more
)

var classes = func() (table [256]class) {
	for c := range table {
		switch {
		case c == ',' || c == ' ':
			table[c] = escape
		case c == '=':
			table[c] = equals
		case c == '\\':
			table[c] = backslash
		case c < ' ' || c == 0x7f:
			table[c] = replace
		case c >= utf8.RuneSelf:
			table[c] = wide
		}
	}
	return table
}()

// appendMeasurement writes a measurement. An equals sign needs no escape there,
// and InfluxDB 1.8 would keep the backslash. It takes a line that starts with a
// number sign for a comment and says yes to it.
func appendMeasurement(dst []byte, s string) []byte {
	if s[0] == '#' {
		dst = utf8.AppendRune(dst, numberPicture)
		s = s[1:]
	}
	return appendEscaped(dst, s, false)
}

// appendName writes a tag key, a tag value or a field key.
func appendName(dst []byte, s string) []byte { return appendEscaped(dst, s, true) }

func appendEscaped(dst []byte, s string, escapeEquals bool) []byte {
	done := 0 // s[:done] is written
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch classes[c] {
		case plain:
		case equals:
			if !escapeEquals {
				continue
			}
			dst = append(dst, s[done:i]...)
			dst = append(dst, '\\', c)
			done = i + 1
		case escape:
			dst = append(dst, s[done:i]...)
			dst = append(dst, '\\', c)
			done = i + 1
		case backslash:
			if !escapes(s[i+1:]) {
				continue
			}
			dst = append(dst, s[done:i]...)
			dst = utf8.AppendRune(dst, backslashPicture)
			done = i + 1
		case replace:
			dst = append(dst, s[done:i]...)
			dst = utf8.AppendRune(dst, pictureOf(c))
			done = i + 1
		case wide:
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(dst, s[done:i]...)
				dst = utf8.AppendRune(dst, utf8.RuneError)
				done = i + 1
			}
			i += size - 1
		}
	}
	return append(dst, s[done:]...)
}

// escapes says whether a backslash before rest would be read as an escape, or
// would hide one: InfluxDB 1.8 finds the end of a line by skipping whatever
// follows a backslash, so that of `\\ ` it sees an unescaped space, then takes a
// quote in the same tag for the start of a string that runs on into the next
// lines. In names it also drops the backslash before a quote, which line
// protocol does not ask for.
func escapes(rest string) bool {
	if rest == "" {
		return true
	}
	switch rest[0] {
	case '\\', ',', '=', ' ', '"':
		return true
	default:
		return false
	}
}

func pictureOf(c byte) rune {
	if c == 0x7f {
		return deletePicture
	}
	return controlPicture + rune(c)
}

// appendText writes the value of a string field in double quotes.
func appendText(dst []byte, s string) []byte {
	dst = append(dst, '"')
	done := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, s[done:i]...)
			dst = append(dst, '\\', c)
			done = i + 1
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(dst, s[done:i]...)
				dst = utf8.AppendRune(dst, utf8.RuneError)
				done = i + 1
			}
			i += size - 1
		}
	}
	dst = append(dst, s[done:]...)
	return append(dst, '"')
}
