package spcommand_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

func (s *store) has(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.text, text)
}

func TestAnAnswerMeansThatTheIntentIsStored(t *testing.T) {
	s := newStand(t, 1)
	s.gateway("f1")
	for i := range 50 {
		reason := fmt.Sprintf("number %d.", i)
		s.ask("sp_f1.g0", `{"on":true,"reason":"`+reason+`"}`)
		if !s.store.has(reason) {
			t.Fatalf("%s: answered, and not in the audit", reason)
		}
	}
}

func TestASlowDatabaseHoldsNoSwitchUp(t *testing.T) {
	s := newStand(t, 1)
	g := s.gateway("f1")
	slow := make(chan struct{})
	s.store.mu.Lock()
	s.store.slow = slow
	s.store.mu.Unlock()
	defer close(slow)
	sent := time.Hour // the best of a few, on a machine that has much to do
	for range 5 {
		var asking sync.WaitGroup
		begin := time.Now()
		asking.Go(func() { s.ask("sp_f1.g0", `{"on":true}`) })
		<-g.commands
		sent = min(sent, time.Since(begin))
		asking.Wait()
		if took := time.Since(begin); took < 140*time.Millisecond || took > 5*time.Second {
			t.Errorf("answered after %v, want about 150 ms", took)
		}
	}
	if sent > 100*time.Millisecond {
		t.Errorf("sent after %v", sent)
	}
}

func TestOneRefusedAccountTakesNoOtherWithIt(t *testing.T) {
	s := newStand(t, 1)
	s.gateway("f1")
	s.store.set(errors.New("not now"))
	const n = 20
	for i := range n { // they gather
		s.ask("sp_f1.g0", fmt.Sprintf(`{"on":true,"reason":"number %d.\nin two lines"}`, i))
	}
	s.store.mu.Lock()
	s.store.poison = "number 7."
	s.store.mu.Unlock()
	s.store.set(nil)
	for i := range n {
		if i != 7 {
			for _, phase := range []string{"intent", "result"} {
				s.store.await(t, "phase="+phase, fmt.Sprintf(`reason="number %d.`, i))
			}
		}
	}
	if s.store.has("number 7.") {
		t.Error("the refused one is there")
	}
}

func TestTheNewestAccountsWaitForTheDatabase(t *testing.T) {
	s := newStand(t, 1)
	s.gateway("f1")
	s.store.set(errors.New("not now"))
	reason := strings.Repeat("x", 200) // some 5 KB of accounts for each command, and a thousand commands
	var asking sync.WaitGroup
	for range 8 {
		asking.Go(func() {
			for range 130 {
				s.ask("floor/1", `{"on":true,"reason":"old `+reason+`"}`)
			}
		})
	}
	asking.Wait()
	s.ask("sp_f1.g0", `{"on":true,"reason":"the newest"}`)
	s.store.set(nil)
	s.store.await(t, "phase=result", `reason="the newest"`)
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if n := len(s.store.text); n > 4<<20 || n < 3<<20 {
		t.Errorf("%d bytes were kept", n)
	}
}

func TestTheRelaysPayloadsSayWhoSendsThem(t *testing.T) {
	s := newStand(t, 1)
	s.gateway("f1")
	s.command("sp_f1.g0", `{"status":1,"who":"ana"}`)
	s.command("sp_f1.g0", `{"status":1,"who":17}`)
	for _, who := range []string{`who="ana"`, `who="mqtt"`} {
		if !s.store.has(who) {
			t.Errorf("no %s in the audit", who)
		}
	}
}
