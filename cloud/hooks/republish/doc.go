// Package republish is the hook that says in plain words what Wattline measures:
// each newest reading as a small JSON object on a topic of its own,
//
//	wattline/<device id>/<measurement>  {"value":61.75,"unit":"W","time":"2026-01-02T03:04:05.5Z","source":"edge-f2"}
//
// retained, for programs that know MQTT and nothing of us; and, where it is
// asked for, what Home Assistant needs to find the plugs by itself (MQTT
// discovery) and to switch those that are not protected.
//
// The newest reading counts by measurement time: what a gateway drains of its
// backlog, or an agent sends late, never takes the place of something newer.
// Nothing is kept and nothing is promised but the newest: of two values of one
// topic the first is passed over when the second comes before it was sent, and
// counted. No more is sent than a rate allows, each topic in its turn, so that
// a large building does not take the broker and the storing hook what they need;
// announcements, availability and commands do not wait behind them. What comes
// faster than it can be looked at is shed and counted; the next reading of the
// plug repairs that.
// Everything is published again after each reconnect. Readings themselves are
// not answered: only the storing hook may say that they are safe.
//
// Topics below the prefix:
//
//	<id>/<measurement>               retained; taken back when the place goes
//	<id>/set                         commands ON and OFF, of Home Assistant
//	gateways/<gateway>/availability  retained, online or offline
//	availability                     retained, online or offline: of this hook, by its will
package republish
