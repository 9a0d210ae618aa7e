package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// child is one process of the demonstration.
type child struct {
	name  string
	log   string
	cmd   *exec.Cmd
	done  chan struct{}
	again func(context.Context) error // starts another in its place
}

// startChild starts a program with its output in a file. It has a process group
// of its own, so that Ctrl-C reaches it through us, in order; and it ends when
// we end, even by SIGKILL: Pdeathsig is tied to the thread that starts it, so
// that thread is kept.
func startChild(ctx context.Context, name, log string, args ...string) (*child, error) {
	_ = os.Rename(log, log+".before") // what the one before said last
	file, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	defer file.Close()
	c := &child{name: name, log: log, cmd: exec.CommandContext(context.WithoutCancel(ctx), args[0], args[1:]...), done: make(chan struct{})}
	c.cmd.Stdout, c.cmd.Stderr = file, file
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			_ = c.cmd.Wait()
			close(c.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return c, nil
}

// stop asks the child to end, waits, and kills it when it does not.
func (c *child) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(20 * time.Second):
		_ = c.cmd.Process.Kill()
		<-c.done
	}
}

// killed says whether somebody ended the child: with kill -9, or with kill, which
// it obeys in good order. What goes wrong in it ends with another status.
func (c *child) killed() bool {
	status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && (status.Signaled() || status.ExitStatus() == 0)
}

// tail is the end of the child's log.
func (c *child) tail() string {
	text, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-5):], []byte("\n"))) + "\n(all of it: " + c.log + ")"
}

// until waits for something the child does, and fails when it ends before.
func (c *child) until(ctx context.Context, ready func() bool, within time.Duration) error {
	deadline := time.After(within)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ready() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.done:
			return fmt.Errorf("%s ended; its last lines:\n%s", c.name, c.tail())
		case <-deadline:
			return errors.New(c.name + " is not ready after " + within.String() + "; its last lines:\n" + c.tail())
		case <-tick.C:
		}
	}
	return nil
}

func (c *child) said(word string) func() bool {
	return func() bool {
		text, err := os.ReadFile(c.log)
		return err == nil && bytes.Contains(text, []byte(word))
	}
}

func logFile(data, name string) string { return filepath.Join(data, "log", name+".log") }
