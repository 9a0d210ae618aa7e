// Package client speaks to the REST API of a cloud for the programs of
// provisioning: one request at a time, each under a deadline, over TLS where the
// server is on another machine.
//
// It guarantees that a token is never sent in the clear beyond this machine, that
// no answer takes more memory than [MaxAnswer], and that what goes wrong is an
// error that says what was wanted, of whom, and what to do: [*ProblemError] for what
// the server answers, [*AwayError] where there is no answer. Nothing is repeated by
// itself: a request may have been carried out although its answer was lost.
package client
