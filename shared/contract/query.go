package contract

import "github.com/wattline/wattline/shared/device"

// Series is one line of an answer to a query: the values of one group.
type Series struct {
	Measurement string `json:"measurement"`
	Unit        string `json:"unit,omitempty"`
	// Group holds what the series was grouped by: id, type, floor, row, column.
	Group  map[string]string `json:"group,omitempty"`
	Points []Point           `json:"points"`
}

// Point is a time and a value; a nil Value is an empty window.
type Point struct {
	Time  device.Micros `json:"t"`
	Value *float64      `json:"v"`
	// ID is the device the point is of, where points of several are mixed.
	ID string `json:"id,omitempty"`
}
