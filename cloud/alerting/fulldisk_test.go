package alerting_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/shared/contract"
)

const fullEnv = "ALERTING_FULL"

// The disk takes nothing while alerts begin and end: nobody is told of anything
// that is not written, and when there is room again all is told, once, in order.
// The limit on the size of files is that of a process, so it has one of its own.
//
// Seen to fail when the queues are counted before their transaction is committed:
// after some minutes of attempts they count as full, and alerts are left out.
func TestAFullDiskDelaysAlertsAndLosesNone(t *testing.T) {
	if data := os.Getenv(fullEnv); data != "" {
		fillUp(t, data)
		return
	}
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), fullEnv+"="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("held")) {
		t.Fatalf("%v\n%s", err, out)
	}
}

func fillUp(t *testing.T, data string) {
	receiver := notify.Receiver{Name: "a", Kind: "webhook", From: contract.Info, Over: true}
	p, ears := newPlayIn(t, data, monday, highRule("high", "severity: warning, when: {above: 100}"), receiver)
	a := ears[0]
	var keys []string
	a.before = func(m notify.Message) {
		keys = append(keys, m.Key)
		for _, i := range m.Items {
			if i.Event == notify.Trials {
				continue
			}
			p.does("alerts", contract.RegistryRequest{Verb: "get", Key: i.Alert.ID}) // written before it is told
		}
	}
	places := p.places(300)
	p.measure(200, places[0])
	p.passes(time.Second)
	a.wants("with room", "12:00 began high sp_f1.g0")

	free := full(t, data)
	p.measure(200, places[1:]...)
	p.measure(10, places[0]) // which there is room for, but no turn
	p.passes(time.Minute)
	for range 4 * 60 { // the queues are looked at once a minute
		p.now = p.now.Add(time.Second)
		p.role.Pass()
	}
	p.now = p.now.Add(time.Second)
	p.measure(10, places[1])
	p.role.Pass()
	a.wants("while the disk is full")
	if state := p.role.State(); len(state) != 1 || state[0].Subject != places[0] || state[0].State != contract.Firing || state[0].Ended != 0 {
		t.Errorf("as a state %d alerts are told, the first %+v", len(state), state[0])
	}
	id := firing(t, p.role)[0].ID
	if refused := p.role.Do("alerts", contract.RegistryRequest{Verb: "acknowledge", Key: id}).Problem; refused == nil || refused.Kind != contract.NotNow {
		t.Errorf("acknowledged on a full disk: %+v", refused)
	} else if strings.Contains(refused.Detail, "/") || !strings.Contains(refused.Detail, "see the cloud's log for ") {
		t.Errorf("clients read %q", refused.Detail)
	}

	free()
	p.passes(2 * time.Minute)
	want := []string{"over high sp_f1.g0"}
	for n, name := range places[1:] {
		event := "began"
		if n == 0 {
			event = "was"
		}
		want = append(want, event+" high "+name)
	}
	var got []string
	for _, line := range a.got {
		got = append(got, strings.Split(line[len("12:00 "):], ", ")...)
	}
	if a.last.Omitted+len(got) != len(want) || len(a.got) != 1 {
		t.Errorf("%d items in %d messages, %d left out", len(got), len(a.got), a.last.Omitted)
	}
	for n, item := range got {
		if !slices.Contains(want, item) || slices.Contains(got[:n], item) {
			t.Errorf("was told %q", item)
		}
	}
	if n := len(p.kept("firing")); n != 298 {
		t.Errorf("%d fire, says the archive", n)
	}
	a.got = nil
	p.measure(10, places...)
	p.passes(time.Minute)
	if len(a.got) != 1 || len(a.last.Items)+a.last.Omitted != 298 {
		t.Errorf("in the end: %d messages, the last with %d and %d", len(a.got), len(a.last.Items), a.last.Omitted)
	}
	// A message is taken, and then nothing can be written at all.
	p.measure(200, places[0])
	took := len(keys)
	a.before = func(m notify.Message) {
		keys = append(keys, m.Key)
		free = limit(t, 0)
	}
	p.passes(10 * time.Minute)
	if n := len(keys) - took; n != 1 {
		t.Errorf("sent %d times while that it was taken could not be written", n)
	}
	free()
	a.before = nil
	p.measure(10, places[0])
	p.passes(2 * time.Minute)
	a.got = a.got[min(2, len(a.got)):]
	a.wants("with room again", p.now.Add(-2*time.Minute+time.Second).In(p.zone).Format("15:04")+" over high sp_f1.g0")

	slices.Sort(keys)
	if len(slices.Compact(slices.Clone(keys))) != len(keys) {
		t.Errorf("told twice: %v", keys)
	}
	if !t.Failed() {
		fmt.Println("held")
	}
}

// full keeps the file of the alerts from growing, until free.
func full(t *testing.T, data string) (free func()) {
	t.Helper()
	info, err := os.Stat(filepath.Join(data, "alerting", "alerting.db"))
	if err != nil {
		t.Fatal(err)
	}
	return limit(t, uint64(info.Size()))
}

// limit keeps files from having more bytes, until free.
func limit(t *testing.T, size uint64) (free func()) {
	t.Helper()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	set := func(limit uint64) {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: old.Max}); err != nil {
			t.Fatal(err)
		}
	}
	set(size)
	return func() { set(old.Cur) }
}
