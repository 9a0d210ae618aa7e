package shelly_test

import (
	"testing"
	"time"

	"github.com/wattline/wattline/edge/drivers/driverstest"
	"github.com/wattline/wattline/edge/drivers/shelly"
	"github.com/wattline/wattline/edge/drivers/shelly/shellytest"
)

func TestItIsADriver(t *testing.T) {
	driverstest.Run(t, func(t *testing.T) driverstest.Subject {
		sim := shellytest.New(t, shellytest.Options{})
		mustFault(t, sim, shellytest.Fault{Delay: 2 * time.Millisecond}) // as a plug takes, so that questions could meet
		return driverstest.Subject{
			Plug: mustPlug(t, shelly.Options{Address: sim.Address(), MAC: sim.MAC(), Timeout: driverstest.Timeout}),
			On:   sim.On, Asked: sim.Requests, MostAtOnce: sim.MaxBusy,
			Befall: func(trouble driverstest.Trouble) {
				mustFault(t, sim, map[driverstest.Trouble]shellytest.Fault{
					driverstest.Refuses: {Refuse: true}, driverstest.Silent: {Silent: true},
					driverstest.Garbage: {Raw: "?\r\n\r\n"}, driverstest.Stranger: {Another: "A8032A000001"},
				}[trouble])
			},
		}
	})
}
