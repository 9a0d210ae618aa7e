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

// Survey counts the values of a measurement, of all its fields, on each day that
// has some.
func Survey(ctx context.Context, db Querier, database string, m Measurement, until time.Time) (map[form.Date]int64, error) {
	days := make(map[form.Date]int64)
	q := fmt.Sprintf("SELECT count(*::field) FROM %s WHERE time >= 0 AND time < %d GROUP BY time(1d) fill(none)", influxql.Ident(m.Name), until.UnixNano())
	err := db.Query(ctx, database, q, func(_ string, _ map[string]string, columns []string, rows [][]any) error {
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
	if err != nil {
		return nil, fmt.Errorf("count the days of %s in %s: %w", m.Name, database, err)
	}
	return days, nil
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
