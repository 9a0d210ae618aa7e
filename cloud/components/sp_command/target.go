package spcommand

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

const (
	workplace  = "w"
	maxTargets = 1000 // of one command
)

// target is one of the things that a command names: a place, or places with
// something in common.
type target struct {
	text string // as it was asked for
	id   device.ID
	// A group has a floor, a row, a column, a type, or several of them.
	group            bool
	byDefault        bool // on the default floor
	floor, row, line *int
	kind             string
}

// parseTargets reads what follows command/sp_command/ and the subtopics behind
// it. Empty levels mean nothing.
func parseTargets(subpath string, subtopics []string) ([]target, []mistake) {
	paths := []string{subpath}
	if len(subtopics) > 0 {
		paths = paths[:0]
		for _, s := range subtopics {
			paths = append(paths, subpath+"/"+s)
		}
	}
	var targets []target
	var mistakes []mistake
	if len(paths) > maxTargets {
		return nil, []mistake{{"", fmt.Sprintf("more than %d targets", maxTargets)}}
	}
	for _, path := range paths {
		levels := slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" })
		t, err := parseTarget(levels)
		t.text = strings.Join(levels, "/")
		if err != nil {
			mistakes = append(mistakes, mistake{t.text, err.Error()})
			continue
		}
		targets = append(targets, t)
	}
	return targets, mistakes
}

// mistake is a target that cannot be commanded, and why.
type mistake struct{ target, reason string }

func (m mistake) Error() string {
	if m.target == "" {
		return m.reason
	}
	return fmt.Sprintf("%.80s: %s", m.target, m.reason)
}

func parseTarget(levels []string) (t target, err error) {
	switch {
	case len(levels) == 0:
		return t, errors.New("no target: want a device id, row/N, column/N, floor/F, type/T")
	case len(levels) == 1:
		return parsePlace(levels[0])
	case len(levels)%2 != 0 || len(levels) > 4:
		return t, errNoTarget
	}
	t.group, t.byDefault = true, true
	for i := 0; i < len(levels); i += 2 {
		name, value := levels[i], levels[i+1]
		switch {
		case name == "floor" && i == 0:
			t.byDefault = false
			t.floor, err = number(value, true)
		case (name == "row" || name == "column") && i == len(levels)-2:
			if t.row, err = number(value, false); name == "column" {
				t.row, t.line = nil, t.row
			}
			t.kind = workplace
		case name == "type" && i == len(levels)-2:
			t.kind = value
			t.byDefault = false
			if value == "" || strings.Trim(value, "abcdefghijklmnopqrstuvwxyz") != "" {
				err = fmt.Errorf("the type %.40q is not lower-case letters such as w, g, p", value)
			}
		default:
			err = errNoTarget
		}
		if err != nil {
			return t, err
		}
	}
	return t, nil
}

var errNoTarget = errors.New("no such kind of target: want a device id, row/N, column/N, floor/F, floor/F/row/N, floor/F/column/N, type/T or floor/F/type/T")

// parsePlace reads a device id; without a device type it is a smart plug's.
func parsePlace(text string) (target, error) {
	full := text
	if !strings.Contains(text, "_") {
		full = "sp_" + text
	}
	id, err := device.Parse(full)
	if err != nil { // told in the words of who asks
		return target{}, errors.New(strings.Replace(err.Error(), strconv.Quote(full), strconv.Quote(text), 1))
	}
	return target{id: id}, nil
}

func number(s string, negative bool) (*int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || s[0] == '+' || len(s) > 7 || n < 0 && !negative {
		return nil, fmt.Errorf("%.40q is no number of a floor, row or column", s)
	}
	return &n, nil
}

// selected gives the targets of a contract.Select: each id, or one group.
func selected(s *contract.Select, floors []int) ([]target, []mistake) {
	switch {
	case s == nil || len(s.IDs) == 0 && s.Floor == nil && s.Row == nil && s.Column == nil && s.Type == "":
		return nil, []mistake{{"select", "it names nothing: want ids, floor, row, column or type"}}
	case (s.Row != nil || s.Column != nil) && s.Floor == nil && len(floors) > 1:
		return nil, []mistake{{"select", fmt.Sprintf("a row or column needs a floor, there are %v", floors)}}
	case len(s.IDs) > maxTargets:
		return nil, []mistake{{"select", fmt.Sprintf("more than %d ids", maxTargets)}}
	}
	if (s.Row != nil || s.Column != nil) && s.Type != "" && s.Type != workplace {
		return nil, []mistake{{"select", "only workplaces (type w) have rows and columns"}}
	}
	group := target{text: "select", group: true, floor: s.Floor, row: s.Row, line: s.Column, kind: s.Type}
	if s.Row != nil || s.Column != nil {
		group.kind = workplace
	}
	if len(s.IDs) == 0 {
		return []target{group}, nil
	}
	var targets []target
	var mistakes []mistake
	for _, text := range s.IDs {
		t, err := parsePlace(text)
		t.text = text
		if err != nil {
			mistakes = append(mistakes, mistake{text, err.Error()})
			continue
		}
		// The rest of the selection must hold as well.
		t.floor, t.row, t.line, t.kind = group.floor, group.row, group.line, group.kind
		targets = append(targets, t)
	}
	return targets, mistakes
}

// holds tells whether a place, its floor spelled out, is one of a group.
func (t target) holds(id device.ID, defaultFloor int) bool {
	floor, _ := id.Floor()
	row, column, grid := id.Grid()
	switch {
	case t.byDefault && floor != defaultFloor, t.floor != nil && floor != *t.floor:
		return false
	case t.row != nil && (!grid || row != *t.row), t.line != nil && (!grid || column != *t.line):
		return false
	}
	return t.kind == "" || t.kind == id.PlaceType()
}
