package e2e_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestQuietSiteCountsToZero is the check of the count itself: nothing happens,
// nothing is lost.
func TestQuietSiteCountsToZero(t *testing.T) {
	t.Parallel()
	s := newSite(t, layout{gateways: 1, plugs: 3})
	pause(4 * time.Second)
	s.drain(time.Minute)
	if r := s.count(); r.points < 6 {
		t.Errorf("only %d readings in 4 s", r.points)
	}
}

// killable is something to kill: at once, and how to bring it back.
type killable struct {
	name string
	kill func()
	back func()
}

// killables are all processes of a site.
func (s *site) killables() (list []killable) {
	for _, e := range s.edges {
		list = append(list, killable{e.id, e.kill, e.start})
	}
	list = append(list, killable{"cloud", s.cloud.kill, s.cloud.start}, killable{"influxd", s.killInflux, func() {}})
	if s.broker != nil {
		list = append(list, killable{"broker", s.broker.kill, s.broker.start})
	}
	return list
}

// reap kills at random moments, one at a time and several together. Nobody waits
// until what was killed is ready again: the next kill may hit a start.
func (s *site) reap(r *rand.Rand, kills int) {
	s.t.Helper()
	for kills > 0 {
		list := s.killables()
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		n := 1
		if r.IntN(3) == 0 {
			n = 2 + r.IntN(len(list)-1)
		}
		n = min(n, kills)
		kills -= n
		pause(between(r, 50*time.Millisecond, 3*time.Second))
		var names []string
		for _, k := range list[:n] {
			k.kill()
			names = append(names, k.name)
		}
		pause(between(r, 0, time.Second))
		for _, k := range list[:n] {
			k.back()
		}
		s.t.Logf("killed %s, %d kills to go", strings.Join(names, ", "), kills)
	}
}

// TestKillsLoseNothing kills gateways, cloud, broker and InfluxDB.
func TestKillsLoseNothing(t *testing.T) {
	for name, l := range map[string]layout{
		"all in the cloud":                       {gateways: 2, plugs: 4},
		"mosquitto and an InfluxDB of its own":   {gateways: 2, plugs: 4, broker: mosquitto, influx: apart},
		"embedded broker in a process by itself": {gateways: 1, plugs: 4, broker: ownBroker, influx: apart},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := dice(t)
			s := newSite(t, l)
			s.reap(r, count(t, "WATTLINE_KILLS", 7, 170))
			s.ready()
			pause(2 * time.Second)
			s.drain(3 * time.Minute)
			s.count()
		})
	}
}
