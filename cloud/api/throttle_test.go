package api // a throttle is nobody's but this package's; over HTTP its minutes would be minutes

import (
	"fmt"
	"testing"
	"time"
)

func TestAThrottleGivesItsBurstAndThenOneByOne(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	th := newThrottle(3, 10*time.Second)
	took := func(client string, n int) (ok int) {
		for range n {
			if _, yes := th.take(client, now); yes {
				ok++
			}
		}
		return ok
	}
	if got := took("a", 10); got != 3 {
		t.Errorf("%d at once", got)
	}
	if wait, ok := th.take("a", now.Add(4*time.Second)); ok || wait != 6*time.Second {
		t.Errorf("after 4 s: %v, %v", wait, ok)
	}
	if got := took("b", 1); got != 1 {
		t.Error("one client's burst is another's")
	}
	now = now.Add(25 * time.Second)
	if got := took("a", 10); got != 2 {
		t.Errorf("%d after 25 s", got)
	}
	now = now.Add(time.Hour)
	if got := took("a", 10); got != 3 {
		t.Errorf("%d after an hour", got)
	}
}

func TestAThrottleIsBounded(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	th := newThrottle(1, time.Minute)
	refused := 0
	for n := range 3 * maxThrottled {
		if _, ok := th.take(fmt.Sprint(n), now); !ok {
			refused++
		}
	}
	if len(th.used) > maxThrottled+1 || refused < maxThrottled {
		t.Errorf("%d known, %d refused", len(th.used), refused)
	}
	if _, ok := th.take("late", now.Add(2*time.Minute)); !ok || len(th.used) > 2 {
		t.Errorf("those who were quiet are kept: %d", len(th.used))
	}
}

func TestAThrottleKnowsNetworks(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64", "x": "x",
	} {
		if got := network(address); got != want {
			t.Errorf("%s is %s, want %s", address, got, want)
		}
	}
}
