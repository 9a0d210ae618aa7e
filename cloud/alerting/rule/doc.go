// Package rule is what the alerting watches for, as people write it: rules over
// signals, and the calendars that say when a rule counts. It reads and checks,
// names every mistake, and has the rules with which a site starts; it watches
// nothing itself.
//
// Every rule has one form: a signal, which subjects, one condition, for how long.
// A dead gateway, a printer left on and a voltage out of band differ in data only,
// so that whoever has understood one has understood all.
package rule
