package inventory

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/wattline/wattline/shared/device"
)

const maxSeries = 10_000 // places of one series

// seriesKeys are those of a row or a grid of places: first and the ids that
// follow it, count of them or rows times columns, at first_address and the
// addresses that follow it, row by row.
var seriesKeys = []string{"first", "count", "rows", "columns", "first_address", "gateway", "driver"}

// shape is how many places a series has, and in how many columns.
type shape struct{ count, rows, columns int }

// series takes the places of a series in.
func (y *yamlFile) series(e entry) {
	e.key = e.values["first"]
	first, ok := y.idOf(&e, "first")
	if !ok {
		return
	}
	var s shape
	before := y.count
	for name, to := range map[string]*int{"count": &s.count, "rows": &s.rows, "columns": &s.columns} {
		if err := setCount(to, e.values[name]); err != nil {
			y.add(e.at, name, "%v", err)
		}
	}
	address, port, err := firstAddress(e.values["first_address"])
	if err != nil {
		y.add(e.at, "first_address", "%v", err)
	}
	if y.count > before {
		return
	}
	n, err := s.places(first)
	if err == nil && len(y.file.places)+n > MaxPlaces {
		err = fmt.Errorf("more than %d places in the file", MaxPlaces)
	}
	if err != nil {
		y.add(e.at, "", "%v", err)
		return
	}
	for i := range n {
		id, err := s.follow(first, i)
		if err != nil || !address.IsValid() {
			y.add(e.at, "", "runs out of ids or addresses after %d places", i)
			return
		}
		values := map[string]string{"address": join(address, port)}
		for _, name := range []string{"gateway", "driver"} {
			if v := e.values[name]; v != "" {
				values[name] = v
			}
		}
		at := e.at
		at.names = map[string]string{"address": e.at.path + ".first_address"}
		y.file.places = append(y.file.places, entry{key: id.String(), values: values, at: at, bare: true})
		address = address.Next()
	}
}

// places is how many places the shape makes of a first id.
func (s shape) places(first device.ID) (n int, err error) {
	_, _, grid := first.Grid()
	n = s.count
	switch {
	case grid && (s.rows < 1 || s.columns < 1 || s.count != 0):
		return 0, fmt.Errorf("%s has a row and a column: want rows and columns, at least 1, and no count", first)
	case grid && (s.rows > maxSeries || s.columns > maxSeries):
		n = maxSeries + 1
	case grid:
		n = s.rows * s.columns
	case s.count < 1 || s.rows != 0 || s.columns != 0:
		return 0, fmt.Errorf("%s has a number: want a count of at least 1, and neither rows nor columns", first)
	}
	if n > maxSeries {
		return 0, fmt.Errorf("more than %d places", maxSeries)
	}
	return n, nil
}

// follow is the i-th id after first.
func (s shape) follow(first device.ID, i int) (device.ID, error) {
	text := first.String()
	if row, column, grid := first.Grid(); grid {
		at := strings.LastIndex(text, ".r")
		return device.Parse(fmt.Sprintf("%s.r%d.c%d", text[:at], row+i/s.columns, column+i%s.columns))
	}
	digits := len(text) - len(strings.TrimRight(text, "0123456789"))
	n, err := strconv.Atoi(text[len(text)-digits:])
	if err != nil {
		return device.ID{}, fmt.Errorf("count from %s: %w", text, err)
	}
	return device.Parse(text[:len(text)-digits] + strconv.Itoa(n+i))
}

func firstAddress(s string) (netip.Addr, string, error) {
	if s == "" {
		return netip.Addr{}, "", errors.New("required: the IP address of the first plug, or one with a port")
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = s, ""
	}
	address, err := netip.ParseAddr(host)
	if err != nil || port != "" && !ValidAddress(s) {
		return netip.Addr{}, "", fmt.Errorf("%.80q is not an IP address, or one with a port", s)
	}
	return address, port, nil
}

func join(address netip.Addr, port string) string {
	if port == "" {
		return address.String()
	}
	return net.JoinHostPort(address.String(), port)
}
