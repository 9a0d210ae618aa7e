// Package alerting is the role that tells people what is wrong: once, with the
// cause rather than its symptoms, and never because yesterday's data came late.
//
//	bus -> signals -> engine -> archive -> queues of receivers -> mail, webhooks
//	       samples    changes   one transaction       |
//	                                                  +-> alerts/<rule>/<subject>
//
// Samples and time go into the engine under one lock; what it changes is on the
// disk before anybody is told. When the disk takes nothing, changes wait in memory
// and nobody is told until they are written. It runs once; everything else learns
// what fires from alerts/..., retained, and asks on query/alerting/... and
// command/alerting/....
package alerting
