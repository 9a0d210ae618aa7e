package hs110test

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/device"
)

// Orders explains the texts that [ParseFault] takes, a line for each.
const Orders = `ok             healthy again
slow:2s        answers late
silent         takes questions, never answers
refuse         closes its ports
close          closes the connection instead of answering
reset          resets the connection instead of answering
cut:56         closes after so many bytes of the answer
split          sends the answer in many segments
garbage        answers what no plug answers
spike:15000000 reports so many watts
one            resets a second connection while one is open
locked         as firmware that closed the protocol: UDP 20002 only
Several are joined by "+"; "/10" at the end makes it every tenth question.`

// ParseFault reads a fault as people order one, such as "slow:2s+split/10". The
// error names what is not understood.
func ParseFault(s string) (Fault, error) {
	var f Fault
	list, every, has := strings.Cut(s, "/")
	if has {
		n, err := strconv.Atoi(every)
		if err != nil || n < 1 {
			return Fault{}, fmt.Errorf("fault %q: %q is not a number from 1", s, every)
		}
		f.Every = n
	}
	for word := range strings.SplitSeq(list, "+") {
		if err := f.add(word); err != nil {
			return Fault{}, fmt.Errorf("fault %q: %w", s, err)
		}
	}
	return f, nil
}

func (f *Fault) add(word string) (err error) {
	kind, arg, has := strings.Cut(word, ":")
	switch kind {
	case "slow":
		f.Delay, err = time.ParseDuration(arg)
	case "cut":
		f.CutAfter, err = strconv.Atoi(arg)
	case "spike":
		var watts float64
		watts, err = strconv.ParseFloat(arg, 64)
		f.Spike = device.Watts(watts)
	default:
		if has {
			return fmt.Errorf("%q takes no %q", kind, arg)
		}
		return f.addPlain(kind)
	}
	if err == nil && (f.Delay < 0 || f.CutAfter < 0 || !(f.Spike >= 0)) {
		err = fmt.Errorf("%q is negative", arg)
	}
	return err
}

func (f *Fault) addPlain(kind string) error {
	switch kind {
	case "ok":
	case "silent":
		f.Silent = true
	case "refuse":
		f.Refuse = true
	case "close":
		f.Close = true
	case "reset":
		f.Reset = true
	case "split":
		f.Split = true
	case "garbage":
		f.Garbage = []byte("HTTP/1.1 400 Bad Request\r\nServer: SHIP 2.0\r\n\r\n")
	case "one":
		f.OneConnection = true
	case "locked":
		f.Locked = true
	default:
		return fmt.Errorf("unknown %q", kind)
	}
	return nil
}
