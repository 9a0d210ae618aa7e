// Package controller is the agent that sends commands: it switches the plugs of
// a floor as [contract.GatewayCommand] asks, and tells how each switch ended.
//
// It guarantees that
//   - a command is carried out before its deadline or not at all, in this boot
//     or not at all, and once, however often it arrives;
//   - a protected place is never switched, whoever asks, and no older
//     configuration takes a protection away;
//   - of two commands for one device the later one has the last word;
//   - confirmed means that the relay was read back;
//   - every device of every command gets exactly one result, at its deadline at
//     the latest, and, where it is one of this floor, one account of it
//     ([contract.Switched]) for the audit.
//
// Commands that switch on do so one plug after the other, so that a row of
// computers does not trip the breaker; switching off happens at once. What waits
// and what is remembered is bounded.
package controller
