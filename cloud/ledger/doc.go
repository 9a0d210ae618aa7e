// Package ledger is the record of which batches are stored, and what it proves.
//
// Entries are only ever added: measurement batch of database wattline, tags
// gateway and instance (one run of a storing hook). Their time is when they
// were written, and grows strictly within an instance, so that a reader that
// keeps a position per instance misses none. Gateways' heads, from their
// statuses, are the measurement head: how far a gateway says it came.
//
// [State] draws the conclusions, from entries and heads in any order and any
// number of times: what is stored, waiting, dropped, missing. It claims that
// nothing is missing only where it has seen everything.
package ledger
