package gateway_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

// nearby lets the gateway look for plugs around those of the fleet.
func (s *site) nearby(c *contract.GatewayConfig) {
	c.Discovery.Ranges = []string{fmt.Sprintf("127.%d.1.0/26", s.fleet.Block)}
}

// spare is an address near the fleet's that nobody has.
func (s *site) spare(n int) string { return fmt.Sprintf("127.%d.1.%d", s.fleet.Block, 40+n) }

// awaitFound waits until the gateway tells of plugs that fit.
func (s *site) awaitFound(what string, fits func(map[string]contract.FoundPlug) bool) {
	s.t.Helper()
	s.await(what, func(m bus.Message) bool {
		var f contract.Found
		if m.Topic != bus.FoundTopic("edge-f1") || json.Unmarshal(m.Payload, &f) != nil {
			return false
		}
		byMAC := map[string]contract.FoundPlug{}
		for _, p := range f.Plugs {
			byMAC[p.MAC] = p
		}
		return fits(byMAC)
	})
}

func TestAPlugThatMovedIsReadAgainAndItsAddressIsKept(t *testing.T) {
	t.Parallel()
	s := newSiteOf(t, hs110test.FleetOptions{Rooms: 2, Printers: 1, Unknown: 1, NoBroadcast: true})
	s.configure(1, s.nearby)
	stop := s.start()
	p, stranger := s.fleet.Plugs[0], s.fleet.Unknown[0]
	s.awaitFound("all four plugs", func(found map[string]contract.FoundPlug) bool {
		return len(found) == 4 && found[p.MAC()].Device == p.ID.String() && found[stranger.MAC()].Device == "" && found[stranger.MAC()].Model != ""
	})
	if err := p.Move(s.spare(0)); err != nil {
		t.Fatal(err)
	}
	s.awaitFound("the new address", func(found map[string]contract.FoundPlug) bool { return found[p.MAC()].Address == s.spare(0) })
	s.eventually("it is read", func() bool { return s.pageView().Status.Plugs.Reachable == 3 && p.Polls() > 0 })
	stop()
	text, err := os.ReadFile(filepath.Join(s.config.Data, "floor.json"))
	if err != nil || !strings.Contains(string(text), `"address": "`+s.spare(0)+`"`) {
		t.Errorf("kept: %v, %s", err, text)
	}
	s.broker.Kill() // nobody tells the new address
	before := p.Polls()
	s.start()
	s.eventually("it is read after a restart without the cloud", func() bool { return p.Polls() > before })
}

// labelled makes each plug answer a power of its own, so that a reading tells
// which plug it is of.
func labelled(power map[string]float64) hs110test.FleetOptions {
	o := hs110test.FleetOptions{Rooms: 2, Printers: 1, NoBroadcast: true}
	o.Adjust = func(id device.ID, p *hs110test.Options) {
		watts := float64(100 + len(power))
		power[id.String()] = watts
		p.Hardware = hs110test.HW2
		p.Generate = func(uint64, time.Time) hs110test.Values {
			return hs110test.Values{Power: device.Watts(watts), Voltage: 230, Current: 1, Energy: 1}
		}
	}
	return o
}

// checkReadings answers batches until n readings of power of each place have come,
// and sees to it that each is of the place's own plug.
func (s *site) checkReadings(n int, power map[string]float64) {
	s.t.Helper()
	seen := map[string]int{}
	enough := func() bool {
		for id := range power {
			if seen[id] < n {
				return false
			}
		}
		return true
	}
	for !enough() {
		_, records := s.awaitBatch()
		for _, r := range records {
			id, measurement, _ := strings.Cut(r.Name, "/")
			if measurement != "power" {
				continue
			}
			seen[id]++
			if r.Value != power[id] {
				s.t.Fatalf("%s: a reading of another plug: %v, want %v", id, r.Value, power[id])
			}
		}
	}
}

func TestReadingsNeverLandAtAnotherPlaceWhenAddressesAreSwapped(t *testing.T) {
	t.Parallel()
	for name, anonymous := range map[string]bool{"identity configured": false, "address only": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			power := map[string]float64{}
			s := newSiteOf(t, labelled(power))
			s.configure(1, s.nearby, func(c *contract.GatewayConfig) {
				for i := range c.Plugs {
					if anonymous {
						c.Plugs[i].DeviceID = ""
					}
				}
			})
			stop := s.start()
			s.checkReadings(2, power)
			a, b := s.fleet.Plugs[0].Plug, s.fleet.Plugs[1].Plug
			if err := hs110test.Swap(a, b); err != nil {
				t.Fatal(err)
			}
			s.checkReadings(3, power)
			stop()
			if err := hs110test.Swap(a, b); err != nil { // while nobody looks
				t.Fatal(err)
			}
			s.start()
			s.checkReadings(3, power)
		})
	}
}

// A place whose plug is known and whose address is not gets it from the network.
func TestAPlugWithoutAnAddressIsFound(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.configure(1, s.nearby, func(c *contract.GatewayConfig) { c.Plugs[0].Address = "" })
	s.start()
	s.eventually("all are read", func() bool { return s.pageView().Status.Plugs.Reachable == 3 })
}

func TestALookCanBeAskedFor(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.option.Discovery.ScanEvery = time.Hour
	s.configure(1, s.nearby)
	s.start()
	s.awaitFound("the first look", func(found map[string]contract.FoundPlug) bool { return len(found) == 3 })
	late, err := hs110test.Start(s.spare(3)+":9999", hs110test.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { late.Close() })
	data, err := json.Marshal(contract.GatewayCommand{ID: "l1", Who: "test", Look: true})
	if err != nil {
		t.Fatal(err)
	}
	payload, _ := bus.Envelope{ID: "l1", ResponseTopic: "responses/sp_command/x/edge-f1/l1", Data: data}.Encode()
	s.publish(bus.CommandTopic("edge-f1"), false, payload)
	s.await("its answer", func(m bus.Message) bool { return m.Topic == "responses/sp_command/x/edge-f1/l1" })
	s.awaitFound("the late one", func(found map[string]contract.FoundPlug) bool { return found[late.MAC()].Model != "" })
}
