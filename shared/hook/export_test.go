package hook

import (
	"time"

	"github.com/wattline/wattline/shared/bus"
)

// Shortly tells whether a message is read the short way, which cannot be seen from
// outside: both give the same.
func (d *Decoder) Shortly(m bus.Message, now time.Time) bool {
	_, ok := d.shortly(m, now)
	return ok
}

// Answer is where a receipt may go.
func (d Delivery) Answer() string { return d.answer }

// Learned counts the names that a decoder remembers.
func (d *Decoder) Learned() int { return d.reader.Learned() }
