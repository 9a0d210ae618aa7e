// Command run shows a whole Wattline on one machine: a building of simulated
// plugs, a gateway per floor and the cloud, each a process of its own as in
// real life. It ends them all when it ends, however that is.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	dieWithMake()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	if err := run(ctx, stop, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "\nrun:", err)
		os.Exit(1)
	}
}

// dieWithMake ends us when make is killed: its death alone would leave us, and
// everything, running. The setting belongs to the thread that made it.
func dieWithMake() {
	if os.Getenv("MAKELEVEL") == "" {
		return
	}
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0) // without it all else works
}

const help = `Shows a whole Wattline on this machine: simulated plugs, a gateway per floor and
the cloud. Ctrl-C ends everything; the data stays for the next time.

Environment:
  WATTLINE_HTTP    address of the REST API       (127.0.0.1:8080)
  WATTLINE_MQTT    address of the MQTT broker    (127.0.0.1:1883)
  WATTLINE_DATA    directory of all data         (./var)
  WATTLINE_FLOORS  number of floors, 1 to 20     (3)
  WATTLINE_CLOUD   file of further settings of the cloud, such as alerting (none)
`

// run is the life of the demonstration. The first signal stops in good order,
// the second at once.
func run(ctx context.Context, stop context.CancelFunc, args []string, out io.Writer) error {
	if len(args) > 0 {
		_, err := io.WriteString(out, help)
		return err
	}
	s, err := settingsFrom(os.Getenv)
	if err != nil {
		return err
	}
	lock, err := s.check(ctx)
	if err != nil {
		return err
	}
	defer lock.Close()
	b := &building{settings: s, out: out}
	defer b.stop()
	context.AfterFunc(ctx, stop) // a second signal has its default action back, and takes the children along
	if err := b.start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	b.sayWhatNext()
	if err := b.watch(ctx); err != nil {
		return err
	}
	b.say("\nstopping: gateways, cloud, plugs")
	return nil
}
