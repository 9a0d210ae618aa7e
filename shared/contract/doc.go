// Package contract is the vocabulary of what Wattline's parts say to each other:
// the messages inside the envelopes of the bus, the retained documents, and the
// identifiers of batches.
//
// It holds types and their text forms, no behaviour of any part. Times are
// [device.Micros], in JSON POSIX seconds with up to six decimals.
package contract
