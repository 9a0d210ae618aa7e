package controller_test

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wattline/wattline/edge/controller"
	"github.com/wattline/wattline/shared/contract"
)

var discard = slog.New(slog.DiscardHandler)

func TestCommandsUnderWayAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		devices := make([]string, controller.MaxUnderWay+1)
		for i := range devices {
			devices[i] = fmt.Sprint("sp_g", i)
		}
		b := newBench(t, devices...)
		var answers []*answer
		for i, d := range devices {
			b.relay(d).delay = time.Second
			a := &answer{}
			answers = append(answers, a)
			b.Command(b.ctx, b.command(fmt.Sprint("c", i), true, d), a.take)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		for i, a := range answers {
			want := contract.Confirmed
			if i == controller.MaxUnderWay {
				want = contract.Unreachable
			}
			wantOutcome(t, a, devices[i], want)
		}
		wantOutcome(t, b.send(b.command("later", true, devices[0]), 2*time.Second), devices[0], contract.Confirmed)
	})
}

func TestIdsAreKeptUntilTheirDeadlineWithinBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "sp_g1")
		accepted := 0
		for i := range 5000 {
			a := b.send(b.command(fmt.Sprint("c", i), true, "sp_g1"), 0)
			if a.of(t, "sp_g1").Outcome == contract.Confirmed {
				accepted++
			}
		}
		if accepted == 5000 || accepted < 1000 {
			t.Errorf("%d commands within 10s were accepted, want a bound above 1000", accepted)
		}
		time.Sleep(11 * time.Second)
		wantOutcome(t, b.send(b.command("later", true, "sp_g1"), 0), "sp_g1", contract.Confirmed)
	})
}

func TestAnAskerThatIsSlowHearsTheRestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		devices := make([]string, 50)
		for i := range devices {
			devices[i] = fmt.Sprint("sp_g", i)
		}
		b := newBench(t, devices...)
		a := &answer{}
		b.Command(b.ctx, b.command("c1", false, devices...), func(rs contract.Results) {
			time.Sleep(time.Second)
			a.take(rs)
		})
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if a.count() != 50 || a.parts > 3 {
			t.Errorf("%d results in %d parts", a.count(), a.parts)
		}
	})
}

func TestCloseAnswersWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "sp_g1", "sp_g2")
		b.SetStagger(time.Second)
		b.relay("sp_g1").delay = time.Hour
		a := b.send(b.command("c1", true, "sp_g1", "sp_g2"), 500*time.Millisecond)
		before := time.Now()
		b.Close()
		b.Close()
		wantOutcome(t, a, "sp_g1", contract.Unknown)
		wantOutcome(t, a, "sp_g2", contract.Unreachable)
		if took := time.Since(before); took != 0 {
			t.Errorf("Close took %v", took)
		}
		if late := b.send(b.command("c2", true, "sp_g2"), time.Second); late.count() != 0 || len(b.relay("sp_g2").begins()) != 0 {
			t.Error("a command was carried out after Close")
		}
	})
}

func TestTheEndOfTheGatewayEndsItsCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "sp_g1", "sp_g2")
		b.SetStagger(time.Second)
		b.relay("sp_g1").delay = time.Hour
		a := b.send(b.command("c1", true, "sp_g1", "sp_g2"), 0)
		b.stop()
		synctest.Wait()
		wantOutcome(t, a, "sp_g1", contract.Unknown)
		wantOutcome(t, a, "sp_g2", contract.Unreachable)
		wantOutcome(t, b.send(b.command("c2", true, "sp_g2"), 0), "sp_g2", contract.Unreachable)
	})
}
