// Package influxd runs the embedded database: a real InfluxDB 1.8 as a child
// process, with its data, credentials and configuration in one directory.
//
// It guarantees that at most one influxd works on a directory, that it ends
// with this process however that ends, that it is started again when it dies,
// and that its URL and token stay the same meanwhile. influxd syncs each write
// to disk before it says yes; this package changes nothing about that, so that
// killing it, or the power, loses nothing that was acknowledged.
package influxd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	firstPause   = 200 * time.Millisecond // before influxd is started again
	longestPause = 30 * time.Second
	steadyAfter  = time.Minute // an influxd that ran this long starts the pauses over
	portTries    = 5
	healEvery    = 30 * time.Second
	healRoom     = 16 << 20 // bytes
)

// Server is an embedded InfluxDB that runs. It is safe for concurrent use.
type Server struct {
	cfg    Config
	log    *slog.Logger
	binary string
	token  string
	out    *output
	locks  []*os.File // own, then child's

	ready   chan struct{} // closed when it first answered
	failed  chan error    // why it never did
	stop    chan struct{} // closed by Close
	done    chan struct{} // closed when nothing runs any more
	running sync.WaitGroup
	once    sync.Once

	mu      sync.Mutex // guards what follows
	url     string     // fixed once ready
	command *exec.Cmd  // nil: none runs
	healed  time.Time  // when Heal last acted
	closed  bool
}

// Start runs InfluxDB on cfg.Dir and returns when it takes writes and queries,
// or with a sentence that tells what to do. ctx bounds the start only; Close
// ends what it returns.
//
// Errors: ErrNoBinary, ErrInUse, and those of files and ports.
func Start(ctx context.Context, cfg Config, log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("embedded influxd: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.StartTimeout,
		fmt.Errorf("influxd did not answer within %v: %w", cfg.StartTimeout, context.DeadlineExceeded))
	defer cancel()
	s := &Server{
		cfg: cfg, log: log, out: newOutput(log),
		ready: make(chan struct{}), failed: make(chan error, 1),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	if err := s.open(ctx); err != nil {
		s.unlock()
		return nil, fmt.Errorf("embedded influxd: %w", err)
	}
	begin := time.Now()
	s.running.Go(s.supervise)
	var err error
	select {
	case <-s.ready:
		log.InfoContext(ctx, "influxd started", slog.String("component", "influxd"), slog.Duration("duration", time.Since(begin)))
		return s, nil
	case err = <-s.failed:
	case <-ctx.Done():
		err = fmt.Errorf("%w (%s)", context.Cause(ctx), s.out.last())
	}
	s.Close()
	return nil, fmt.Errorf("embedded influxd: %w", err)
}

// open does all that comes before the process.
func (s *Server) open(ctx context.Context) (err error) {
	if s.binary, err = findBinary(s.cfg.Binary); err != nil {
		return err
	}
	if s.cfg.Dir, err = prepareDir(s.cfg.Dir); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	own, err := lockOwn(ctx, s.cfg.Dir)
	if err != nil {
		return err
	}
	s.locks = append(s.locks, own)
	child, err := lockChild(ctx, s.cfg.Dir, s.cfg.StopTimeout, s.log)
	if err != nil {
		return err
	}
	s.locks = append(s.locks, child)
	s.token, err = loadCredentials(s.cfg.Dir)
	return err
}

func (s *Server) unlock() {
	for _, f := range s.locks {
		_ = f.Close()
	}
}

// URL is the server's root. It stays the same while the program runs.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.url
}

// Token is user:password of an administrator, as InfluxDB 1.8 takes it where
// 2.x takes a token.
func (s *Server) Token() string { return s.token }

// PID is the process id of the influxd that runs now; 0: none does.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.command == nil {
		return 0
	}
	return s.command.Process.Pid
}

// Done is closed when Close has done its work.
func (s *Server) Done() <-chan struct{} { return s.done }

// Close ends influxd: it is asked to, then killed after Config.StopTimeout. It
// returns when the process is gone and the directory is free. Safe to call
// twice.
func (s *Server) Close() {
	s.once.Do(func() {
		s.mu.Lock()
		s.closed = true
		command := s.command
		s.mu.Unlock()
		close(s.stop)
		if command != nil {
			_ = command.Process.Signal(syscall.SIGTERM)
			kill := time.AfterFunc(s.cfg.StopTimeout, func() {
				s.log.Warn("influxd does not end, killing it", slog.String("component", "influxd"), slog.Duration("duration", s.cfg.StopTimeout))
				_ = command.Process.Kill()
			})
			defer kill.Stop()
		}
		s.running.Wait()
		s.unlock()
		close(s.done)
	})
	<-s.done
}

// Heal starts influxd again if that may help a server whose writes fail since
// its disk was full: only where there is room by now, and not twice within
// healEvery. It does not block and may be called at every failed write.
func (s *Server) Heal() {
	var fs unix.Statfs_t
	if err := unix.Statfs(s.cfg.Dir, &fs); err != nil || fs.Bavail*uint64(fs.Bsize) < healRoom { //nolint:gosec // block sizes are positive
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.command == nil || s.closed || time.Since(s.healed) < healEvery {
		return
	}
	s.healed = time.Now()
	command := s.command
	s.log.Warn("influxd cannot write since its disk was full, starting it again", slog.String("component", "influxd"))
	_ = command.Process.Signal(syscall.SIGTERM)
	time.AfterFunc(s.cfg.StopTimeout, func() { _ = command.Process.Kill() }) // no error, no effect if it ended
}

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
		if !s.isReady() {
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

// address gives where influxd is to listen: what it had before, what was
// configured, or a free port of loopback.
func (s *Server) address() (string, error) {
	address := s.cfg.Address
	if s.isReady() {
		address = strings.TrimPrefix(s.URL(), "http://")
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	if port == "0" {
		return freePort(host)
	}
	if err := tryListen(address); err != nil {
		return "", fmt.Errorf("%w: end what listens there, or choose another address", err)
	}
	return address, nil
}

// freePort looks below the ports that the kernel gives to outgoing connections
// (32768 and up by default): one of those could take it while influxd is down.
func freePort(host string) (string, error) {
	for range 100 {
		address := net.JoinHostPort(host, strconv.Itoa(20000+rand.IntN(12000)))
		if tryListen(address) == nil {
			return address, nil
		}
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0")) //nolint:noctx // does not block
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func tryListen(address string) error {
	l, err := net.Listen("tcp", address) //nolint:noctx // does not block
	if err != nil {
		return err
	}
	return l.Close()
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
