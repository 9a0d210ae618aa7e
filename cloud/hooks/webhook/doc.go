// Package webhook is the hook that delivers what is stored to receivers over
// HTTP, signed, as SenML packs.
//
// It follows the ledger: an entry implies stored readings, so what is delivered
// is stored, and nothing that is stored and entered is skipped. In the steady
// state the readings come from the batches that the hook heard on the bus, kept
// in bounded memory until their entry appears; what is not there any more, after
// a restart or an outage of a receiver, is read from InfluxDB, by the time ranges
// that the entries name, united, in bounded pieces.
//
// Each receiver is a follower of its own: one that is dead, slow or refuses holds
// up nobody else, and costs the same memory however long it lasts. Before a
// request is sent it is on the disk, and after it was taken so is the position
// behind it: after a kill at any moment at most the last request is repeated,
// with the same bytes and the same id.
//
//	<data>/webhook/webhook.db      bbolt: bucket receivers, in it one bucket for each
//	    state                      JSON: position in the ledger, ranges still to read
//	    pending                    JSON: the requests under way, without their bodies
//	    next                       how many of them were taken
//	    body.<n>                   their bodies, zstd
//	<data>/webhook/positions.json  the states of a minute ago, for when the file is damaged
package webhook
