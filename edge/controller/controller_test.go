package controller_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/edge/controller"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

func TestASwitchIsConfirmedAndAccountedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "sp_g1")
		b.relay("sp_g1").delay = 400 * time.Millisecond
		a := b.send(b.command("c1", true, "sp_g1"), time.Second)
		if r := a.of(t, "sp_g1"); r.Outcome != contract.Confirmed || r.On == nil || !*r.On || a.at().Sub(b.start) != 400*time.Millisecond {
			t.Errorf("result %+v after %v", r, a.at().Sub(b.start))
		}
		want := []contract.Switched{{Command: "c1", Who: "anna", Reason: "test", On: true, Outcome: contract.Confirmed}}
		if diff := cmp.Diff(want, b.notesOf("sp_g1")); diff != "" {
			t.Errorf("account (-want +got):\n%s", diff)
		}
	})
}

func TestOutcomesOfOneSwitch(t *testing.T) {
	for name, tc := range map[string]struct {
		relay  *relay
		change func(*contract.GatewayCommand)
		want   contract.Outcome
		detail string
		asked  int
	}{
		"relay sticks":       {relay: &relay{stuck: true}, want: contract.Mismatch, asked: 1},
		"plug away":          {relay: &relay{err: failure("offline")}, want: contract.Unreachable, detail: "plug: offline: ask 127.0.0.1:9999", asked: 1},
		"driver panics":      {relay: &relay{bug: true}, want: contract.Unreachable, detail: "panicked", asked: 1},
		"plug never answers": {relay: &relay{delay: time.Hour}, want: contract.Unknown, asked: 1},
		"late":               {change: func(c *contract.GatewayCommand) { c.Deadline.Monotonic = uptime - 1 }, want: contract.Expired},
		"at the deadline":    {change: func(c *contract.GatewayCommand) { c.Deadline.Monotonic = uptime }, want: contract.Expired},
		"of another boot":    {change: func(c *contract.GatewayCommand) { c.Deadline.BootID = "boot-0" }, want: contract.Expired},
		"no deadline":        {change: func(c *contract.GatewayCommand) { c.Deadline.Monotonic = math.NaN() }, want: contract.Expired},
		"deadline too far":   {change: func(c *contract.GatewayCommand) { c.Deadline.Monotonic = math.Inf(1) }, want: contract.Unreachable, detail: "ahead"},
		"newer config":       {change: func(c *contract.GatewayCommand) { c.ConfigVersion = 2 }, want: contract.Stale},
		"no id":              {change: func(c *contract.GatewayCommand) { c.ID = "" }, want: contract.Unreachable, detail: "id"},
		"id too long":        {change: func(c *contract.GatewayCommand) { c.ID = strings.Repeat("x", 300) }, want: contract.Unreachable, detail: "id"},
		"older config":       {change: func(c *contract.GatewayCommand) { c.ConfigVersion = 0 }, want: contract.Confirmed, asked: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, "sp_g1")
				if tc.relay != nil {
					b.relays[id(t, "sp_g1")] = tc.relay
					b.Set(1, b.targets())
				}
				cmd := b.command("c1", true, "sp_g1")
				if tc.change != nil {
					tc.change(&cmd)
				}
				a := b.send(cmd, 11*time.Second)
				wantOutcome(t, a, "sp_g1", tc.want)
				if r := a.of(t, "sp_g1"); !strings.Contains(r.Detail, tc.detail) {
					t.Errorf("detail %q, want %q in it", r.Detail, tc.detail)
				}
				if got := len(b.relay("sp_g1").begins()); got != tc.asked {
					t.Errorf("plug asked %d times, want %d", got, tc.asked)
				}
				if notes := b.notesOf("sp_g1"); len(notes) != 1 || notes[0].Outcome != tc.want {
					t.Errorf("account: %+v", notes)
				}
			})
		})
	}
}

func TestUnknownPlacesGetAResultAndNoAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "sp_g1")
		a := b.send(b.command("c1", true, "sp_g1", "sp_g2"), time.Second)
		wantOutcome(t, a, "sp_g1", contract.Confirmed)
		wantOutcome(t, a, "sp_g2", contract.NoSuchPlace)
		if len(b.notesOf("sp_g2")) != 0 {
			t.Error("a reading was made for a place of another gateway")
		}
	})
}

