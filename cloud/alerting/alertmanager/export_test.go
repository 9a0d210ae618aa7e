package alertmanager

import "time"

// SetEvery stands in for a minute.
func (p *Pusher) SetEvery(d time.Duration) { p.every = d }
