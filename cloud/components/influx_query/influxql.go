package influxquery

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/wattline/wattline/cloud/influx/influxql"
	"github.com/wattline/wattline/shared/device"
)

// Statement is one SELECT and how to read its rows: time, value, then Extras.
type Statement struct {
	Text string
	// Extras are the columns behind the value: text, id, unit.
	Extras []string
	// Floor, when not "", is the floor of every group of the answer: points
	// that name it and points that name none.
	Floor string
}

// Statements gives the InfluxQL of the query, one SELECT each, to be run one
// after the other. defaultFloor is the site's; while it is not known, ids and
// floors match as they are written only.
//
// There is more than one when the answer is split by floor: what lies on the
// default floor, with and without a floor tag, is one group, which GROUP BY
// alone cannot say.
func (q Query) Statements(defaultFloor int, known bool) []Statement {
	b := builder{Query: q, where: q.filters(defaultFloor, known)}
	home := strconv.Itoa(defaultFloor)
	if !known || !q.grouped("floor") {
		if floors := q.floors(defaultFloor, known); len(floors) > 0 {
			b.where = append(b.where, oneOf(`"floor"`, floors))
		}
		return []Statement{b.statement("", q.GroupBy)}
	}
	var statements []Statement
	if len(q.Floors) == 0 || slices.Contains(q.Floors, defaultFloor) {
		at := b
		at.where = append(slices.Clone(b.where), oneOf(`"floor"`, []string{home, ""}))
		rest := slices.DeleteFunc(slices.Clone(q.GroupBy), func(tag string) bool { return tag == "floor" })
		statements = append(statements, at.statement(home, rest))
	}
	elsewhere := slices.DeleteFunc(texts(q.Floors), func(floor string) bool { return floor == home })
	switch {
	case len(elsewhere) > 0:
		b.where = append(b.where, oneOf(`"floor"`, elsewhere))
	case len(q.Floors) > 0:
		return statements
	default:
		b.where = append(b.where, `"floor" != '' AND "floor" != `+influxql.String(home))
	}
	return append(statements, b.statement("", q.GroupBy))
}

// filters are the conditions on tags other than the floor.
func (q Query) filters(defaultFloor int, known bool) []string {
	var where []string
	var ids []string
	for _, id := range q.IDs {
		spellings := []device.ID{id}
		if known {
			spellings = id.Spellings(defaultFloor)
		}
		for _, s := range spellings {
			if text := s.String(); !slices.Contains(ids, text) {
				ids = append(ids, text)
			}
		}
	}
	for _, filter := range []struct {
		name   string
		values []string
	}{{`"id"`, ids}, {`"type"`, q.Types}, {`"row"`, texts(q.Rows)}, {`"column"`, texts(q.Columns)}} {
		if len(filter.values) > 0 {
			where = append(where, oneOf(filter.name, filter.values))
		}
	}
	return where
}

// floors are the tag values that mean the floors asked for; "" is no tag.
func (q Query) floors(defaultFloor int, known bool) []string {
	floors := texts(q.Floors)
	if known && slices.Contains(q.Floors, defaultFloor) {
		floors = append(floors, "")
	}
	return floors
}

func texts(numbers []int) []string {
	var s []string
	for _, n := range numbers {
		s = append(s, strconv.Itoa(n))
	}
	return s
}

// manyValues is how many values a filter can have before it becomes a regular
// expression: InfluxDB 1.8.10 takes a second for two thousand alternatives, and
// ten milliseconds for an expression of as many.
const manyValues = 16

// plainForm is what can stand in a regular expression, but for the dot, as it is.
var plainForm = regexp.MustCompile(`^[a-z0-9_.\-]+$`)

// oneOf is a condition that one of the values satisfies, safe to join by AND.
func oneOf(name string, values []string) string {
	if len(values) > manyValues && !slices.ContainsFunc(values, func(v string) bool { return !plainForm.MatchString(v) }) {
		return name + " =~ /^(?:" + strings.ReplaceAll(strings.Join(values, "|"), ".", `\.`) + ")$/"
	}
	either := make([]string, len(values))
	for i, v := range values {
		either[i] = name + " = " + influxql.String(v)
	}
	return "(" + strings.Join(either, " OR ") + ")"
}

