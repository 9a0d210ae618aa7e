package hook_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/bus/bustest"
)

// The hook of the example runs as it is shown: two replicas on a broker share
// what a gateway tells.
func TestTheHookOfTwentyLinesWorks(t *testing.T) {
	broker := bustest.Start(t)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 3)
	said, out := io.Pipe()
	for range 2 {
		go func() { ended <- heavy(ctx, broker.URL, out) }()
	}
	link := bus.NewLink(bus.Options{URL: broker.URL, ClientID: "edge-f1"}, quiet)
	go func() { ended <- link.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		_ = said.Close()
		for range 3 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	lines := make(chan string)
	go func() {
		defer close(lines)
		b := make([]byte, 4096)
		for {
			n, err := said.Read(b)
			if err != nil {
				return
			}
			lines <- string(b[:n])
		}
	}()
	tell := func(watts, second int) {
		t.Helper()
		pack := fmt.Sprintf(`[{"bn":"sp_f1.g0/","bt":%d,"n":"power","u":"W","v":%d},{"n":"voltage","u":"V","v":2300}]`, 1_700_000_000+second, watts)
		if err := link.Publish(t.Context(), bus.Message{Topic: bus.StateTopic("edge-f1", "sp_f1.g0"), Payload: []byte(pack)}); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.After(20 * time.Second); ; { // until one listens
		tell(2345, 0)
		select {
		case got := <-lines:
			if want := "sp_f1.g0 draws 2345 W since 2023-11-14 22:13:20 +0000 UTC\n"; got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		case <-time.After(50 * time.Millisecond):
			continue
		case <-deadline:
			t.Fatal("the hook says nothing")
		}
		break
	}
	tell(1999, 1)
	tell(2001, 2)
	for heavier := false; !heavier; {
		select {
		case got := <-lines:
			if strings.Contains(got, "1999") {
				t.Errorf("a light one was told: %s", got)
			}
			heavier = strings.Contains(got, "2001")
		case <-time.After(20 * time.Second):
			t.Fatal("the hook says nothing more")
		}
	}
}

// What is shown is no longer than it is said to be.
func TestTheHookOfTwentyLinesHasTwenty(t *testing.T) {
	text, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\nfunc heavy(")
	body, _, found := strings.Cut(rest, "\n}\n")
	if lines := strings.Count(body, "\n") + 2; !found || lines > 20 {
		t.Errorf("it has %d lines", lines)
	}
}
