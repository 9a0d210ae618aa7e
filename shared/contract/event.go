package contract

import "github.com/wattline/wattline/shared/device"

// The kinds of events.
const (
	EventState   = "state"   // the newest reading of a place, or that it has none any more
	EventGateway = "gateway" // whether a gateway is online, and how many of its plugs are reached
	EventAlert   = "alert"   // what fires, or does not any more
	// EventReset says that what follows is everything as it is now, up to
	// EventCurrent: what was known before is to be forgotten.
	EventReset   = "reset"
	EventCurrent = "current"
)

// Event is something that happens, as people who watch are told.
type Event struct {
	// ID names the position in the stream; empty for what has none, such as the
	// parts of a state as it is now.
	ID   string
	Kind string
	// Device is of a state or an alert about a place, else zero; Gateway of a state
	// or of a gateway's event; Floor of an alert that names one.
	Device  device.ID
	Gateway string
	Floor   *int
	Data    []byte // one JSON object on one line
}
