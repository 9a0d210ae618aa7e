package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a program that was started for a measurement.
type process struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
}

// start runs a program with its output in a file. It ends when this one ends,
// even by SIGKILL; Pdeathsig is tied to the thread that starts it, so that
// thread is kept.
func (b *bench) start(name string, args ...string) (*process, error) {
	log := filepath.Join(b.dir, name+".log")
	file, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	defer file.Close()
	p := &process{name: name, log: log, cmd: &exec.Cmd{Path: args[0], Args: args}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = file, file
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
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
		return nil, fmt.Errorf("start %s: %w; make build makes the programs", name, err)
	}
	return p, nil
}

// stop asks the program to end, and kills it when it does not. Safe twice.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(15 * time.Second):
		p.kill()
	}
}

// kill ends the program by SIGKILL.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

func (p *process) path(file string) string {
	return fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file)
}

// rssAnon is the memory that is the process's own, in MB of 10^6 bytes: mapped
// files, which the kernel takes back when it wants, are left out.
func (p *process) rssAnon() (float64, error) {
	kB, err := field(p.path("status"), "RssAnon:")
	return float64(kB) * 1024 / 1e6, err
}

// field reads the number behind a key of a file of /proc.
func field(path, key string) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) >= 2 && words[0] == key {
			return strconv.ParseInt(words[1], 10, 64)
		}
	}
	return 0, errors.Join(fmt.Errorf("read %s: no %s", path, key), lines.Err())
}

// spent is the processor time that each process has used so far. On a machine
// that others use too it tells more than the clock.
func spent(pids ...int) (used []time.Duration, err error) {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on all that Go runs on
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return nil, fmt.Errorf("read the processor time: %w", err)
		}
		// The name, in brackets, may have spaces: proc_pid_stat(5).
		f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		user, err1 := strconv.ParseInt(f[11], 10, 64)
		system, err2 := strconv.ParseInt(f[12], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("read the processor time: %w", err)
		}
		used = append(used, time.Duration(user+system)*tick)
	}
	return used, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// until waits for something, and fails when ctx ends, the program p (which may
// be nil) ends, or it takes too long.
func until(ctx context.Context, p *process, within time.Duration, what string, ready func() bool) error {
	return every(ctx, 5*time.Millisecond, p, within, what, ready)
}

// every is until, looking so often: looking may cost what is measured.
func every(ctx context.Context, pause time.Duration, p *process, within time.Duration, what string, ready func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var done chan struct{}
	if p != nil {
		done = p.done
	}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for !ready() {
		select {
		case <-done:
			return fmt.Errorf("wait for %s: %s ended: %s", what, p.name, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-600):])
}

func (p *process) said(word string) func() bool {
	return func() bool {
		text, err := os.ReadFile(p.log)
		return err == nil && strings.Contains(string(text), word)
	}
}

// freeAddress is one on loopback where nobody listens at the moment.
func freeAddress() (string, error) {
	l, err := listen("127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

func listen(address string) (*net.TCPListener, error) {
	at, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, err
	}
	return net.ListenTCP("tcp", at)
}

// dial needs no time-out: it goes to loopback only.
func dial(address string) (*net.TCPConn, error) {
	to, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, err
	}
	return net.DialTCP("tcp", nil, to)
}

func listens(address string) func() bool {
	return func() bool {
		conn, err := dial(address)
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	}
}
