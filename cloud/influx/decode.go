package influx

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxValue bounds one row, or any other single part of an answer, in bytes.
const maxValue = 16 << 20

type eachFunc = func(name string, tags map[string]string, columns []string, rows [][]any) error

// decoder reads the answer to a query: one JSON document after another, each
//
//	{"results": [{"statement_id": 0, "series": [{"name", "tags", "columns", "values"}], "partial": true}]}
//
// and hands rows over as they come. It holds chunkRows rows at most.
type decoder struct {
	in   *bounded
	json *json.Decoder
	each eachFunc

	failed  string // what InfluxDB said went wrong
	stopped error  // what each returned
	partial bool   // more documents must follow
}

func newDecoder(r io.Reader, each eachFunc) *decoder {
	in := &bounded{from: r}
	d := &decoder{in: in, json: json.NewDecoder(in), each: each}
	d.json.UseNumber()
	return d
}

// bounded fails when one value needs more than maxValue bytes.
type bounded struct {
	from io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("a value of more than %d bytes", maxValue)
	}
	n, err := b.from.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

var errBroken = errors.New("the answer breaks off")

// run reads to the end of the answer.
func (d *decoder) run() error {
	documents := 0
	for {
		err := d.document()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err
		}
		documents++
	}
	if documents == 0 || d.partial {
		return errBroken
	}
	return nil
}

// document reads one document; io.EOF where there is none any more.
func (d *decoder) document() error {
	start, err := d.token()
	if err != nil {
		return err
	}
	if start != json.Delim('{') {
		return fmt.Errorf("the answer has %v, want an object", start)
	}
	return inside(d.members(func(key string) error {
		switch key {
		case "results":
			d.partial = false
			return d.list(d.result)
		case "error":
			return d.fail()
		default:
			return d.skip()
		}
	}))
}

func (d *decoder) result() error {
	return d.object(func(key string) error {
		switch key {
		case "series":
			return d.list(d.series)
		case "error":
			return d.fail()
		case "partial":
			return d.value(&d.partial)
		default:
			return d.skip()
		}
	})
}

func (d *decoder) series() error {
	var name string
	var tags map[string]string
	var columns []string
	return d.object(func(key string) error {
		switch key {
		case "name":
			return d.value(&name)
		case "tags":
			return d.value(&tags)
		case "columns":
			return d.value(&columns)
		case "values":
			// InfluxDB writes them last. Nobody could use rows without names.
			if columns == nil {
				return errors.New("the answer has rows before their columns")
			}
			return d.rows(name, tags, columns)
		default:
			return d.skip()
		}
	})
}

func (d *decoder) rows(name string, tags map[string]string, columns []string) error {
	var rows [][]any
	hand := func() error {
		if len(rows) == 0 {
			return nil
		}
		d.stopped = d.each(name, tags, columns, rows)
		rows = nil
		return d.stopped
	}
	err := d.list(func() error {
		row := make([]any, 0, len(columns))
		if err := d.value(&row); err != nil {
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

// fail reads what InfluxDB says went wrong and ends the reading.
func (d *decoder) fail() error {
	if err := d.value(&d.failed); err != nil {
		return err
	}
	if d.failed == "" {
		d.failed = "no reason given"
	}
	return errors.New(d.failed)
}

// object reads an object, calling member for each key to read its value.
func (d *decoder) object(member func(key string) error) error {
	start, err := d.token()
	if err != nil {
		return inside(err)
	}
	if start != json.Delim('{') {
		return fmt.Errorf("the answer has %v, want an object", start)
	}
	return inside(d.members(member))
}

func (d *decoder) members(member func(key string) error) error {
	for d.json.More() {
		token, err := d.token()
		if err != nil {
			return err
		}
		key, ok := token.(string)
		if !ok {
			return fmt.Errorf("the answer has %v, want a key", token)
		}
		if err := member(key); err != nil {
			return err
		}
	}
	_, err := d.token()
	return err
}

// list reads an array, or null, calling item to read each of its values.
func (d *decoder) list(item func() error) error {
	start, err := d.token()
	if err != nil {
		return inside(err)
	}
	if start == nil {
		return nil
	}
	if start != json.Delim('[') {
		return fmt.Errorf("the answer has %v, want a list", start)
	}
	for d.more() {
		if err := item(); err != nil {
			return err
		}
	}
	_, err = d.token()
	return inside(err)
}

func (d *decoder) more() bool {
	d.in.left = maxValue
	return d.json.More()
}

func (d *decoder) token() (json.Token, error) {
	d.in.left = maxValue
	return d.json.Token()
}

func (d *decoder) value(into any) error {
	d.in.left = maxValue
	return inside(d.json.Decode(into))
}

func (d *decoder) skip() error {
	var ignored json.RawMessage
	return d.value(&ignored)
}

// inside tells an end in the middle of a document from one between two.
func inside(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
