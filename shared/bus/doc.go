// Package bus is how the parts of Wattline speak over MQTT 3.1.1: connection,
// topics, envelope, request and answer.
//
// A [Link] is a connection that is made again, from nothing, whenever it is
// lost: clean session, empty store, nothing resent by the library. So nobody
// may rely on the broker or the library to keep a message; what must not be
// lost is kept by its sender until a receipt says that it is stored. A delivery
// may come twice, late, or never.
package bus
