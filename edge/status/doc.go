// Package status is the gateway's own page, for whoever stands beside the box
// with a phone while the cloud is away: what is waiting and since when, how the
// plugs are, what the clock says.
//
// It reads and never changes anything, listens on loopback only, needs nothing
// from outside (no scripts, no fonts), and cannot hold up the gateway: requests,
// connections and their time are bounded. The page is at /, the same as JSON at
// /status.json; /healthz and /metrics are for machines.
package status
