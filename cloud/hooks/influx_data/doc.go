// Package influxdata is the storing hook: it takes what agents publish on
// data/+/influx_data/# and writes it into InfluxDB.
//
// The guarantee is an order: readings are written first; when InfluxDB said yes
// the ledger is; when that said yes too, the source gets its receipt. So an
// entry of the ledger implies stored readings, and a receipt implies an entry.
// Whatever fails on the way, nothing is said, and the source sends again.
// Storing twice is harmless: a record becomes a point by a pure function of
// topic and payload ([Points]), so the second time writes the same point.
//
// Content that InfluxDB or the rules of records refuse goes whole into the
// quarantine, is receipted as such, and can be replayed.
//
// Each source is held to [Limits], so that one gone wrong neither floods InfluxDB
// with series nor keeps the others waiting. Beyond them a message is not taken
// now, and nothing is said, or goes into the quarantine; what a record becomes
// they never change. What every source sent is entered in [SourceMeasurement].
package influxdata
