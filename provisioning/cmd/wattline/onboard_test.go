package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wattline/wattline/shared/hs110/hs110test"
)

// house is a cloud, a factory-new plug and the address that it gets in the Wi-Fi.
func house(t *testing.T) (c *cloud, p *hs110test.Plug, there, key string) {
	t.Helper()
	here := hs110test.New(t, hs110test.Options{})
	there = here.Address()
	must(t, here.Close())
	p = hs110test.New(t, hs110test.Options{Networks: []hs110test.Network{{SSID: "office", Password: "correct horse battery", Address: there}}})
	key = filepath.Join(t.TempDir(), "wifi.key")
	must(t, os.WriteFile(key, []byte("correct horse battery\n"), 0o600))
	c = newCloud(t, map[string]string{
		"GET /api/v1/site":                   `200 {"time_zone":"Europe/Prague"}`,
		"GET /api/v1/devices/sp_f2.g3":       `200 {"id":"sp_f2.g3"}`,
		"PUT /api/v1/devices/sp_f2.g3/plug":  `200 {"id":"sp_f2.g3"}`,
		"GET /api/v1/plugs":                  `200 {"items":[]}`,
		"GET /api/v1/devices/sp_f2.g9":       `404 {"title":"Not Found","status":404,"detail":"no place sp_f2.g9"}`,
		"GET /api/v1/devices/sp_f2.g4":       `200 {"id":"sp_f2.g4"}`,
		"PUT /api/v1/devices/sp_f2.g4/plug":  `409 {"title":"Conflict","status":409,"detail":"sp_f2.g4 has a plug"}`,
		"GET /api/v1/devices/sp_f2.g4/state": `200 {}`,
	})
	return c, p, there, key
}

func TestANewPlugIsOnboardedAndPlaced(t *testing.T) {
	c, p, there, key := house(t)
	r := c.run(t, "plugs", "onboard", "--address", p.Address(), "--wifi", "office", "--wifi-passphrase-file", key, "--place", "sp_f2.g3", "--found-at", there)
	r.wants(t, exitDone, "is at the place sp_f2.g3", "")
	last := c.asked[len(c.asked)-1]
	if last.Method != http.MethodPut || !strings.Contains(last.Body, p.MAC()) || !strings.Contains(last.Body, there) {
		t.Errorf("placed by %+v", last)
	}
	if p.Joined() != "office" || p.Zone() != 42 || strings.Contains(r.stdout+r.stderr, "correct horse") {
		t.Errorf("in %q, zone %d, said\n%s", p.Joined(), p.Zone(), r.stdout)
	}
}

func TestWhatIsKnownOfAPlugsFormerLifeIsNoNews(t *testing.T) {
	c, p, _, key := house(t)
	c.answers["GET /api/v1/plugs"] = `200 {"items":[{"mac":"` + p.MAC() + `","address":"10.2.0.9","seen":"2026-01-01T00:00:00Z"}]}`
	r := c.run(t, "plugs", "onboard", "--address", p.Address(), "--wifi", "office", "--wifi-passphrase-file", key, "--alias", "spare", "--wait", "1s")
	r.wants(t, exitNotDone, "", "has not been found in the network")
}

func TestOnboardingThatIsNotBegun(t *testing.T) {
	c, p, there, key := house(t)
	at := []string{"--address", p.Address(), "--wifi", "office", "--wifi-passphrase-file", key, "--found-at", there}
	for name, test := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no network":            {[]string{"--place", "sp_f2.g3"}, exitUsage, "--wifi is required"},
		"no name":               {at, exitUsage, "--place or --alias"},
		"no such place":         {append([]string{"--place", "sp_f2.g9"}, at...), exitNotDone, "no place sp_f2.g9"},
		"nobody to ask":         {[]string{"--address", p.Address(), "--wifi", "office", "--alias", "x"}, exitUsage, "--wifi-passphrase-file"},
		"a reset of all sorts":  {[]string{"--reset", p.MAC(), "--wifi", "office"}, exitUsage, "--reset goes with --address"},
		"a reset without a yes": {[]string{"--reset", p.MAC(), "--address", p.Address()}, exitUsage, "Say --yes"},
		"a reset of another":    {[]string{"--reset", "50:C7:BF:00:00:01", "--address", p.Address(), "--yes"}, exitNotDone, "nothing was done"},
	} {
		t.Run(name, func(t *testing.T) {
			c.run(t, append([]string{"plugs", "onboard"}, test.args...)...).wants(t, test.code, "", test.says)
			if p.Joined() != "" || p.Resets() != 0 {
				t.Errorf("the plug is in %q, reset %d times", p.Joined(), p.Resets())
			}
		})
	}
	c.run(t, "plugs", "onboard", "--reset", p.MAC(), "--address", p.Address(), "--yes").wants(t, exitDone, "as it left the factory", "")
	if p.Resets() != 1 {
		t.Errorf("reset %d times", p.Resets())
	}
	c.run(t, append([]string{"plugs", "onboard", "--place", "sp_f2.g4"}, at...)...).wants(t, exitConflict, "", "wattline plugs place")
}
