// Command wattline-simulate runs the protocol of store and forward through
// random schedules of faults, one per seed, until it is told to stop or finds
// one that breaks a promise. See package world for what is real in it and what
// must hold.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/wattline/wattline/scripts/simulate/world"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // default action back: a second signal kills
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "simulate:", err)
		os.Exit(1)
	}
}

// options are what the flags say.
type options struct {
	seed    uint64
	n       uint64
	workers int
	trace   bool
	all     bool
	variant world.Variant
	dir     string
}

func parse(args []string, out io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("simulate", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.Uint64Var(&o.seed, "seed", 0, "first seed; 0 draws one")
	flags.Uint64Var(&o.n, "n", 0, "how many schedules; 0 goes on until Ctrl-C")
	flags.IntVar(&o.workers, "workers", runtime.NumCPU(), "how many at once")
	flags.BoolVar(&o.trace, "trace", false, "print all that happens under -seed")
	flags.BoolVar(&o.all, "all", false, "go on after a seed that fails")
	variant := flags.String("variant", "", "turn the protection off that begins with these words; ? lists them")
	flags.StringVar(&o.dir, "dir", memory(), "where the outboxes lie")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if *variant != "" {
		for _, v := range world.Variants() {
			if strings.HasPrefix(string(v), *variant) {
				o.variant = v
			}
		}
		if o.variant == "" {
			var list strings.Builder
			for _, v := range world.Variants() {
				list.WriteString("\n  " + string(v))
			}
			return o, fmt.Errorf("-variant is one of:%s", list.String())
		}
	}
	if o.trace && o.seed == 0 {
		return o, errors.New("-trace needs a -seed")
	}
	if o.seed == 0 {
		o.seed = rand.Uint64() >> 1
	}
	if o.workers < 1 {
		return o, fmt.Errorf("-workers %d: at least 1", o.workers)
	}
	return o, nil
}

// memory is a directory that costs no disk, where there is one.
func memory() string {
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err == nil && info.IsDir() {
		return shm
	}
	return os.TempDir()
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args, out)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "wattline-simulate-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer os.RemoveAll(dir) // of outboxes that are gone
	if o.trace {
		r := world.Run(ctx, o.seed, world.Options{Dir: dir, Variant: o.variant, Trace: out})
		return verdict(r, o, out)
	}
	return many(ctx, o, dir, out)
}

func verdict(r world.Result, o options, out io.Writer) error {
	if len(r.Violations) == 0 {
		return nil
	}
	again := fmt.Sprintf("go run ./scripts/simulate -seed %d -trace", r.Seed)
	if o.variant != "" {
		again += fmt.Sprintf(" -variant %q", o.variant)
	}
	fmt.Fprintf(out, "seed %d:\n  %s\nsee it happen: %s\n", r.Seed, strings.Join(r.Violations, "\n  "), again) // the error says it too
	return fmt.Errorf("seed %d breaks a promise", r.Seed)
}

// many runs seed after seed and stops at the first that fails.
func many(ctx context.Context, o options, dir string, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		next, done atomic.Uint64
		mu         sync.Mutex // protects failed, counts and out
		failed     error
		counts     world.Counts
		workers    sync.WaitGroup
	)
	begun := time.Now()
	for range o.workers {
		workers.Go(func() {
			for ctx.Err() == nil {
				i := next.Add(1) - 1
				if o.n != 0 && i >= o.n {
					return
				}
				r := world.Run(ctx, o.seed+i, world.Options{Dir: dir, Variant: o.variant})
				if ctx.Err() != nil {
					return // cut short: it says nothing
				}
				done.Add(1)
				mu.Lock()
				counts.Add(r.Counts)
				if err := verdict(r, o, out); err != nil && failed == nil {
					failed = err
					if !o.all {
						cancel()
					}
				}
				mu.Unlock()
			}
		})
	}
	finished := make(chan struct{})
	go func() {
		workers.Wait()
		close(finished)
	}()
	fmt.Fprintf(out, "seeds from %d, %d at once; Ctrl-C ends\n", o.seed, o.workers) // progress
	progress(finished, &done, begun, out)
	mu.Lock()
	defer mu.Unlock()
	fmt.Fprintf(out, "%+v\n", counts) // a summary
	return failed
}

// progress prints how far it is until it is finished.
func progress(finished <-chan struct{}, done *atomic.Uint64, begun time.Time, out io.Writer) {
	ticker := time.NewTicker(10 * time.Second)
	defer ticker.Stop()
	for ended := false; !ended; {
		select {
		case <-finished:
			ended = true
		case <-ticker.C:
		}
		n, took := done.Load(), time.Since(begun)
		fmt.Fprintf(out, "%s  %d schedules, %.0f per second\n", took.Round(time.Second), n, float64(n)/took.Seconds()) // progress
	}
}
