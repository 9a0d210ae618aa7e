package main

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/wattline/wattline/shared/contract"
)

const (
	maxDays     = 36500 // of a token: a hundred years, within every way to count time
	maxDeadline = float64(contract.MaxAllowed / time.Second)
)

// amount is a flag for a number above 0. What is 0 or less never means "without
// a limit": that is said by leaving the flag out.
type amount struct {
	value float64 // 0 where it was not given
	most  float64
}

func (a *amount) String() string {
	if a == nil || a.value == 0 {
		return ""
	}
	return strconv.FormatFloat(a.value, 'g', -1, 64)
}

// Set takes only what is above 0 and at most the most.
func (a *amount) Set(v string) error {
	n, err := parseNumber(v)
	if err == nil && (n <= 0 || n > a.most) {
		err = fmt.Errorf("want more than 0 and at most %v", a.most)
	}
	if err == nil {
		a.value = n
	}
	return err
}

// amountVar adds a flag for a number above 0 and up to most.
func amountVar(f *flag.FlagSet, name string, most float64, usage string) *amount {
	a := &amount{most: most}
	f.Var(a, name, usage)
	return a
}

// parseNumber reads a number that JSON can hold: neither NaN nor without end.
func parseNumber(v string) (float64, error) {
	n, err := strconv.ParseFloat(v, 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		return 0, errors.New("not a number")
	}
	return n, nil
}

// parseWhole reads a whole number.
func parseWhole(v string) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil {
		return 0, errors.New("not a whole number")
	}
	return n, nil
}
