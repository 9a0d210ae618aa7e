package status

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// View is everything that the page shows, at one moment: Status.Time. While
// Status.Clock is not set, all times count from the boot of the machine.
type View struct {
	// Status is what the gateway tells the cloud.
	Status  contract.Status `json:"status"`
	Floor   int             `json:"floor"`
	Started device.Micros   `json:"started"`
	Cloud   Cloud           `json:"cloud"`
	// DiskFree is the room on the outbox's disk, DiskReserve what the outbox
	// leaves to others; bytes, 0 where not known.
	DiskFree    int64  `json:"disk_free_bytes,omitempty"`
	DiskReserve int64  `json:"disk_reserve_bytes,omitempty"`
	Plugs       []Plug `json:"plugs"`
	// Found are the plugs around, those of places included; nil until they were
	// looked for.
	Found *contract.Found `json:"found"`
	// Summary is the sentence at the top; the server fills it in.
	Summary string `json:"summary"`
}

// Cloud is the connection to the broker.
type Cloud struct {
	Reachable bool          `json:"reachable"`
	Since     device.Micros `json:"since"` // that it is, or is not
	Broker    string        `json:"broker,omitempty"`
	Err       string        `json:"err,omitempty"` // of the last attempt
	// LastReceipt is when the storing hook last answered for readings.
	LastReceipt *device.Micros `json:"last_receipt,omitempty"`
}

// Plug is how one plug is.
type Plug struct {
	Device          device.ID      `json:"device"`
	Offline         bool           `json:"offline"`
	Failures        int            `json:"failures,omitempty"` // in a row
	Reason          string         `json:"reason,omitempty"`
	Detail          string         `json:"detail,omitempty"`
	Since           *device.Micros `json:"since,omitempty"` // the first of the failures
	Last            *device.Micros `json:"last_success"`
	Power           *device.Watts  `json:"power_w"`
	On              *bool          `json:"on"`
	IntervalSeconds float64        `json:"interval_s"`
	Missed          int            `json:"missed,omitempty"`   // ticks
	Suspects        int            `json:"suspects,omitempty"` // implausible fields
	Protected       string         `json:"protected,omitempty"`
}

// State is one word for how the plug is: ok, failing, offline, or waiting before
// the first answer.
func (p Plug) State() string {
	switch {
	case p.Offline:
		return "offline"
	case p.Failures > 0:
		return "failing"
	case p.Last == nil:
		return "waiting"
	default:
		return "ok"
	}
}

// HasMore reports whether there is more to tell than fits into the plug's line.
func (p Plug) HasMore() bool {
	return p.Failures > 0 || p.Suspects > 0 || p.Missed > 0 || p.Protected != ""
}

// summary says in a sentence whether the cloud hears this gateway and what waits
// for it.
func summary(v *View) string {
	var b strings.Builder
	if v.Cloud.Reachable {
		b.WriteString("cloud reachable since ")
	} else {
		b.WriteString("cloud unreachable since ")
	}
	fmt.Fprintf(&b, "%s (%s)", v.moment(v.Cloud.Since), v.span(v.Cloud.Since))
	o := v.Status.Outbox
	switch o.Readings {
	case 0:
		b.WriteString(", no readings waiting")
	case 1:
		b.WriteString(", 1 reading waiting")
	default:
		b.WriteString(", " + count(o.Readings) + " readings waiting")
	}
	if o.Oldest != nil {
		fmt.Fprintf(&b, ", oldest of %s", v.moment(*o.Oldest))
	}
	if o.Unclocked > 0 {
		fmt.Fprintf(&b, ", %s of them until the clock is set", count(o.Unclocked))
	}
	return b.String()
}

// moment is a time as people read it, in the gateway's zone.
func (v *View) moment(m device.Micros) string {
	if !v.Status.Clock.Set {
		return span(m.Time().Sub(time.Unix(0, 0))) + " after boot"
	}
	at, now := m.Time().Local(), v.Status.Time.Time().Local()
	if at.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return at.Format("15:04:05")
	}
	return at.Format("2006-01-02 15:04:05")
}

// span is the time from m to now.
func (v *View) span(m device.Micros) string {
	return span(time.Duration(v.Status.Time-m) * time.Microsecond)
}

// span is a duration with the two units that matter.
func span(d time.Duration) string {
	d = max(d, 0)
	switch s := int64(d / time.Second); {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%d h %d min", s/3600, s%3600/60)
	default:
		return fmt.Sprintf("%d d %d h", s/86400, s%86400/3600)
	}
}

// count is a number with its thousands apart.
func count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// bytes is a size in the unit that fits.
func bytes(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	size, prefixes := float64(n)/unit, "kMGTPE"
	for size >= unit && len(prefixes) > 1 {
		size, prefixes = size/unit, prefixes[1:]
	}
	return fmt.Sprintf("%.1f %cB", size, prefixes[0])
}
