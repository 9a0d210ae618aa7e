package notify

import (
	"context"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// Event is why an alert is in a message.
type Event string

// The events.
const (
	Began  Event = "began" // it fires
	Over   Event = "over"  // the receiver was told that it fires, and it does not any more
	Was    Event = "was"   // it fired and was over before the receiver could be told
	Still  Event = "still" // it fires on, and nobody has acknowledged it
	Flaps  Event = "flaps" // it comes and goes, and is only told of again when it stays away
	Trials Event = "trial" // somebody tries whether messages arrive
)

// Item is one alert in a message.
type Item struct {
	Event Event          `json:"event"`
	Alert contract.Alert `json:"alert"`
}

// Message is what one receiver is told at once.
type Message struct {
	// Key is the same whenever the message is sent again, and of no other.
	Key      string `json:"key"`
	Receiver string `json:"receiver"`
	Site     string `json:"site"`
	// At is when it was made.
	At device.Micros `json:"at"`
	// Items have what began first, the gravest first, then what is over.
	Items []Item `json:"items"`
	// Omitted counts items beyond MaxItems, and those that a full queue lost.
	Omitted int `json:"omitted,omitempty"`
	// Link is where all of it can be looked at; empty when nobody said where.
	Link string `json:"link,omitempty"`
}

// MaxItems bounds a message.
const MaxItems = 200

// Sender delivers messages to one receiver. An error means that it may not have
// arrived and must be sent again; one with a method Refused() bool that says true
// means that the receiver will not take it however often.
type Sender interface {
	Send(ctx context.Context, m Message) error
}