func TestAProtectedPlaceIsNeverSwitched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "sp_g1", "sp_g2")
		b.Set(2, protect(b.targets(), id(t, "sp_g1"), "server"))
		cmd := b.command("c1", false, "sp_g1", "sp_g2")
		a := b.send(cmd, time.Second)
		wantOutcome(t, a, "sp_g1", contract.Refused)
		wantOutcome(t, a, "sp_g2", contract.Confirmed)
		if r := a.of(t, "sp_g1"); !strings.Contains(r.Detail, "server") {
			t.Errorf("detail %q does not say why", r.Detail)
		}
		if len(b.relay("sp_g1").begins()) != 0 {
			t.Error("the plug was asked")
		}
	})
}

func TestOnlyANewerConfigurationEndsAProtection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "sp_g1")
		b.Set(5, protect(b.targets(), id(t, "sp_g1"), "fridge"))
		for i, step := range []struct {
			version uint64
			want    contract.Outcome
		}{{4, contract.Refused}, {5, contract.Refused}, {1, contract.Refused}, {6, contract.Confirmed}, {5, contract.Confirmed}} {
			b.Set(step.version, b.targets())
			a := b.send(b.command(fmt.Sprint("c", i), true, "sp_g1"), time.Second)
			if got := a.of(t, "sp_g1").Outcome; got != step.want {
				t.Errorf("step %d, configuration %d without protection: %s, want %s", i, step.version, got, step.want)
			}
		}
	})
}

func TestProtectionsSurviveARestartWithAnOlderConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "sp_g1")
		b.Set(5, protect(b.targets(), id(t, "sp_g1"), "fridge"))
		again := controller.New(controller.Options{
			Boot: func() (string, float64) { return "boot-1", uptime + time.Since(b.start).Seconds() },
			Note: func(device.ID, contract.Switched) {}, Protections: b.Protections(),
		}, discard)
		again.Set(4, b.targets())
		b.Controller = again
		wantOutcome(t, b.send(b.command("c1", true, "sp_g1"), time.Second), "sp_g1", contract.Refused)
	})
}

func TestACommandThatCameTooLateToItsTurnIsNotExecuted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "sp_g1")
		b.relay("sp_g1").delay = 8 * time.Second
		first := b.command("c1", true, "sp_g1")
		second := b.command("c2", false, "sp_g1")
		second.Deadline.Monotonic = uptime + 3
		x, y := &answer{}, &answer{}
		b.Command(b.ctx, first, x.take)
		synctest.Wait()
		b.Command(b.ctx, second, y.take)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		wantOutcome(t, x, "sp_g1", contract.Confirmed)
		wantOutcome(t, y, "sp_g1", contract.Expired)
		if got := y.at().Sub(b.start); got != 3*time.Second {
			t.Errorf("told after %v, want at the deadline, 3s", got)
		}
		if got := b.relay("sp_g1").asked(); len(got) != 1 {
			t.Errorf("the plug was asked %v", got)
		}
	})
}

func TestTheDeadlineCountsRightBeforeTheSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "sp_g1", "sp_g2")
		b.SetStagger(time.Second)
		cmd := b.command("c1", true, "sp_g1", "sp_g2")
		a := &answer{}
		b.Command(b.ctx, cmd, a.take)
		synctest.Wait()
		b.mu.Lock()
		b.skew = 3600 // the machine slept: its boot clock went on, the timers did not
		b.mu.Unlock()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		wantOutcome(t, a, "sp_g1", contract.Confirmed)
		wantOutcome(t, a, "sp_g2", contract.Expired)
		if len(b.relay("sp_g2").begins()) != 0 {
			t.Error("a late command was executed")
		}
	})
}

func TestARepeatedCommandGetsTheSameAnswerAndIsExecutedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "sp_g1", "sp_g2")
		b.relay("sp_g1").delay = 2 * time.Second
		b.Set(1, protect(b.targets(), id(t, "sp_g2"), "fridge"))
		cmd := b.command("c1", true, "sp_g1", "sp_g2")
		first := b.send(cmd, time.Second)
		during := b.send(cmd, 2*time.Second)
		after := b.send(cmd, time.Second)
		b.Set(2, b.targets()) // no protection any more
		later := b.send(cmd, time.Second)
		for name, a := range map[string]*answer{"first": first, "during": during, "after": after, "later": later} {
			if got := a.of(t, "sp_g1").Outcome; got != contract.Confirmed {
				t.Errorf("%s: %s", name, got)
			}
			if got := a.of(t, "sp_g2").Outcome; got != contract.Refused {
				t.Errorf("%s: %s", name, got)
			}
		}
		if got := len(b.relay("sp_g1").begins()); got != 1 {
			t.Errorf("executed %d times", got)
		}
		if got := len(b.notesOf("sp_g1")); got != 1 {
			t.Errorf("%d accounts", got)
		}
		time.Sleep(10 * time.Second)
		wantOutcome(t, b.send(b.command("c2", true, "sp_g1"), 3*time.Second), "sp_g1", contract.Confirmed) // forgets c1
		wantOutcome(t, b.send(cmd, time.Second), "sp_g1", contract.Expired)
		if got := len(b.relay("sp_g1").begins()); got != 2 {
			t.Errorf("executed %d times, want c1 and c2 once", got)
		}
	})
}

func TestANewerCommandOvertakesOneThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "sp_g1")
		b.relay("sp_g1").delay = time.Second
		var answers []*answer
		for i, on := range []bool{true, false, true, false} {
			a := &answer{}
			answers = append(answers, a)
			b.Command(b.ctx, b.command(fmt.Sprint("c", i), on, "sp_g1"), a.take)
			synctest.Wait()
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		for i, want := range []contract.Outcome{contract.Confirmed, contract.Superseded, contract.Superseded, contract.Confirmed} {
			if got := answers[i].of(t, "sp_g1").Outcome; got != want {
				t.Errorf("command %d: %s, want %s", i, got, want)
			}
		}
		r := b.relay("sp_g1")
		if diff := cmp.Diff([]bool{true, false}, r.asked()); diff != "" || r.most != 1 || r.on {
			t.Errorf("the plug was asked %v, %d at once; on: %v", r.asked(), r.most, r.on)
		}
	})
}

func TestCommandsThatAskForTheSameShareTheResult(t *testing.T) {
	for name, deadlines := range map[string][]float64{
		"the newer has more time": {5, 6, 7}, "the newer has less time": {7, 6, 5}, "one more, one less": {6, 7, 5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, "sp_g1")
				b.relay("sp_g1").delay = time.Second
				answers := make([]*answer, 4)
				for i := range answers {
					answers[i] = &answer{}
					cmd := b.command(fmt.Sprint("c", i), false, "sp_g1")
					if i > 0 {
						cmd.Deadline.Monotonic += deadlines[i-1] - 5
					}
					b.Command(b.ctx, cmd, answers[i].take)
					synctest.Wait()
				}
				time.Sleep(4 * time.Second)
				synctest.Wait()
				for i, a := range answers {
					if got := a.of(t, "sp_g1").Outcome; got != contract.Confirmed {
						t.Errorf("command %d: %s", i, got)
					}
				}
				if got := b.relay("sp_g1").asked(); len(got) != 2 {
					t.Errorf("the plug was asked %v, want the first and once for the others", got)
				}
				if got := len(b.notesOf("sp_g1")); got != 4 {
					t.Errorf("%d accounts, want one for each command", got)
				}
			})
		})
	}
}

func TestOneThatAsksForTheSameIsNotHeldUpByTheOthersTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "sp_g1", "sp_g2")
		b.SetStagger(3 * time.Second)
		slow := &answer{}
		b.Command(b.ctx, b.command("c1", true, "sp_g1", "sp_g2"), slow.take) // sp_g2's turn comes after 3 s
		synctest.Wait()
		cmd := b.command("c2", true, "sp_g2")
		cmd.Deadline.Monotonic -= 4 // the older has more time, so this one joins it
		wantOutcome(t, b.send(cmd, time.Second), "sp_g2", contract.Confirmed)
		wantOutcome(t, slow, "sp_g2", contract.Confirmed)
		if got := b.relay("sp_g2").begins(); len(got) != 1 || got[0] != b.start {
			t.Errorf("switched at %v, want at once and once", got)
		}
	})
}

func TestOneThatSharesAFateStillHasItsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "sp_g1")
		b.relay("sp_g1").delay = 2 * time.Second
		first, long, short, other := &answer{}, &answer{}, &answer{}, &answer{}
		b.Command(b.ctx, b.command("c0", true, "sp_g1"), first.take)
		synctest.Wait()
		b.Command(b.ctx, b.command("c1", false, "sp_g1"), long.take)
		cmd := b.command("c2", false, "sp_g1")
		cmd.Deadline.Monotonic = b.command("x", false, "sp_g1").Deadline.Monotonic - 9
		b.Command(b.ctx, cmd, short.take)
		synctest.Wait()
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		wantOutcome(t, short, "sp_g1", contract.Expired)
		b.Command(b.ctx, b.command("c3", true, "sp_g1"), other.take)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		wantOutcome(t, long, "sp_g1", contract.Superseded)
		wantOutcome(t, other, "sp_g1", contract.Confirmed)
	})
}

