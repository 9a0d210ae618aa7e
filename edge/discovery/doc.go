// Package discovery finds the plugs that are around a gateway, and follows those
// that it is told of when their address changes.
//
// It asks by UDP: by broadcast each network that the machine is in, and address
// by address the ranges that it is given, for networks behind a router. Datagrams
// are lost, so each question goes out three times. They are forged easily, too:
// what answers by UDP only names an address. A plug is listed, and a plug of the
// configuration is said to have moved, when it has told who it is on a TCP
// connection to that address. Nothing but get_sysinfo is ever asked.
//
// A plug is known by its MAC and deviceId, never by its address or name. One that
// was not seen in three rounds, and does not answer by TCP either, has vanished.
// Plugs that their firmware has locked, and devices that do not measure, are
// listed as such.
//
// Whatever a network answers, memory, connections and log lines are bounded, and
// plugs that are being read well are left alone: a plug serves one connection at
// a time.
package discovery
