package webhook_test

import (
	"net/http"
	"testing"
)

func TestWhatIsStoredIsDeliveredFromMemory(t *testing.T) {
	s := newSite(t)
	box := newInbox(t)
	m, _ := s.run(t.TempDir(), nil, box)
	at := start()
	for i := range 20 {
		s.publish(s.batch(at, i, 1))
	}
	box.await(s.want)
	if n := box.repeats(); n != 0 {
		t.Errorf("%d readings came twice", n)
	}
	if got := value(t, m, `wattline_webhook_readings_total{receiver="r0"}`); int(got) != len(s.want) {
		t.Errorf("counted %v readings, %d were stored", got, len(s.want))
	}
}

func TestABacklogIsReadOnceFromInfluxDB(t *testing.T) {
	s := newSite(t)
	at := start()
	s.backlog(at, 0, 30)
	box := newInbox(t)
	dir := t.TempDir()
	m, stop := s.run(dir, nil, box)
	box.await(s.want)
	box.answered(m)
	if n := box.repeats(); n != 0 {
		t.Errorf("%d readings came twice", n)
	}
	if box.most > 100 {
		t.Errorf("a request has %d records, at most 100 are allowed", box.most)
	}
	stop()
	s.backlog(at, 30, 10) // while nobody listens
	taken := len(box.ids)
	s.run(dir, nil, box)
	box.await(s.want)
	if again := box.repeats(); again > 0 {
		t.Errorf("%d readings again after a restart", again)
	}
	if len(box.ids) == taken {
		t.Error("nothing came after the restart")
	}
}

func TestADeadReceiverHoldsUpNobodyAndMissesNothing(t *testing.T) {
	s := newSite(t)
	alive, dead := newInbox(t), newInbox(t)
	dead.set(func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusBadGateway)
		return false
	})
	m, _ := s.run(t.TempDir(), nil, alive, dead)
	at := start()
	for i := range 20 {
		s.publish(s.batch(at, i, 1))
	}
	alive.await(s.want)
	if got := value(t, m, `wattline_webhook_up{receiver="r1"}`); got != 0 {
		t.Errorf("the dead one counts as up")
	}
	alive.until(func() bool { return value(t, m, `wattline_webhook_behind_entries{receiver="r1"}`) > 10 })
	dead.set(nil)
	dead.await(s.want)
	alive.until(func() bool { return value(t, m, `wattline_webhook_behind_entries{receiver="r1"}`) == 0 })
	if got := value(t, m, `wattline_webhook_last_error_status{receiver="r1"}`); got != 502 {
		t.Errorf("last error %v", got)
	}
}
