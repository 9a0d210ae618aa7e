package interop_test

import "testing"

// TestIoToadsWayOfCalling runs the requests of IoToad's clients, agents, hooks
// and components against one site, row by row.
func TestIoToadsWayOfCalling(t *testing.T) {
	t.Parallel()
	plugs := newOffice(t, ioToadPlaces...)
	s := newSite(t, layout{places: plugs.places(), limits: "password: for two processes"})
	t.Run("switching over REST", func(t *testing.T) { testSwitching(t, s, plugs) })
	t.Run("asking over REST", func(t *testing.T) { testAsking(t, s) })
	t.Run("times in nanoseconds", func(t *testing.T) { testNanoseconds(t, s) })
	t.Run("points as IoToad stored them", func(t *testing.T) { testStoredForm(t, s) })
	t.Run("over MQTT itself", func(t *testing.T) { testSpeaking(t, s, plugs) })
	t.Run("agents and components of others", func(t *testing.T) { testRelaying(t, s) })
}