func TestOffOvertakesAnOnThatWaitsForItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "sp_g1", "sp_g2", "sp_g3")
		b.SetStagger(time.Second)
		on := &answer{}
		b.Command(b.ctx, b.command("c1", true, "sp_g1", "sp_g2", "sp_g3"), on.take)
		synctest.Wait()
		off := b.send(b.command("c2", false, "sp_g2"), 5*time.Second)
		wantOutcome(t, on, "sp_g1", contract.Confirmed)
		wantOutcome(t, on, "sp_g2", contract.Superseded)
		wantOutcome(t, on, "sp_g3", contract.Confirmed)
		wantOutcome(t, off, "sp_g2", contract.Confirmed)
		if got := b.relay("sp_g3").begins()[0].Sub(b.start); got != time.Second {
			t.Errorf("the third after %v, want 1s: no pause for who was overtaken", got)
		}
	})
}

func TestSwitchingOnIsStaggeredAndOffIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		devices := []string{"sp_g1", "sp_g2", "sp_g3", "sp_g4", "sp_g5"}
		b := newBench(t, devices...)
		for _, r := range b.relays {
			r.delay = 400 * time.Millisecond
		}
		a := b.send(b.command("c1", true, devices...), 5*time.Second)
		off := time.Now()
		b.send(b.command("c2", false, devices...), 5*time.Second)
		for i, d := range devices {
			begins := b.relay(d).begins()
			if got, want := begins[0].Sub(b.start), time.Duration(i)*controller.DefaultStagger; got != want {
				t.Errorf("%s switched on after %v, want %v", d, got, want)
			}
			if got := begins[1].Sub(off); got != 0 {
				t.Errorf("%s switched off after %v, want at once", d, got)
			}
			wantOutcome(t, a, d, contract.Confirmed)
		}
	})
}

func TestADeviceNamedTwiceIsSwitchedAsItsLastMentionSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "sp_g1")
		cmd := b.command("c1", true, "sp_g1", "sp_g1")
		cmd.Switches[1].On = false
		wantOutcome(t, b.send(cmd, time.Second), "sp_g1", contract.Confirmed)
		if diff := cmp.Diff([]bool{false}, b.relay("sp_g1").asked()); diff != "" {
			t.Errorf("asked (-want +got):\n%s", diff)
		}
	})
}

func TestACommandForNobodyIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if a := newBench(t).send(contract.GatewayCommand{}, time.Second); a.parts != 1 || a.count() != 0 {
			t.Errorf("%d answers", a.parts)
		}
	})
}

func TestWhatWaitsIsJudgedByTheConfigurationOfItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "sp_g1", "sp_g2", "sp_g3")
		b.SetStagger(time.Second)
		a := &answer{}
		b.Command(b.ctx, b.command("c1", true, "sp_g1", "sp_g2", "sp_g3"), a.take)
		synctest.Wait()
		targets := protect(b.targets(), id(t, "sp_g2"), "server")
		for i, target := range targets {
			if target.Device == id(t, "sp_g3") {
				targets = append(targets[:i], targets[i+1:]...)
				break
			}
		}
		b.Set(2, targets)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		wantOutcome(t, a, "sp_g1", contract.Confirmed)
		wantOutcome(t, a, "sp_g2", contract.Refused)
		wantOutcome(t, a, "sp_g3", contract.NoSuchPlace)
	})
}

func TestWhatWaitsIsStaleAfterARollback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "sp_g1", "sp_g2")
		b.Set(2, b.targets())
		b.SetStagger(time.Second)
		cmd := b.command("c1", true, "sp_g1", "sp_g2")
		cmd.ConfigVersion = 2
		a := b.send(cmd, 0)
		b.Set(1, b.targets())
		time.Sleep(2 * time.Second)
		synctest.Wait()
		wantOutcome(t, a, "sp_g1", contract.Confirmed)
		wantOutcome(t, a, "sp_g2", contract.Stale)
	})
}

func protect(ts []controller.Target, id device.ID, reason string) []controller.Target {
	for i := range ts {
		if ts[i].Device == id {
			ts[i].Protected = reason
		}
	}
	return ts
}
