package mail

import "time"

// SetPatience stands in for a quarter of an hour.
func (s *Sender) SetPatience(d time.Duration) { s.patience = d }
