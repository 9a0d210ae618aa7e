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
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	healEvery = 30 * time.Second
	healRoom  = 16 << 20 // bytes
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
