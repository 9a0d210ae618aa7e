package e2e_test

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a program that can be killed and started again.
type process struct {
	t    testing.TB
	name string
	log  string
	args []string
	user uint32 // runs as this user, unless 0

	mu    sync.Mutex // protects what follows
	cmd   *exec.Cmd
	done  chan struct{}
	ended bool // on purpose
}

// newProcess prepares a program; its output is appended to log.
func newProcess(t testing.TB, name, log string, args ...string) *process {
	p := &process{t: t, name: name, log: log, args: args}
	t.Cleanup(func() { p.stop() })
	return p
}

// start runs it. It ends with this process: Pdeathsig counts the thread that
// starts it, so that thread is kept.
func (p *process) start() {
	p.t.Helper()
	file, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer file.Close()
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Stdout, cmd.Stderr = file, file
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if p.user != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: p.user, Gid: p.user}
	}
	done, started := make(chan struct{}), make(chan error)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(done)
		}
	}()
	if err := <-started; err != nil {
		p.t.Fatalf("start %s: %v", p.name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd, p.done, p.ended = cmd, done, false
}

// kill ends it by SIGKILL and waits until the kernel has cleared it away.
func (p *process) kill() {
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	p.ended = true
	p.mu.Unlock()
	_ = cmd.Process.Signal(syscall.SIGKILL)
	<-done
}

// stop asks it to end, and reports how long that took. Safe twice.
func (p *process) stop() time.Duration {
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	wasEnded := p.ended
	p.ended = true
	p.mu.Unlock()
	if cmd == nil || wasEnded {
		return 0
	}
	begin := time.Now()
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		p.t.Errorf("%s does not end within 30 s of SIGTERM; its goroutines are in its log", p.name)
		_ = cmd.Process.Signal(syscall.SIGABRT)
		<-done
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Errorf("%s ended with %d after SIGTERM; its last lines:\n%s", p.name, code, p.tail(10))
	}
	return time.Since(begin)
}

// alive reports whether it runs; one that ended by itself fails the test.
func (p *process) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || p.ended {
		return false
	}
	select {
	case <-p.done:
		p.t.Errorf("%s ended by itself; its last lines:\n%s", p.name, p.tail(10))
		p.ended = true
		return false
	default:
		return true
	}
}

// expectEnd says that it may end by itself.
func (p *process) expectEnd() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
}

// running reports whether it runs, whatever was expected.
func (p *process) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

// tail is the end of the log.
func (p *process) tail(n int) string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-n):], []byte("\n")))
}

// said counts how often the log has a text.
func (p *process) said(text string) int {
	log, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Fatal(err)
	}
	return bytes.Count(log, []byte(text))
}
