// Package alertmanager tells Prometheus Alertmanager what fires, by its API v2, so
// that a site that has one can use its routing, silences and escalation.
//
// It hands on a state and no messages: everything that fires is pushed every
// minute, valid for four, and at once when something changes; what is over is
// pushed as resolved for as long as the state has it (five minutes), so that an
// instance that was away learns of it too. There is no queue, and none is needed:
// an Alertmanager that was down for a night gets what is true in the morning. If
// Wattline is gone for four minutes, Alertmanager takes its alerts for resolved; a
// dead man's switch belongs on that side.
//
// Each instance of a cluster is served by itself, as Alertmanager wants it, and a
// slow one holds up no other.
//
// # What is acknowledged or snoozed
//
// It is pushed like all else, with the annotation hushed. To leave it out, or to
// say it in a label, which is part of an alert's identity, would make Alertmanager
// tell everybody that the trouble is over, which is not so. Who routes with
// Alertmanager silences there.
package alertmanager
