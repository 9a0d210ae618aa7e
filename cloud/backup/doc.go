// Package backup copies what a site has into a store, so that it can be brought
// back on an empty machine: the databases of InfluxDB day by day, the files of the
// roles, and, encrypted only, what is secret.
//
// A backup is whole: it holds every day, but a day that has not changed since the
// one before is the same file. Which days have changed the ledger's feed tells,
// however late readings came; what is not in the ledger is watched by its age, and
// all days are counted from time to time. The ledger itself is read before the
// readings, and up to a moment that has passed, so that a restored ledger claims
// no reading that the backup lacks.
//
// A run can be killed at any moment. A backup is there once its manifest is, which
// is written last, after all that is new was read back and compared.
package backup
