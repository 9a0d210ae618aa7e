package influxd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	firstPause   = 200 * time.Millisecond // before influxd is started again
	longestPause = 30 * time.Second
	steadyAfter  = time.Minute // an influxd that ran this long starts the pauses over
	portTries    = 5
)

// supervise starts influxd again and again until Close. Its thread must live as
// long as the process: the kernel sends Pdeathsig when the thread that started
// it ends, not when its program does (prctl(2)).
func (s *Server) supervise() {
	runtime.LockOSThread() // and never unlocked: the thread ends with this function
	pause := firstPause
	for attempt := 1; ; attempt++ {
		begin := time.Now()
		err := s.runOnce(attempt)
		if s.isClosed() {
			return
		}
		if !s.isReady() && !killed(err) {
			if s.portTaken() && attempt < portTries {
				continue
			}
			s.fail(err)
			return
		}
		if time.Since(begin) > steadyAfter {
			pause = firstPause
		}
		s.log.Warn("influxd ended, starting it again", slog.String("component", "influxd"),
			slog.Int("attempt", attempt), slog.Duration("duration", pause), slog.Any("err", err))
		select {
		case <-time.After(pause):
		case <-s.stop:
			return
		}
		pause = min(2*pause, longestPause)
	}
}

// killed says whether somebody ended influxd, the kernel for want of memory as
// well as an operator. That says nothing about how it would have gone on, so it
// is as good a reason to try again before it was ready as it is after.
func killed(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled()
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *Server) isReady() bool {
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}

// portTaken says whether another port may help.
func (s *Server) portTaken() bool {
	return strings.HasSuffix(s.cfg.Address, ":0") && strings.Contains(s.out.last(), "address already in use")
}

// runOnce starts influxd and returns, when it ended, why.
func (s *Server) runOnce(attempt int) error {
	address, err := s.address()
	if err != nil {
		return err
	}
	path := filepath.Join(s.cfg.Dir, configFile)
	if err := writeFile(path, configText(s.cfg.Dir, address)); err != nil {
		return err
	}
	if err := s.repair(); err != nil {
		return err
	}
	command, err := s.spawn(address, path)
	if err != nil {
		return err
	}
	ctx, ended := context.WithCancelCause(context.Background())
	s.running.Go(func() { s.awaitReady(ctx, attempt, "http://"+address) })
	err = command.Wait()
	s.out.end()
	ended(errors.New("influxd ended"))
	s.mu.Lock()
	s.command = nil
	s.mu.Unlock()
	if err == nil {
		err = errors.New("it ended by itself")
	}
	return fmt.Errorf("influxd: %w (%s)", err, s.out.last())
}

// spawn starts the process, unless Close was called.
func (s *Server) spawn(address, config string) (*exec.Cmd, error) {
	command := exec.Command(s.binary, "run", "-config", config) //nolint:gosec,noctx // the operator names it; Close ends it
	command.Dir = s.cfg.Dir
	command.Env = s.environment()
	command.Stdout, command.Stderr = s.out, s.out
	command.WaitDelay = 5 * time.Second
	command.ExtraFiles = s.locks[1:] // never closed by influxd, which does not know of it
	command.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		Setpgid:   true, // Ctrl-C is for us: influxd must outlive those who still write
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("closed")
	}
	s.out.begin()
	if err := command.Start(); err != nil {
		return nil, err
	}
	s.command = command
	s.url = "http://" + address
	if err := record(s.cfg.Dir, command.Process.Pid); err != nil {
		// Without a record it could never be told from a stranger's.
		_ = command.Process.Kill()
		_ = command.Wait()
		s.command = nil
		return nil, fmt.Errorf("record the process: %w", err)
	}
	return command, nil
}

// environment passes little on: INFLUXDB_ variables would change influxd's
// configuration, and the rest is none of its business.
func (s *Server) environment() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "TZ"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	for name, value := range s.cfg.Environment {
		env = append(env, name+"="+value)
	}
	return env
}

// awaitReady tells Start, or the log, when influxd answers.
func (s *Server) awaitReady(ctx context.Context, attempt int, url string) {
	begin := time.Now()
	err := newProbe(url, s.token).await(ctx)
	switch {
	case err == nil && !s.isReady():
		close(s.ready)
	case err == nil:
		s.log.InfoContext(ctx, "influxd is back", slog.String("component", "influxd"),
			slog.Int("attempt", attempt), slog.Duration("duration", time.Since(begin)))
	case errors.Is(err, errCredentials) && !s.isReady():
		err = fmt.Errorf("%w than %s has: put that file back from a backup", err, filepath.Join(s.cfg.Dir, credentialsFile))
		s.fail(err)
	}
}

// fail tells Start why there is nothing to wait for. The first reason counts.
func (s *Server) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}
