// Package archive keeps what the alerting must not forget: every alert from its
// beginning to its end, the rules, the maintenance windows, who changed what, and
// what the engine and the queues of receivers need to go on after a restart. It is
// one bbolt file; an alert and what its receivers are to be told are written in
// one transaction, so that a kill at any moment loses neither and repeats neither.
//
// A file that cannot be read is moved aside with a clear message, and a new one
// begun: alerting without its past is better than none. An entry that is damaged is
// left out, and the log says so. What has ended is kept until 400
// days after it began, who did what for as long, and 200,000 of each at most.
package archive
