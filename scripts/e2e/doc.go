// Package e2e proves, with real processes, that nothing accepted is lost.
//
// Each test builds a small site: numbered plugs, gateways (wattline-edge), a
// broker, the cloud (wattline-cloud) and a real InfluxDB, with proxies between
// them where cables are to be cut. It does harm, by SIGKILL, by a full disk, by
// a cut cable; then it heals everything, lets the outboxes drain, and counts by
// queries to InfluxDB.
//
// # What is counted, and against what
//
// The n-th answer of a plug reads n Wh, so every reading has a name: plug and n.
// A reading is accepted when its batch is committed to the outbox. What was
// accepted is known from three witnesses that do not rely on each other:
//
//   - Whenever a gateway has been killed, and at the end, a copy of its outbox
//     file is opened. It names the last batch that the run committed, and holds
//     what nobody has receipted yet. Every batch from 1 to the last one of every
//     run must be stored, and every reading of the copies.
//   - The batches say how many readings they have. Over all ledger entries this
//     must be the number of readings in InfluxDB.
//   - The numbers of a plug must have no gap but where the gateway was killed,
//     and there no longer than a commit takes: an answer of the last second was
//     never accepted.
//
// Doubled is a number that is there twice. Missing is what the ledger itself
// says, which must agree: by REST (GET /api/v1/ledger).
//
// SIGKILL proves that a process may end at any moment. It does not prove the
// same of the power: the kernel keeps what was written.
//
// # How to run it
//
// The short form is part of make test. make e2e runs the long form
// (WATTLINE_LONG=1). Counts are set by WATTLINE_KILLS and WATTLINE_BACKLOG
// (readings); WATTLINE_SEED replays what a test printed; WATTLINE_E2E_RACE=1
// builds the programs with the race detector; WATTLINE_E2E_LOGS names a
// directory that keeps the logs.
package e2e
