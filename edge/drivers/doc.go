// Package drivers says what the gateway expects of a driver, and holds what
// drivers have in common.
//
// A driver is a package of its own beneath this one, for one generation of plugs,
// and one line in the composition root edge/gateway. It gives one value per plug,
// and that value goes to the collector and to the controller alike, which see it
// as a [Plug].
//
// What it guarantees to them:
//   - One question at a time reaches the plug, and a switch that waits goes before
//     polls that wait: [Queue].
//   - A reading is that of the plug which belongs to the place. Who answers is
//     checked against the identity that the configuration gives; where it gives
//     none, the first plug that answers is the one from then on, unless it is
//     another place's. Another plug's reading is an error, and another plug is
//     never switched.
//   - Each call ends soon after its context, and each attempt after a time of the
//     driver's own; all attempts of a poll together stay below the collector's 15
//     seconds.
//   - Power in W, voltage in V, current in A, energy in Wh. What the plug did not
//     send is nil; what can't be true is nil and in Suspects, with the plug's own
//     key and value; neither is ever a zero.
//   - What a switch returns was read back from the relay.
//   - Errors tell why in one of the words below. They never hold more of what the
//     plug sent than a short, printable piece.
//
// A driver measures no time, keeps no schedule, writes no log and remembers no
// readings: collector and controller do. It starts no goroutine that outlives the
// call, for nobody closes a driver: one whose plug was replaced is dropped.
package drivers

import (
	"context"

	"github.com/wattline/wattline/shared/device"
)

// Plug is a plug at a place, safe for concurrent use.
type Plug interface {
	// Poll reads the plug when its turn comes. What it gives may lack fields; an
	// empty measurement counts as garbage.
	Poll(ctx context.Context) (device.Measurement, error)
	// Switch sets the relay when its turn comes, and returns what the plug shows
	// afterwards; the caller compares. An error says that nothing is known of the
	// relay, or that the plug was not asked.
	Switch(ctx context.Context, on bool) (readBack bool, err error)
}

// The words that errors give by a method Reason() string. An error without one is
// that of a context that was cancelled, or ended before the plug's turn came.
const (
	Offline     = "offline"     // out of reach
	Refused     = "refused"     // there, but takes no connection or no question: hung, or busy
	Silent      = "silent"      // takes the connection, gives no whole answer
	Locked      = "locked"      // asks for a secret, or has its local protocol closed
	Garbage     = "garbage"     // answers nothing that can be understood
	Unsupported = "unsupported" // a plug, but it can't do what was asked
	WrongPlug   = "wrong plug"  // another plug than the one that belongs here
)
