// Package export reads InfluxDB day by day as line protocol: the same points give
// the same bytes, in bounded memory, without taking more of the server than it is
// allowed.
//
// It gives what the default retention policy of a database has. A field that is an
// integer in one week and a float in another comes out as a float, as InfluxDB
// itself answers.
package export
