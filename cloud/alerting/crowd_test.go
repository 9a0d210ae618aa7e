package alerting_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// floor is a gateway with a crowd of plugs, and how it is.
type floor struct {
	*play
	names []string
	ids   []device.ID
	away  map[string]bool
	dead  bool
	most  uint64 // bytes in use, as far as anybody looked
}

// newFloor has the rules of the program, a facility manager's mail with a digest,
// and those on call by webhook.
func newFloor(t *testing.T) (f *floor, mail, calls *ear) {
	t.Helper()
	text, err := rule.Write(rule.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	digest := rule.Clock(8 * 60)
	p, ears := newPlay(t, monday, string(text),
		notify.Receiver{Name: "facility", Kind: "email", From: contract.Info, Wait: 30 * time.Second, Most: 12, Digest: &digest, Over: true},
		notify.Receiver{Name: "on-call", Kind: "webhook", From: contract.Warning, Over: true})
	f = &floor{play: p, names: p.places(crowd), away: make(map[string]bool)}
	for _, name := range f.names {
		id, err := device.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		f.ids = append(f.ids, id)
	}
	return f, ears[0], ears[1]
}

// lives has the gateway beat and its plugs be read, each ten seconds.
func (f *floor) lives(d time.Duration) {
	f.t.Helper()
	for end := f.now.Add(d); f.now.Before(end); {
		if !f.dead {
			s := contract.Status{
				Gateway: "edge-f1", Online: true, Epoch: 1, Time: device.MicrosOf(f.now), Clock: contract.ClockStatus{Set: true},
				Outbox: contract.OutboxStatus{Limit: 100}, Plugs: contract.PlugsStatus{Configured: crowd, Reachable: crowd - len(f.away)},
			}
			var read []string
			for n, name := range f.names {
				if f.away[name] {
					s.Plugs.Problems = append(s.Plugs.Problems, contract.PlugProblem{Device: f.ids[n], Reason: "offline", Since: s.Time})
				} else {
					read = append(read, name)
				}
			}
			f.hear(bus.StatusTopic("edge-f1"), s, false)
			if len(read) > 0 {
				f.measure(20, read...)
			}
		}
		f.strides(10*time.Second, 10*time.Second)
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	f.most = max(f.most, memory.HeapAlloc)
}

// tally counts the messages so far, and their items by event, and forgets them.
func tally(e *ear) (messages int, events map[string]int) {
	events = make(map[string]int)
	for _, line := range e.got {
		for item := range strings.SplitSeq(line[len("12:00 "):], ", ") {
			event, _, _ := strings.Cut(item, " ")
			events[event]++
		}
	}
	messages, e.got = len(e.got), nil
	return messages, events
}

func TestAThousandPlugsOfADeadGatewayAreOneAlert(t *testing.T) {
	t.Parallel()
	f, mail, calls := newFloor(t)
	f.lives(5 * time.Minute)
	f.dead = true
	f.lives(30 * time.Minute)
	f.dead = false
	f.lives(10 * time.Minute)
	mail.wants("mail", "12:08 began gateway-offline edge-f1", "12:35 over gateway-offline edge-f1")
	calls.wants("calls", "12:07 began gateway-offline edge-f1", "12:35 over gateway-offline edge-f1")
	if n := len(mail.last.Items[0].Alert.Covers) + mail.last.Items[0].Alert.CoversMore; n != crowd {
		t.Errorf("it explains %d", n)
	}
	if all := f.kept("all"); len(all) != 1 {
		t.Errorf("%d alerts are kept", len(all))
	}
}

// The gateway lives, and reaches none of its plugs any more: an access point is off.
// They come back one after the other, for minutes. Nothing runs beside it that
// would be counted too.
func TestAThousandPlugsThatFailAtOnceAreFewMessages(t *testing.T) {
	begin := time.Now()
	f, mail, calls := newFloor(t)
	f.lives(5 * time.Minute)
	for _, name := range f.names {
		f.away[name] = true
	}
	f.lives(30 * time.Minute)
	for who, e := range map[string]*ear{"mail": mail, "calls": calls} {
		last := e.last
		if messages, events := tally(e); messages != 1 || events["began"] != notify.MaxItems || last.Omitted != crowd-notify.MaxItems {
			t.Errorf("%s: %d messages with %v, %d left out", who, messages, events, last.Omitted)
		}
	}
	if n := len(f.kept("firing")); n != crowd {
		t.Errorf("%d fire", n)
	}
	for n := 0; n < crowd; n += 50 { // fifty each ten seconds, as a gateway finds them again
		for _, name := range f.names[n : n+50] {
			delete(f.away, name)
		}
		f.lives(10 * time.Second)
	}
	f.lives(time.Hour)
	if messages, events := tally(mail); messages > 12 || events["over"] < notify.MaxItems || len(events) != 1 {
		t.Errorf("mail of the recovery: %d messages with %v", messages, events)
	}
	if messages, events := tally(calls); messages > crowd/50 || events["over"] != crowd || len(events) != 1 {
		t.Errorf("calls of the recovery: %d messages with %v", messages, events)
	}
	if n := len(f.kept("firing")); n != 0 {
		t.Errorf("%d fire still", n)
	}
	t.Logf("two hours of %d plugs took %v, %d MB at most", crowd, time.Since(begin), f.most>>20)
	if f.most > 200<<20 {
		t.Errorf("it took %d MB", f.most>>20)
	}
}
