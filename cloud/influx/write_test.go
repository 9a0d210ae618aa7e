package influx_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wattline/wattline/cloud/influx"
	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/shared/config"
)

const now = "1700000000123456"

func TestWrittenPointsAreReadBack(t *testing.T) {
	c := connect(t, influxtest.Start(t))
	database := influxtest.Database(t)
	mustWrite(t, c, database, "power,id=a,unit=W value=12.25 "+now+"\npower,id=b,unit=W value=3 "+now+"\n")
	got := fmt.Sprint(mustQuery(t, c, database, `SELECT id, value FROM power ORDER BY time`))
	if want := "[[" + now + " a 12.25] [" + now + " b 3]]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestWritingAgainChangesNothing(t *testing.T) {
	c := connect(t, influxtest.Start(t))
	database := influxtest.Database(t)
	lines := readings(4000, 1_700_000_000_000_000)
	for range 3 {
		if err := c.Write(t.Context(), database, lines); err != nil {
			t.Fatal(err)
		}
	}
	if got := mustCount(t, c, database, "power"); got != 1000 {
		t.Errorf("%d points, want 1000", got)
	}
}

func TestMissingDatabaseIsMadeOnceForManyWriters(t *testing.T) {
	c := connect(t, influxtest.Start(t), func(cfg *influx.Config) { cfg.MaxConcurrentWrites = 8 })
	database := influxtest.Database(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := c.Write(t.Context(), database, fmt.Appendf(nil, "m,w=%d value=1 %s\n", i, now)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := mustCount(t, c, database, "m"); got != 8 {
		t.Errorf("%d points, want 8", got)
	}
	if err := c.EnsureDatabase(t.Context(), database); err != nil {
		t.Errorf("ensured again: %v", err)
	}
}

func TestNothingToWriteIsNoRequest(t *testing.T) {
	c := connect(t, &influxtest.Server{URL: "http://127.0.0.1:1"})
	if err := c.Write(t.Context(), "sp", nil); err != nil {
		t.Error(err)
	}
}

func TestBadDatabaseNamesAreNotSent(t *testing.T) {
	c := connect(t, &influxtest.Server{URL: "http://127.0.0.1:1"})
	for _, name := range []string{"", "a/b", "..", "a b", "ä", "0a", strings.Repeat("a", 65), "a\n"} {
		err := c.Write(t.Context(), name, []byte("m value=1 1\n"))
		if err == nil || !strings.Contains(err.Error(), "database name") {
			t.Errorf("database %q: got %v, want a complaint of the name", name, err)
		} else if got, want := verdictOf(t, err), (verdict{operator: true}); got != want {
			t.Errorf("database %q: got %+v, want %+v", name, got, want)
		}
	}
}

func TestRefusedLinesAreToldFromAServerThatCannot(t *testing.T) {
	s := influxtest.StartEmbedded(t, map[string]string{
		"INFLUXDB_HTTP_MAX_BODY_SIZE": "65536", "INFLUXDB_DATA_INDEX_VERSION": "inmem",
		"INFLUXDB_DATA_MAX_SERIES_PER_DATABASE": "5",
	})
	admin := connect(t, s)
	series := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "m,s=%d value=1 %s\n", i, now)
		}
		return b.String()
	}
	for name, test := range map[string]struct {
		before  string   // lines written before
		execute []string // statements executed after that; $db is the database
		token   string
		lines   string
		want    verdict
		words   string
		stored  int64 // points of m afterwards
	}{
		"type conflict": {
			before: "m value=1 " + now + "\n", lines: "m,a=b value=2 " + now + "\nm value=\"x\" " + now + "\n",
			want: verdict{refused: true}, words: "field type conflict", stored: 2,
		},
		"one bad line": {
			lines: "m value=1 " + now + "\nm value= " + now + "\n",
			want:  verdict{refused: true}, words: "unable to parse", stored: 1,
		},
		"only bad lines":  {lines: "m\n", want: verdict{refused: true}, words: "missing fields"},
		"reserved tag":    {lines: "m,time=x value=1 " + now + "\n", want: verdict{refused: true}, words: `invalid tag key`},
		"number too wide": {lines: "m value=99999999999999999999i " + now + "\n", want: verdict{refused: true}, words: "out of range"},
		"older than the database keeps": {
			before: "m value=1 " + fmt.Sprint(time.Now().UnixMicro()) + "\n", execute: []string{`ALTER RETENTION POLICY autogen ON $db DURATION 2h SHARD DURATION 1h`},
			lines: "m value=1 " + now + "\nm,a=b value=1 " + fmt.Sprint(time.Now().UnixMicro()) + "\n",
			want:  verdict{refused: true, expired: true}, words: "beyond retention policy", stored: 2,
		},
		"series limit":      {lines: series(9), want: verdict{operator: true}, words: "max-series-per-database limit exceeded"},
		"wrong password":    {token: "wattline:wrong", lines: "m value=1 1\n", want: verdict{operator: true}, words: "401"},
		"no password":       {token: "x", lines: "m value=1 1\n", want: verdict{operator: true}, words: "401"},
		"no right to write": {before: "m value=1 1\n", execute: []string{`CREATE USER $db WITH PASSWORD 'pw'`}, token: "$db:pw", lines: "m value=2 2\n", want: verdict{operator: true}, words: "403", stored: 1},
		"no right to create": {
			execute: []string{`CREATE USER $db WITH PASSWORD 'pw'`}, token: "$db:pw", lines: "m value=2 2\n",
			want: verdict{operator: true}, words: "the database is missing",
		},
		"no retention policy": {
			before: "m value=1 1\n", execute: []string{`DROP RETENTION POLICY autogen ON $db`}, lines: "m value=2 2\n",
			want: verdict{operator: true}, words: "retention policy not found",
		},
		"one line too long": {
			lines: "m value=1,text=\"" + strings.Repeat("x", 70_000) + "\" " + now + "\n",
			want:  verdict{refused: true}, words: "one line of 70",
		},
	} {
		t.Run(name, func(t *testing.T) {
			database := influxtest.Database(t)
			fill := strings.NewReplacer("$db", database).Replace
			if test.before != "" {
				mustWrite(t, admin, database, test.before)
			}
			for _, statement := range test.execute {
				mustExec(t, admin, database, fill(statement))
			}
			c := connect(t, s, func(cfg *influx.Config) {
				if test.token != "" {
					cfg.Token = config.Secret(fill(test.token))
				}
			})
			err := c.Write(t.Context(), database, []byte(test.lines))
			if err == nil {
				t.Fatal("no error")
			}
			if got := verdictOf(t, err); got != test.want {
				t.Errorf("got %+v, want %+v (%v)", got, test.want, err)
			}
			if !strings.Contains(err.Error(), test.words) {
				t.Errorf("got %q, want words %q", err, test.words)
			}
			if test.stored > 0 {
				if got := mustCount(t, admin, database, "m"); got != test.stored {
					t.Errorf("%d points stored, want %d", got, test.stored)
				}
			}
		})
	}
}

