package hs110_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wattline/wattline/edge/drivers/driverstest"
	driver "github.com/wattline/wattline/edge/drivers/hs110"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

func TestItIsADriver(t *testing.T) {
	driverstest.Run(t, func(t *testing.T) driverstest.Subject {
		var asked atomic.Int64
		sim := hs110test.New(t, hs110test.Options{OnRequest: func([]byte) { asked.Add(1) }})
		there := sim
		return driverstest.Subject{
			Plug:       mustPlug(t, driver.Options{Address: sim.Address(), DeviceID: sim.DeviceID(), Timeout: driverstest.Timeout}),
			On:         func() bool { return there.On() },
			Asked:      func() int { return int(asked.Load()) },
			MostAtOnce: sim.MaxBusy,
			Befall: func(trouble driverstest.Trouble) {
				if trouble != driverstest.Stranger {
					mustFault(t, sim, map[driverstest.Trouble]hs110test.Fault{
						driverstest.Refuses: {Refuse: true}, driverstest.Silent: {Silent: true}, driverstest.Garbage: {Garbage: []byte("?\r\n\r\n")},
					}[trouble])
					return
				}
				_ = sim.Close()
				other, err := hs110test.Start(sim.Address(), hs110test.Options{DeviceID: strings.Repeat("0", 40)})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { other.Close() })
				there = other
			},
		}
	})
}
