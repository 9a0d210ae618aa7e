package config

import (
	"encoding"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// scalar decodes text, booleans and numbers.
func (d *decoder) scalar(key string, n *yaml.Node, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if text, ok := d.plain(key, n); ok {
			v.SetString(text)
		}
	case reflect.Bool:
		// "yes" and "on" are text since YAML 1.2; taking them for true here
		// would make "no" as the name of a place false elsewhere.
		if n.ShortTag() != "!!bool" || (n.Value != "true" && n.Value != "false") {
			d.add(key, n, "want true or false, got %s", got(n))
			return
		}
		v.SetBool(n.Value == "true")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		d.whole(key, n, v)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		d.positive(key, n, v)
	case reflect.Float32, reflect.Float64:
		d.number(key, n, v)
	default:
		d.add(key, n, "cannot be configured: it is a %s (this is a bug of the program)", v.Type())
	}
}

// plain gives the text of a scalar as it is written: a number stands for its
// digits, so that an id or a password of digits needs no quotes.
func (d *decoder) plain(key string, n *yaml.Node) (text string, ok bool) {
	if n.Kind == yaml.ScalarNode {
		switch n.ShortTag() {
		case "!!str", "!!int", "!!float", "!!timestamp":
			return n.Value, true
		case "!!null":
			d.add(key, n, "has no value; leave the key out for the default, or write \"\"")
			return "", false
		case "!!bool":
			d.add(key, n, "want text, got %s; put it in quotes", n.Value)
			return "", false
		}
	}
	d.add(key, n, "want text, got %s", what(n))
	return "", false
}

// whole decodes a whole number. Only decimal digits are taken: 010 is eight to
// one reader of YAML and ten to another.
func (d *decoder) whole(key string, n *yaml.Node, v reflect.Value) {
	i, err := strconv.ParseInt(n.Value, 10, 64)
	if !isWhole(n) || err != nil || v.OverflowInt(i) {
		bits := v.Type().Bits() - 1
		d.add(key, n, "want a whole number from %d to %d, got %s", -1<<bits, uint64(1)<<bits-1, got(n))
		return
	}
	v.SetInt(i)
}

func (d *decoder) positive(key string, n *yaml.Node, v reflect.Value) {
	u, err := strconv.ParseUint(n.Value, 10, 64)
	if !isWhole(n) || err != nil || v.OverflowUint(u) {
		d.add(key, n, "want a whole number from 0 to %d, got %s", uint64(math.MaxUint64)>>(64-v.Type().Bits()), got(n))
		return
	}
	v.SetUint(u)
}

// isWhole tells whether n is an unquoted number without a leading zero.
func isWhole(n *yaml.Node) bool {
	digits := n.Value
	if len(digits) > 1 && digits[0] == '-' {
		digits = digits[1:]
	}
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!int" && (digits == "0" || !strings.HasPrefix(digits, "0"))
}

func (d *decoder) number(key string, n *yaml.Node, v reflect.Value) {
	tag := n.ShortTag()
	f, err := strconv.ParseFloat(n.Value, v.Type().Bits())
	if n.Kind != yaml.ScalarNode || (tag != "!!float" && tag != "!!int") || err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		d.add(key, n, "want a number, got %s", got(n))
		return
	}
	v.SetFloat(f)
}

func (d *decoder) duration(key string, n *yaml.Node, v reflect.Value) {
	if n.Kind == yaml.ScalarNode {
		switch n.ShortTag() {
		case "!!int", "!!float":
			d.add(key, n, "%s has no unit; write 10s, 5m or 1h30m", show(n.Value))
			return
		case "!!str":
			if t, err := time.ParseDuration(n.Value); err == nil {
				v.SetInt(int64(t))
				return
			}
		}
	}
	d.add(key, n, "want a duration such as 10s, 5m or 1h30m, got %s", got(n))
}

// text hands a scalar to a type that parses itself.
func (d *decoder) text(key string, n *yaml.Node, v reflect.Value) {
	text, ok := d.plain(key, n)
	if !ok {
		return
	}
	u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr())
	if !ok { // value has asked
		return
	}
	if err := u.UnmarshalText([]byte(text)); err != nil {
		d.add(key, n, "%w", err)
	}
}

// got names what stands in the file where something else belongs; the value of
// a number, boolean or word is shown.
func got(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		return what(n)
	}
	return show(n.Value)
}
