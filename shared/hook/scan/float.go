package scan

import "strconv"

// Float is the value as a number; ok is false where it is out of range. No zero is
// negative: the long way adds a base value, which is 0 here.
func (v Value) Float() (f float64, ok bool) {
	if f, ok = short(v.Number); !ok {
		var err error
		f, err = strconv.ParseFloat(string(v.Number), 64)
		ok = err == nil
	}
	return f + 0, ok
}

var tens = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// short reads a number without exponent, in at most 15 bytes. Its digits and the
// power of ten are whole numbers that a float64 holds, so that the quotient is
// rounded once: it is the nearest, as [strconv.ParseFloat] gives it.
func short(text []byte) (float64, bool) {
	if len(text) > 15 {
		return 0, false
	}
	digits, decimals, n := text, 0, int64(0)
	if text[0] == '-' {
		digits = text[1:]
	}
	for i, c := range digits {
		switch {
		case c == '.':
			decimals = len(digits) - i - 1
		case c-'0' <= 9:
			n = n*10 + int64(c-'0')
		default:
			return 0, false
		}
	}
	f := float64(n) / tens[decimals]
	if len(digits) < len(text) {
		f = -f
	}
	return f, true
}
