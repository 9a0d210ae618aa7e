// Package hs110 speaks the local protocol of TP-Link's HS110 smart plug and of
// its Kasa relatives: the bytes on the wire, the questions, and what the answers
// mean in watts, volts, amperes and watt-hours.
//
// A [Client] asks one plug over TCP, one connection per question, and gives
// either a value that the plug really sent and that can be true, or an error of
// a known class: a field that is absent stays absent, a field with an impossible
// value is handed over as a [device.Suspect], an answer cut short is never
// parsed. Nothing a plug sends can make a call panic, outlast its time limit or
// hold more than [MaxBody] bytes.
//
// The package keeps no state about a plug and does not serialise questions: a
// plug serves one connection at a time, and whoever owns the plug sees to that.
//
// # On the wire
//
// A question is a JSON object of modules and members, such as
// {"system":{"get_sysinfo":{}}}, enciphered by an XOR whose key is the previous
// ciphertext byte, the first key being 171. On TCP port 9999 four bytes of
// length, big-endian, precede it; on UDP port 9999 the datagram is the body
// alone. There is no authentication.
package hs110
