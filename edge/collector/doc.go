// Package collector is the agent that fetches readings: it polls each plug of a
// floor on a schedule of the plug's own and hands what was measured to a [Sink].
//
// It guarantees that plugs do not wait for each other. A poll runs in a goroutine
// of its own, never two of one plug at once; a plug that is slow or dead loses
// its own ticks only. The ticks of a plug lie on a fixed grid with a random
// phase: a poll that starts late or takes long does not move it, ticks that
// passed meanwhile are skipped and counted. A plug that did not answer three
// times in a row is offline and asked after 10, 20, 40 and then every 60
// seconds, until it answers and returns to its grid.
//
// Memory is bounded by the number of plugs: one goroutine keeps the schedules,
// and only polls under way have a stack. How plugs are asked is the drivers'
// business ([Meter]).
package collector
