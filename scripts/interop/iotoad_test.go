package interop_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestIoToadsWayOfCalling runs the requests of IoToad's clients, agents, hooks
// and components against one site, row by row.
func TestIoToadsWayOfCalling(t *testing.T) {
	plugs := newOffice(t, ioToadPlaces...)
	s := newSite(t, layout{places: plugs.places()})
	credentials, err := os.ReadFile(filepath.Join(s.file("cloud0"), "influxdb", "credentials"))
	if err != nil {
		t.Fatal(err)
	}
	t.Run("switching over REST", func(t *testing.T) { testSwitching(t, s, plugs) })
	t.Run("asking over REST", func(t *testing.T) { testAsking(t, s) })
	t.Run("times in nanoseconds", func(t *testing.T) { testNanoseconds(t, s) })
	t.Run("points as IoToad stored them", func(t *testing.T) { testStoredForm(t, s, strings.TrimSpace(string(credentials))) })
	t.Run("over MQTT itself", func(t *testing.T) { testSpeaking(t, s, plugs) })
	t.Run("agents and components of others", func(t *testing.T) { testRelaying(t, s) })
}
