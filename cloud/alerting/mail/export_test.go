package mail

import (
	"time"

	"github.com/wattline/wattline/cloud/alerting/notify"
)

// SetPatience stands in for a quarter of an hour.
func (s *Sender) SetPatience(d time.Duration) { s.patience = d }

// Render is what goes over the wire.
func (s *Sender) Render(m notify.Message) ([]byte, error) { return s.render(m) }