// builder writes one statement.
type builder struct {
	Query
	where []string // conditions on tags
}

func (b builder) statement(floor string, groups []string) Statement {
	if b.Operation == "integral" {
		return Statement{Text: b.integral(groups), Floor: floor}
	}
	extras := b.extras(groups)
	columns := []string{b.call(`"value"`)}
	for _, extra := range extras {
		columns = append(columns, `"`+extra+`"`)
	}
	text := "SELECT " + strings.Join(columns, ", ") + " FROM " + influxql.Ident(b.Measurement) +
		b.conditions() + b.grouping(groups, b.Fill) + b.tail()
	return Statement{Text: text, Extras: extras, Floor: floor}
}

// integral asks for the integral of each device in ascending order; see sums
// for the reasons. The points of one place are one line, however it is spelled.
func (b builder) integral(groups []string) string {
	if !b.single() && !slices.Contains(groups, "id") {
		groups = append(slices.Clone(groups), "id")
	}
	return "SELECT " + b.call(`"value"`) + " FROM " + influxql.Ident(b.Measurement) +
		b.conditions() + b.grouping(groups, "none") + b.zone()
}

// call is the function call of the operation on a column.
func (b builder) call(column string) string {
	switch {
	case b.Operation == "":
		return column
	case b.N != "":
		return b.Operation + "(" + column + ", " + b.N + ")"
	case b.Operation == "integral":
		return "integral(" + column + ", " + strconv.FormatInt(b.Unit.Microseconds(), 10) + "u)"
	default:
		return b.Operation + "(" + column + ")"
	}
}

// extras are the columns that InfluxQL allows beside the value and the answer
// has a use for. Points that have no value but a text are of no measurement of
// ours, and are given as they are when nothing is calculated.
func (b builder) extras(groups []string) []string {
	if !b.points() {
		return nil
	}
	var extras []string
	_, ours := unitOfMeasurement[b.Measurement]
	if b.Operation == "" && !ours && b.Format == SenML {
		extras = append(extras, "text")
	}
	if !b.single() && !slices.Contains(groups, "id") {
		extras = append(extras, "id")
	}
	if b.Operation == "" || !ours {
		extras = append(extras, "unit")
	}
	return extras
}

// conditions joins the conditions on tags and the bounds of time, inclusive.
func (b builder) conditions() string {
	where := slices.Clone(b.where)
	if b.From != nil {
		where = append(where, "time >= "+strconv.FormatInt(int64(*b.From), 10)+"u")
	}
	if b.To != nil {
		where = append(where, "time <= "+strconv.FormatInt(int64(*b.To), 10)+"u")
	}
	if len(where) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(where, " AND ")
}

func (b builder) grouping(tags []string, fill string) string {
	var by []string
	if b.windowed() {
		width := b.Every.String()
		if offset := b.Every.offset(); offset != 0 {
			width += ", " + strconv.FormatInt(offset.Microseconds(), 10) + "u"
		}
		by = append(by, "time("+width+")")
	}
	for _, tag := range tags {
		by = append(by, `"`+tag+`"`)
	}
	if len(by) == 0 {
		return ""
	}
	text := " GROUP BY " + strings.Join(by, ", ")
	if b.windowed() && fill != "" {
		text += " fill(" + fill + ")"
	}
	return text
}

func (b builder) tail() string {
	var text string
	if b.Descending {
		text = " ORDER BY time DESC"
	}
	if b.Limit > 0 {
		text += " LIMIT " + strconv.Itoa(b.Limit)
	}
	return text + b.zone()
}

func (b builder) zone() string {
	if !b.windowed() || b.Zone == "" {
		return ""
	}
	return " tz(" + influxql.String(b.Zone) + ")"
}
