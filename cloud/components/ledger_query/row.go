package ledgerquery

import (
	"encoding/json"

	"github.com/wattline/wattline/shared/device"
)

// row is a row of InfluxDB's answer by column, and its series' tags.
type row map[string]any

func newRow(tags map[string]string, columns []string, values []any) row {
	r := make(row, len(tags)+len(columns))
	for k, v := range tags {
		r[k] = v
	}
	for i, column := range columns {
		if i < len(values) {
			r[column] = values[i]
		}
	}
	return r
}

// text gives a column that holds text; "" when it holds nothing.
func (r row) text(column string) string {
	s, _ := r[column].(string) // null is ""
	return s
}

// number gives a column that holds a whole number; 0 when it holds nothing.
func (r row) number(column string) int64 {
	n, _ := r[column].(json.Number) // null is 0
	v, _ := n.Int64()               // 0
	return v
}

func (r row) time() device.Micros { return device.Micros(r.number("time")) }
