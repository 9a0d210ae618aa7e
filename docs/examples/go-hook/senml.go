package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// mostBytes is what a payload may inflate to.
const mostBytes = 4 << 20

var errMalformed = errors.New("malformed message")

// reading is one SenML record, resolved.
type reading struct{ time, device, measurement, value, unit string }

// record is one SenML record as it is written (RFC 8428, section 4).
type record struct {
	BaseName  string      `json:"bn"`
	BaseTime  json.Number `json:"bt"`
	BaseUnit  string      `json:"bu"`
	BaseValue *float64    `json:"bv"`
	Name      string      `json:"n"`
	Unit      string      `json:"u"`
	Time      json.Number `json:"t"`
	Value     *float64    `json:"v"`
	Bool      *bool       `json:"vb"`
	Text      *string     `json:"vs"`
	Data      *string     `json:"vd"`
}

// decode reads the readings of a payload.
func decode(payload []byte) ([]reading, error) {
	text, err := inflate(payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	var envelope struct {
		Data []record `json:"data"`
	}
	if err := json.Unmarshal(text, &envelope); err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	var base record
	var readings []reading
	for i, r := range envelope.Data {
		base = base.moved(r)
		value := base.valueOf(r)
		if value == "" {
			continue // base fields only
		}
		cut := strings.LastIndexByte(base.BaseName+r.Name, '/')
		at, ok := sum(base.BaseTime, r.Time)
		if cut < 1 || !ok {
			return nil, fmt.Errorf("%w: record %d has no name or no time", errMalformed, i)
		}
		name, unit := base.BaseName+r.Name, r.Unit
		if unit == "" {
			unit = base.BaseUnit
		}
		readings = append(readings, reading{at, name[:cut], name[cut+1:], value, unit})
	}
	return readings, nil
}

// moved gives the base fields that hold from record r on.
func (base record) moved(r record) record {
	if r.BaseName != "" {
		base.BaseName = r.BaseName
	}
	if r.BaseTime != "" {
		base.BaseTime = r.BaseTime
	}
	if r.BaseUnit != "" {
		base.BaseUnit = r.BaseUnit
	}
	if r.BaseValue != nil {
		base.BaseValue = r.BaseValue
	}
	return base
}

func (base record) valueOf(r record) string {
	switch {
	case r.Value != nil && base.BaseValue != nil:
		return fmt.Sprint(*base.BaseValue + *r.Value)
	case r.Value != nil:
		return fmt.Sprint(*r.Value)
	case r.Bool != nil:
		return fmt.Sprint(*r.Bool)
	case r.Text != nil:
		return *r.Text
	case r.Data != nil:
		return *r.Data
	}
	return ""
}

// sum adds two times as decimals: as floating point numbers they would lose
// microseconds.
func sum(a, b json.Number) (string, bool) {
	total := new(big.Rat)
	for _, n := range []json.Number{a, b} {
		if n == "" {
			continue
		}
		v, ok := new(big.Rat).SetString(n.String())
		if !ok || len(n) > 40 || strings.ContainsAny(n.String(), "eE") {
			return "", false
		}
		total.Add(total, v)
	}
	return total.FloatString(6), total.Sign() > 0
}

// inflate undoes zstd and gzip, told by their first bytes.
func inflate(payload []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(payload, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(mostBytes))
		if err != nil {
			return nil, err
		}
		defer d.Close()
		return d.DecodeAll(payload, nil)
	case bytes.HasPrefix(payload, []byte{0x1f, 0x8b}):
		r, err := gzip.NewReader(bytes.NewReader(payload))
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(io.LimitReader(r, mostBytes+1))
		if len(text) > mostBytes {
			return nil, errors.New("it inflates to more than 4 MiB")
		}
		return text, err
	}
	return payload, nil
}
