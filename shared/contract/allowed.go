package contract

import "time"

// MaxAllowed is the most time that a command may have: who asked for something
// to be switched has gone by then.
const MaxAllowed = 5 * time.Minute

// Allowed is how long the gateway has for n switches when nobody says how long:
// standard, for a plug that is slow, and the pauses between the plugs that it
// switches on one after the other. At most MaxAllowed.
func (i GatewayInfo) Allowed(standard time.Duration, n int, on bool) time.Duration {
	if !on || n < 2 {
		return min(standard, MaxAllowed)
	}
	pause := time.Duration(min(max(i.StaggerMillis, 0), int(MaxAllowed.Milliseconds()))) * time.Millisecond
	if pause > 0 && time.Duration(n-1) > MaxAllowed/pause { // far more than any gateway has plugs
		return MaxAllowed
	}
	return min(standard+time.Duration(n-1)*pause, MaxAllowed)
}
