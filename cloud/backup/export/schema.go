package export

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/wattline/wattline/cloud/backup/form"
	"github.com/wattline/wattline/cloud/influx/influxql"
)

// Querier asks InfluxDB; its times must be in nanoseconds.
type Querier interface {
	Query(ctx context.Context, database, influxql string, each func(name string, tags map[string]string, columns []string, rows [][]any) error) error
}

// Measurement is one of a database, and its fields.
type Measurement struct {
	Name   string
	Fields []Field // sorted by key
}

// Field is a field key with the types that its values have, sorted.
type Field struct {
	Key   string
	Types []string
}

// Databases lists those that are there, but for InfluxDB's own.
func Databases(ctx context.Context, db Querier) (names []string, err error) {
	err = firstColumn(ctx, db, "", "SHOW DATABASES", func(name string) {
		if !strings.HasPrefix(name, "_") {
			names = append(names, name)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list the databases: %w", err)
	}
	slices.Sort(names)
	return names, nil
}

// Policies lists the retention policies of a database that are not its default,
// whose points are not exported.
func Policies(ctx context.Context, db Querier, database string) (others []string, err error) {
	err = db.Query(ctx, database, "SHOW RETENTION POLICIES", func(_ string, _ map[string]string, columns []string, rows [][]any) error {
		name, standard := slices.Index(columns, "name"), slices.Index(columns, "default")
		for _, row := range rows {
			if name >= 0 && standard >= 0 && row[standard] == false {
				others = append(others, fmt.Sprint(row[name]))
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the retention policies of %s: %w", database, err)
	}
	return others, nil
}

// Schema lists the measurements of a database by name.
func Schema(ctx context.Context, db Querier, database string) ([]Measurement, error) {
	types := make(map[string]map[string][]string)
	err := db.Query(ctx, database, "SHOW FIELD KEYS", func(name string, _ map[string]string, _ []string, rows [][]any) error {
		for _, row := range rows {
			key, _ := row[0].(string)
			kind, _ := row[1].(string)
			if types[name] == nil {
				types[name] = make(map[string][]string)
			}
			types[name][key] = append(types[name][key], kind)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the measurements of %s: %w", database, err)
	}
	var list []Measurement
	for _, name := range slices.Sorted(maps.Keys(types)) {
		m := Measurement{Name: name}
		for _, key := range slices.Sorted(maps.Keys(types[name])) {
			kinds := types[name][key]
			slices.Sort(kinds)
			m.Fields = append(m.Fields, Field{key, slices.Compact(kinds)})
		}
		list = append(list, m)
	}
	return list, nil
}

// surveyStep is how much is counted by one query, so that InfluxDB answers in time
// however long the history is.
const surveyStep = 7 * 24 * time.Hour

// Survey counts the values of a measurement, of all its fields, on each day from
// that of one time until another that has some.
func Survey(ctx context.Context, db Querier, database, measurement string, from, until time.Time) (map[form.Date]int64, error) {
	days := make(map[form.Date]int64)
	for at := from.UTC().Truncate(24 * time.Hour); at.Before(until); at = at.Add(surveyStep) {
		end := at.Add(surveyStep)
		if end.After(until) {
			end = until
		}
		if err := count(ctx, db, database, measurement, at, end, days); err != nil {
			return nil, fmt.Errorf("count the days of %s in %s: %w", measurement, database, err)
		}
	}
	return days, nil
}

func count(ctx context.Context, db Querier, database, measurement string, from, until time.Time, days map[form.Date]int64) error {
	q := fmt.Sprintf("SELECT count(*::field) FROM %s WHERE time >= %d AND time < %d GROUP BY time(1d) fill(none)", influxql.Ident(measurement), from.UnixNano(), until.UnixNano())
	return db.Query(ctx, database, q, func(_ string, _ map[string]string, columns []string, rows [][]any) error {
		for _, row := range rows {
			at, err := whole(row[0])
			if err != nil {
				return err
			}
			for i := 1; i < len(columns); i++ {
				if row[i] == nil {
					continue
				}
				n, err := whole(row[i])
				if err != nil {
					return err
				}
				if n > 0 {
					days[form.DateOf(time.Unix(0, at))] += n
				}
			}
		}
		return nil
	})
}

// First is the time of the first point of a measurement; ok is false where it has
// none.
func First(ctx context.Context, db Querier, database string, m Measurement) (first time.Time, ok bool, err error) {
	for _, f := range m.Fields {
		q := fmt.Sprintf("SELECT first(%s) FROM %s", influxql.Ident(f.Key), influxql.Ident(m.Name))
		err := db.Query(ctx, database, q, func(_ string, _ map[string]string, _ []string, rows [][]any) error {
			at, err := whole(rows[0][0])
			if t := time.Unix(0, at); err == nil && (!ok || t.Before(first)) {
				first, ok = t, true
			}
			return err
		})
		if err != nil {
			return first, false, fmt.Errorf("find the first of %s in %s: %w", m.Name, database, err)
		}
	}
	return first, ok, nil
}

// firstColumn gives the first column of an answer.
func firstColumn(ctx context.Context, db Querier, database, q string, each func(string)) error {
	return db.Query(ctx, database, q, func(_ string, _ map[string]string, _ []string, rows [][]any) error {
		for _, row := range rows {
			if text, ok := row[0].(string); ok {
				each(text)
			}
		}
		return nil
	})
}
