package interop_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a running program whose output goes into a file.
type process struct {
	t    testing.TB
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
	once sync.Once
}

// run starts a program and ends it with the test. It dies with this process:
// Pdeathsig counts the thread that starts it, so that thread is kept.
func run(t testing.TB, name, log string, args ...string) *process {
	t.Helper()
	file, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p := &process{t: t, name: name, log: log, cmd: exec.Command(args[0], args[1:]...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = file, file
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	t.Cleanup(p.stop)
	return p
}

// stop asks it to end and waits. Safe twice. One that has ended by itself before,
// or with an error, fails the test.
func (p *process) stop() {
	p.once.Do(func() {
		p.alive()
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(30 * time.Second):
			p.t.Errorf("%s does not end within 30 s of SIGTERM; its goroutines are in its log", p.name)
			_ = p.cmd.Process.Signal(syscall.SIGABRT)
			<-p.done
		}
		if code := p.cmd.ProcessState.ExitCode(); code != 0 && strings.HasPrefix(p.name, "wattline") {
			p.t.Errorf("%s ended with %d after SIGTERM; its last lines:\n%s", p.name, code, p.tail(10))
		}
	})
}

func (p *process) alive() bool {
	select {
	case <-p.done:
		p.t.Errorf("%s ended by itself; its last lines:\n%s", p.name, p.tail(10))
		return false
	default:
		return true
	}
}

func (p *process) output() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (p *process) tail(n int) string {
	lines := bytes.Split(bytes.TrimSpace([]byte(p.output())), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-n):], []byte("\n")))
}

// anonymous is the memory in MiB that belongs to the process alone (RssAnon).
func (p *process) anonymous() int {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kilobytes := 0
			if _, err := fmt.Sscan(rest, &kilobytes); err != nil {
				p.t.Fatal(err)
			}
			return kilobytes >> 10
		}
	}
	p.t.Fatal("no RssAnon in /proc")
	return 0
}

// descriptors is how many files and connections it has open.
func (p *process) descriptors() int {
	p.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	return len(entries)
}

// checkLog looks into what it wrote: no panic, no flood.
func (p *process) checkLog() {
	lines, errors := 0, 0
	for line := range strings.Lines(p.output()) {
		lines++
		switch {
		case strings.HasPrefix(line, "panic:"), strings.HasPrefix(line, "fatal error:"), strings.Contains(line, "panicked"):
			p.t.Errorf("%s: %s", p.name, line)
		case strings.Contains(line, `"level":"ERROR"`):
			if errors++; errors <= 5 {
				p.t.Logf("%s: %s", p.name, line)
			}
		}
	}
	if lines > 1000 {
		p.t.Errorf("%s wrote %d lines", p.name, lines)
	}
}
