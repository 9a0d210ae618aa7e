package schedule_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/wattline/wattline/cloud/schedule"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func parse(t *testing.T, expression, zone string) *schedule.Times {
	t.Helper()
	times, err := schedule.Parse(expression, zone)
	if err != nil {
		t.Fatal(err)
	}
	return times
}

func TestTimesAreThoseOfTheZone(t *testing.T) {
	madrid := parse(t, "30 2 * * *", "Europe/Madrid")
	var got []string
	at := time.Date(2026, 3, 27, 12, 0, 0, 0, time.UTC)
	for range 3 {
		at = madrid.Next(at)
		got = append(got, at.Format(time.RFC3339))
	}
	// On 29 March 02:30 does not exist.
	if diff := cmp.Diff([]string{"2026-03-28T02:30:00+01:00", "2026-03-30T02:30:00+02:00", "2026-03-31T02:30:00+02:00"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for expression, want := range map[string]string{
		"": "cron expression", "x": "15 3 * * *", "60 * * * *": "60", "0 0 30 2 *": "no such time", "@every 1h": "@every",
		"TZ=0": "setting of its own", "CRON_TZ=": "setting of its own", "* * * * * *": "5 fields",
	} {
		if _, err := schedule.Parse(expression, "UTC"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", expression, err)
		}
	}
	if _, err := schedule.Parse("@daily", "Mars/Base"); err == nil || !strings.Contains(err.Error(), "Mars/Base") {
		t.Errorf("a zone that is none: %v", err)
	}
}

// run runs a job in fake time for a while; it gives when it was done.
func run(t *testing.T, j schedule.Job, poke <-chan struct{}, long time.Duration, do func(ctx context.Context, n int) error) (done []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	n := 0
	j.Do = func(ctx context.Context) error {
		done = append(done, time.Now().UTC().Format("02 15:04"))
		n++
		return do(ctx, n)
	}
	schedule.Run(ctx, j, poke)
	return done
}

func fine(context.Context, int) error { return nil }

func never() time.Time { return time.Time{} }

// Fake time begins at midnight UTC on 1 January 2000.

func TestItRunsAtItsTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := run(t, schedule.Job{Times: parse(t, "15 3 * * *", "UTC"), Last: never, Retry: time.Minute}, nil, 60*time.Hour, fine)
		if diff := cmp.Diff([]string{"01 03:15", "02 03:15", "03 03:15"}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWhatWasMissedIsDoneOnceAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		last := func() time.Time { return time.Now().AddDate(0, 0, -9) }
		first := true
		j := schedule.Job{Times: parse(t, "15 3 * * *", "UTC"), Retry: time.Minute, Last: func() time.Time {
			if first {
				return last()
			}
			return never()
		}}
		got := run(t, j, nil, 30*time.Hour, func(context.Context, int) error {
			first = false
			return nil
		})
		if diff := cmp.Diff([]string{"01 00:00", "01 03:15", "02 03:15"}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWhatTakesLongIsNotBegunTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		running := false
		got := run(t, schedule.Job{Times: parse(t, "0 * * * *", "UTC"), Last: never, Retry: time.Minute}, nil, 9*time.Hour, func(context.Context, int) error {
			if running {
				t.Error("it runs twice")
			}
			running = true
			time.Sleep(150 * time.Minute)
			running = false
			return nil
		})
		if diff := cmp.Diff([]string{"01 01:00", "01 04:00", "01 07:00"}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWhatFailsIsTriedAgainLessAndLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := run(t, schedule.Job{Times: parse(t, "15 3 * * *", "UTC"), Last: never, Retry: 10 * time.Minute}, nil, 30*time.Hour, func(_ context.Context, n int) error {
			if n < 4 {
				return errors.New("no")
			}
			return nil
		})
		if diff := cmp.Diff([]string{"01 03:15", "01 03:25", "01 03:45", "01 04:25", "02 03:15"}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestItIsRunAtOnceWhenAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		poke := make(chan struct{}, 1)
		poke <- struct{}{}
		got := run(t, schedule.Job{Times: parse(t, "15 3 * * *", "UTC"), Last: never, Retry: time.Minute}, poke, 5*time.Hour, fine)
		if diff := cmp.Diff([]string{"01 00:00", "01 03:15"}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestJitterIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		got := run(t, schedule.Job{Times: parse(t, "0 3 * * *", "UTC"), Last: never, Retry: time.Minute, Jitter: 20 * time.Minute}, nil, 27*time.Hour, func(context.Context, int) error {
			if late := time.Since(begin.Add(3 * time.Hour)); late < 0 || late > 20*time.Minute {
				t.Errorf("it is %v late", late)
			}
			return nil
		})
		if len(got) != 1 {
			t.Errorf("%v", got)
		}
	})
}

func TestAClockThatIsSetBackDoesNotStopIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := schedule.Job{Times: parse(t, "15 3 * * *", "UTC"), Retry: time.Minute, Last: func() time.Time { return time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC) }}
		got := run(t, j, nil, 24*time.Hour, fine)
		if diff := cmp.Diff([]string{"01 03:15"}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAJobUnderWayEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := run(t, schedule.Job{Times: parse(t, "0 1 * * *", "UTC"), Last: never, Retry: time.Minute}, nil, 90*time.Minute, func(ctx context.Context, _ int) error {
			<-ctx.Done()
			return ctx.Err()
		})
		if diff := cmp.Diff([]string{"01 01:00"}, got); diff != "" {
			t.Error(diff)
		}
	})
}
