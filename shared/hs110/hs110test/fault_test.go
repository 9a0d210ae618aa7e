package hs110test_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/hs110"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

func TestFaultsStrikeAsOrdered(t *testing.T) {
	p := hs110test.New(t, hs110test.Options{Hardware: hs110test.HW2, Generate: hs110test.Numbered})
	spiked := func(n int) (pattern string) {
		for range n {
			if strings.Contains(mustAsk(t, p, `{"emeter":{"get_realtime":{}}}`), `"power_mw":9000000,`) {
				pattern += "x"
			} else {
				pattern += "."
			}
		}
		return pattern
	}
	for _, c := range []struct {
		fault hs110test.Fault
		want  string
	}{
		{hs110test.Fault{Spike: 9000}, "xxxxxx"},
		{hs110test.Fault{Spike: 9000, Times: 2}, "xx...."},
		{hs110test.Fault{Spike: 9000, Every: 3}, "..x..x"},
		{hs110test.Fault{Spike: 9000, Every: 2, Times: 2}, ".x.x.."},
		{hs110test.Fault{}, "......"},
	} {
		if err := p.SetFault(c.fault); err != nil {
			t.Fatal(err)
		}
		if got := spiked(6); got != c.want || p.Struck() != strings.Count(c.want, "x") {
			t.Errorf("%+v: got %s (%d), want %s", c.fault, got, p.Struck(), c.want)
		}
	}
	if got, want := p.Polls(), uint64(30); got != want {
		t.Errorf("%d answers counted, want %d", got, want)
	}
}

func TestOneConnectionResetsASecond(t *testing.T) {
	arrived, hold := make(chan struct{}), make(chan struct{})
	p := hs110test.New(t, hs110test.Options{OnRequest: func([]byte) { close(arrived); <-hold }})
	release := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release) // before the plug's own end, which would wait
	if err := p.SetFault(hs110test.Fault{OneConnection: true}); err != nil {
		t.Fatal(err)
	}
	first := mustDial(t, p.Address())
	if _, err := first.Write(hs110.AppendFrame(nil, []byte(`{"system":{"get_sysinfo":{}}}`))); err != nil {
		t.Fatal(err)
	}
	<-arrived
	second, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.Address())
	if err == nil { // or the reset was faster
		_, err = second.Read(make([]byte, 1))
		_ = second.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("second connection: %v, want a reset", err)
	}
	release()
	if _, err := hs110.ReadFrame(first, nil); err != nil {
		t.Errorf("first connection: %v", err)
	}
}

func TestCloseEndsWhatIsOpen(t *testing.T) {
	p := hs110test.New(t, hs110test.Options{})
	if err := p.SetFault(hs110test.Fault{Silent: true, Delay: time.Hour}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		c := mustDial(t, p.Address())
		_, _ = c.Write(hs110.AppendFrame(nil, []byte(`{"system":{"get_sysinfo":{}}}`)))
	}
	p.Reboot(time.Hour)
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := p.SetFault(hs110test.Fault{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("fault on a closed plug: %v", err)
	}
}

func TestParseFault(t *testing.T) {
	f, err := hs110test.ParseFault("slow:250ms+split+spike:15000/10")
	if err != nil || f.Delay != 250*time.Millisecond || !f.Split || f.Spike != 15000 || f.Every != 10 {
		t.Errorf("%+v, %v", f, err)
	}
	for line := range strings.Lines(hs110test.Orders) {
		word, _, _ := strings.Cut(line, " ")
		if word == "Several" {
			break
		}
		if _, err := hs110test.ParseFault(word); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "slow", "slow:-1s", "slow:x", "cut:x", "spike:NaN", "spike:-1", "silent:1", "none", "slow:1s/0", "slow:1s/x", "ok+"} {
		if f, err := hs110test.ParseFault(bad); err == nil {
			t.Errorf("%q: no error, %+v", bad, f)
		}
	}
}

// Many at once, for the race detector.
func TestPlugStandsManyClients(t *testing.T) {
	p := hs110test.New(t, hs110test.Options{})
	client, err := hs110.New(p.Address(), hs110.Options{HTTPPort: -1, KLAPPort: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				_, _ = client.Poll(ctx)
			}
		})
	}
	for i := 0; ctx.Err() == nil; i++ {
		_ = p.SetFault([]hs110test.Fault{{}, {Refuse: true}, {Split: true}, {OneConnection: true}, {Close: true}}[i%5])
		p.Press(i%2 == 0)
		if i%10 == 0 {
			p.Reboot(time.Millisecond)
		}
		p.Values()
	}
	wg.Wait()
}
