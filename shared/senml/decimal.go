package senml

import (
	"bytes"
	"errors"
	"math/big"
	"strconv"

	"github.com/wattline/wattline/shared/device"
)

// decimal is a time in seconds as it was written, exact. Times with at most
// nine decimals, which is all that clocks write, are whole nanoseconds; others
// are kept as a fraction.
type decimal struct {
	nanos int64
	exact *big.Rat // set when nanos can't hold it
}

// Times lie within plus and minus 9e9 s (year 2255), so that nanoseconds, and
// the sum of two of them as microseconds, fit.
const maxSeconds = 9_000_000_000

var (
	errTime = errors.New("time is out of range")
	million = big.NewRat(1_000_000, 1)
	half    = big.NewRat(1, 2)
)

func parseDecimal(text []byte) (decimal, error) {
	if nanos, ok := plainNanos(text); ok {
		return decimal{nanos: nanos}, nil
	}
	// A short text may still ask for a million digits by its exponent.
	if len(text) > 64 {
		return decimal{}, errTime
	}
	if e := bytes.IndexAny(text, "eE"); e >= 0 {
		if exponent, err := strconv.Atoi(string(text[e+1:])); err != nil || exponent > 30 || exponent < -60 {
			return decimal{}, errTime
		}
	}
	r, ok := new(big.Rat).SetString(string(text))
	if !ok || new(big.Rat).Abs(r).Cmp(big.NewRat(maxSeconds, 1)) > 0 {
		return decimal{}, errTime
	}
	return decimal{exact: r}, nil
}

// plainNanos reads -?digits[.digits] with at most nine decimals.
func plainNanos(text []byte) (int64, bool) {
	negative := text[0] == '-'
	if negative {
		text = text[1:]
	}
	var n int64
	decimals := -1
	for _, c := range text {
		switch {
		case c == '.':
			decimals = 0
			continue
		case c < '0' || c > '9':
			return 0, false
		case decimals >= 0:
			decimals++
		}
		if n >= maxSeconds*1e8 || decimals > 9 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	for range 9 - max(decimals, 0) {
		if n >= maxSeconds*1e8 {
			return 0, false
		}
		n *= 10
	}
	if negative {
		n = -n
	}
	return n, true
}

// plus adds two times and rounds half up to microseconds.
func (d decimal) plus(e decimal) (device.Micros, error) {
	if d.exact == nil && e.exact == nil {
		return roundNanos(d.nanos/1000+e.nanos/1000, d.nanos%1000+e.nanos%1000)
	}
	sum := new(big.Rat).Add(d.rat(), e.rat())
	sum.Add(sum.Mul(sum, million), half)
	floor := new(big.Int).Div(sum.Num(), sum.Denom()) // Euclidean: rounds down
	return inRange(floor.Int64())
}

func roundNanos(micros, nanos int64) (device.Micros, error) {
	nanos += 500
	carry := nanos / 1000
	if nanos%1000 < 0 {
		carry--
	}
	return inRange(micros + carry)
}

func inRange(micros int64) (device.Micros, error) {
	if micros > maxSeconds*1e6 || micros < -maxSeconds*1e6 {
		return 0, errTime
	}
	return device.Micros(micros), nil
}

func (d decimal) rat() *big.Rat {
	if d.exact != nil {
		return d.exact
	}
	return big.NewRat(d.nanos, 1e9)
}
