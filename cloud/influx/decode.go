package influx

import (
	"errors"
	"fmt"
	"io"
)

type eachFunc = func(name string, tags map[string]string, columns []string, rows [][]any) error

// decoder reads the answer to a query: one JSON document after another, each
//
//	{"results": [{"statement_id": 0, "series": [{"name", "tags", "columns", "values"}], "partial": true}]}
//
// and hands rows over as they come. It holds chunkRows rows at most.
type decoder struct {
	in   scanner
	each eachFunc
	slab []any // room for the values of the next rows

	failed  string // what InfluxDB said went wrong
	stopped error  // what each returned
	partial bool   // more documents must follow
}

func newDecoder(r io.Reader, each eachFunc) *decoder {
	return &decoder{in: scanner{from: r}, each: each}
}

var errBroken = errors.New("the answer breaks off")

// run reads to the end of the answer.
func (d *decoder) run() error {
	documents := 0
	for ; ; documents++ {
		if _, err := d.in.peek(); errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err := d.document(); err != nil {
			return err
		}
	}
	if documents == 0 || d.partial {
		return errBroken
	}
	return nil
}

func (d *decoder) document() error {
	return d.in.object(func(key string) error {
		switch key {
		case "results":
			d.partial = false
			return d.in.list(d.result)
		case "error":
			return d.fail()
		default:
			return d.in.skip()
		}
	})
}

func (d *decoder) result() error {
	return d.in.object(func(key string) error {
		switch key {
		case "series":
			return d.in.list(d.series)
		case "error":
			return d.fail()
		case "partial":
			return d.in.value(&d.partial)
		default:
			return d.in.skip()
		}
	})
}

func (d *decoder) series() error {
	var name string
	var tags map[string]string
	var columns []string
	return d.in.object(func(key string) error {
		switch key {
		case "name":
			return d.in.value(&name)
		case "tags":
			return d.in.value(&tags)
		case "columns":
			return d.in.value(&columns)
		case "values":
			// InfluxDB writes them last. Nobody could use rows without names.
			if len(columns) == 0 {
				return errors.New("the answer has rows before their columns")
			}
			return d.rows(name, tags, columns)
		default:
			return d.in.skip()
		}
	})
}

func (d *decoder) rows(name string, tags map[string]string, columns []string) error {
	var rows [][]any
	hand := func() error {
		n := len(rows)
		if n == 0 {
			return nil
		}
		d.stopped = d.each(name, tags, columns, rows)
		rows = nil
		if n == chunkRows {
			rows = make([][]any, 0, chunkRows) // another like it, as a rule
		}
		return d.stopped
	}
	err := d.in.list(func() error {
		row, err := d.in.row(d.room(len(columns)))
		if err != nil {
			return err
		}
		if len(row) != len(columns) {
			return fmt.Errorf("the answer has a row of %d values for %d columns", len(row), len(columns))
		}
		if rows = append(rows, row); len(rows) < chunkRows {
			return nil
		}
		return hand()
	})
	if err != nil {
		return err
	}
	return hand()
}

// room gives an empty row with room for n values. Rows are cut from one
// allocation for many: most of what decoding costs is allocating.
func (d *decoder) room(n int) []any {
	const many = 128
	if len(d.slab) < n {
		d.slab = make([]any, many*n)
	}
	row := d.slab[:0:n]
	d.slab = d.slab[n:]
	return row
}

// fail reads what InfluxDB says went wrong and ends the reading.
func (d *decoder) fail() error {
	if err := d.in.value(&d.failed); err != nil {
		return err
	}
	if d.failed == "" {
		d.failed = "no reason given"
	}
	return errors.New(d.failed)
}