func TestWriteTooLargeForOneRequestIsSplit(t *testing.T) {
	s := influxtest.StartEmbedded(t, map[string]string{"INFLUXDB_HTTP_MAX_BODY_SIZE": "200000"})
	c := connect(t, s)
	database := influxtest.Database(t)
	// Above and below the size from which the server is asked first.
	for _, n := range []int{100_000, 8_000} {
		start := int64(1_600_000_000_000_000) + int64(n)*1e9
		if err := c.Write(t.Context(), database, readings(n, start)); err != nil {
			t.Fatal(err)
		}
	}
	if got := mustCount(t, c, database, "power"); got != 27_000 {
		t.Errorf("%d points, want 27000", got)
	}
}

func TestSilentServerEndsTheWriteInTime(t *testing.T) {
	s := influxtest.StartEmbedded(t, nil)
	c := connect(t, s, func(cfg *influx.Config) { cfg.WriteTimeout = time.Second })
	database := influxtest.Database(t)
	mustWrite(t, c, database, "m value=1 1\n")
	thaw := freeze(t, s.Embedded.PID())
	begin := time.Now()
	err := c.Write(t.Context(), database, []byte("m value=2 2\n"))
	thaw()
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 5*time.Second {
		t.Errorf("got %v after %v, want no answer in time", err, time.Since(begin))
	}
	if got, want := verdictOf(t, err), (verdict{}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	mustWrite(t, c, database, "m value=2 2\n")
}

func TestCallerCanStopWaiting(t *testing.T) {
	s := influxtest.StartEmbedded(t, nil)
	c := connect(t, s, func(cfg *influx.Config) { cfg.MaxConcurrentWrites = 1 })
	freeze(t, s.Embedded.PID())
	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	var wg sync.WaitGroup
	for range 3 { // one under way, two waiting for their turn
		wg.Go(func() {
			err := c.Write(ctx, "sp", []byte("m value=2 2\n"))
			if !errors.Is(err, reason) {
				t.Errorf("got %v, want %v", err, reason)
			}
		})
	}
	cancel(reason)
	wg.Wait()
}

func TestFullDiskIsNotNowAndRoomHeals(t *testing.T) {
	s := influxtest.StartEmbedded(t, nil)
	c := connect(t, s)
	database := influxtest.Database(t)
	mustWrite(t, c, database, "m value=1 1\n")
	// No file may grow: the nearest to a full disk that needs no file system.
	limit := func(size uint64) {
		if err := unix.Prlimit(s.Embedded.PID(), unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size, Max: unix.RLIM_INFINITY}, nil); err != nil {
			t.Fatal(err)
		}
	}
	limit(1)
	err := c.Write(t.Context(), database, []byte("m value=2 2\n"))
	if err == nil {
		t.Fatal("stored with no room")
	}
	if got := verdictOf(t, err); got.refused {
		t.Errorf("refused: %v", err)
	}
	// InfluxDB alone would go on to fail; the supervisor starts it again.
	limit(unix.RLIM_INFINITY)
	waitFor(t, func() bool { return c.Write(t.Context(), database, []byte("m value=2 2\n")) == nil })
	if got := mustCount(t, c, database, "m"); got != 2 {
		t.Errorf("%d points, want 2", got)
	}
}

