package notify_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/shared/contract"
)

// damage writes over a record of the receiver.
func (s *stage) damage(bucket, key string) {
	s.t.Helper()
	err := s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("notify")).Bucket([]byte("facility")).Bucket([]byte(bucket))
		if b.Get([]byte(key)) == nil {
			return errors.New("there is no " + key)
		}
		return b.Put([]byte(key), []byte(`{"event": "beg`))
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) damaged(want int) {
	s.t.Helper()
	if got := s.desk.Statuses()[0].Damaged; got != want {
		s.t.Errorf("%d damaged records are counted, want %d", got, want)
	}
}

func TestADamagedMessageStopsNoOther(t *testing.T) {
	s := newStage(t, notify.Receiver{Over: true})
	s.post.fail(errors.New("no route"), false)
	s.change(engine.Raised, contract.Warning, "a")
	s.wait(time.Second)
	s.damage("state", "flight")
	s.restart()
	s.post.fail(nil, false)
	s.change(engine.Raised, contract.Warning, "b")
	s.wait(time.Second)
	s.want("began b and 1 more")
	s.damaged(1)
	s.change(engine.Ended, contract.Warning, "b")
	s.wait(time.Second)
	s.want("over b")
}

func TestADamagedItemStopsNoOther(t *testing.T) {
	s := newStage(t, notify.Receiver{Wait: 10 * time.Second, Over: true})
	for _, subject := range []string{"a", "b", "c"} {
		s.change(engine.Raised, contract.Warning, subject)
	}
	s.damage("queue", "x/a/1")
	s.damage("queue", "x/b/1")
	s.change(engine.Ended, contract.Warning, "b") // what is written is written
	s.wait(11 * time.Second)
	s.want("began c and 2 more")
	s.damaged(2)
}

// Seen to fail when it is counted in memory.
func TestWhatAFullQueueLosesIsToldAfterARestartToo(t *testing.T) {
	s := newStage(t, notify.Receiver{Wait: time.Minute})
	var all []engine.Change
	for n := range 10_005 {
		all = append(all, engine.Change{Kind: engine.Raised, Alert: contract.Alert{
			ID: fmt.Sprintf("x/%d/1", n), Severity: contract.Warning, Subject: fmt.Sprint(n), State: contract.Firing,
		}})
	}
	if err := s.db.Update(func(tx *bbolt.Tx) error { return s.desk.Enter(tx, all, 1) }); err != nil {
		t.Fatal(err)
	}
	s.restart()
	s.wait(time.Second)
	if got := s.post.took(); len(got) != 1 || !strings.HasSuffix(got[0], fmt.Sprintf(" and %d more", 10_005-notify.MaxItems)) {
		t.Errorf("%d messages, %.100q", len(got), got)
	}
	s.change(engine.Raised, contract.Warning, "a")
	s.wait(2 * time.Minute)
	s.want("began a")
}
