// Package inventory turns the records of a site (the site itself, its gateways,
// its places with their plugs) into files and files into records: CSV for
// spreadsheets, YAML for the whole site, and the dump of an IoToad's ETCD, which
// is read only.
//
// A file says something of each record, not everything: what it leaves out stays
// as it is, an empty value takes a value away, and what it does not name is
// removed only when that is asked for. [Parse] reads a file, [Make] says what
// would be after an import and how that differs from what is; both name every
// mistake with its line and column, and one mistake is enough for nothing to be
// done. Importing what [Format] has written changes nothing.
//
// Everything here is a pure function of its arguments, safe for concurrent use,
// and bounded by [MaxBytes] and [MaxPlaces].
package inventory