func TestAcknowledgedWritesSurviveKill(t *testing.T) {
	s := influxtest.StartEmbedded(t, nil)
	c := connect(t, s)
	database := influxtest.Database(t)
	var stored int64
	for kill := range 3 {
		pid := s.Embedded.PID()
		// Writers go on through the kill; what they count was acknowledged.
		var wg sync.WaitGroup
		counts := make([]int64, 2)
		for w := range counts {
			wg.Go(func() {
				for i := 0; ; i++ {
					at := int64(kill*2+w+1)*1e15/10 + int64(i)*1e6
					lines := bytes.ReplaceAll(readings(400, at), []byte("id=sp"), fmt.Appendf(nil, "id=k%dw%d", kill, w))
					if err := c.Write(t.Context(), database, lines); err != nil {
						return
					}
					if counts[w] += 100; w == 0 && i == 20 {
						_ = syscall.Kill(pid, syscall.SIGKILL)
					}
				}
			})
		}
		wg.Wait()
		stored += counts[0] + counts[1]
		waitFor(t, func() bool { _, err := c.Ping(t.Context()); return err == nil && s.Embedded.PID() != pid })
		if got := mustCount(t, c, database, "power"); got < stored {
			t.Fatalf("%d points after kill %d, %d were acknowledged", got, kill+1, stored)
		}
		// The last unanswered request of each writer may be stored or not.
		stored = mustCount(t, c, database, "power")
	}
	if s.Embedded.URL() != s.URL {
		t.Errorf("URL is %s, was %s", s.Embedded.URL(), s.URL)
	}
}

// waitFor polls until ok, for 30 s at most.
func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for !ok() {
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatal("nothing changed in 30 s")
		}
	}
}
