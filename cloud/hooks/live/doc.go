// Package live tells those who watch what happens now: newest readings, gateways
// that come and go, alerts. The api makes server-sent events of it.
//
// A [Hub] keeps the last events in a ring, and everything as it is now. Who
// follows it has a position in the ring and no queue of his own, so that a
// thousand slow ones cost what a thousand positions do; whom the ring overtakes
// is dropped and counted. Who comes back with the id of the last event that he
// has seen goes on behind it. Where that cannot be, because the ring has gone on,
// the process is another or the id is none, and for who comes first, the stream
// begins with an event "reset"; then comes everything as it is now, without ids,
// then "current", whose id is the position behind it.
//
// What comes faster than it can be looked at is shed and counted; the next reading
// of a plug repairs that.
//
// Events come at most 50 ms late, so that a busy floor wakes nobody a thousand
// times a second. An event that changes nothing is not told.
package live
