package broker

import "strings"

// Outlet is where a role of the cloud says things to programs that know nothing
// of Wattline. Guests hear it, and do not publish there: what is said there is
// said by the cloud.
type Outlet struct {
	// Prefix is that of the republish hook; empty for none.
	Prefix string
	// HomeAssistant is the prefix of discovery. It is everybody's, but the plugs of
	// Wattline are announced by the cloud alone.
	HomeAssistant string
	// Commands tells that guests may command <prefix>/<device id>/set: whoever
	// operates the cloud has let Home Assistant switch.
	Commands bool
}

// WithOutlet makes the broker keep an outlet for the roles.
func WithOutlet(o Outlet) Option { return func(e *extra) { e.outlet = o } }

// closed tells whether a client may not publish on a topic because it belongs to
// the outlet.
func (o Outlet) closed(who Who, topic string) bool {
	if who.Role || o.Prefix == "" {
		return false
	}
	if o.HomeAssistant != "" && strings.HasPrefix(topic, o.HomeAssistant+"/device/wattline_") {
		return true
	}
	rest, within := strings.CutPrefix(topic, o.Prefix+"/")
	if !within {
		return topic == o.Prefix
	}
	device, last, _ := strings.Cut(rest, "/")
	return !o.Commands || who != (Who{}) || device == "" || last != "set"
}
