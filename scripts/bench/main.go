// Command bench measures what Wattline costs and how fast it is, each figure
// beside a peer or a limit that is measured in the same run, because absolute
// figures say more about the machine than about the program.
//
// It prints one figure per line, "name value unit", and beside those that have
// one their limit, "name_limit value unit". It never fails because something is
// slow: it tells. It fails when something could not be measured.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // default action back: a second signal kills
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// part is one group of figures.
type part struct {
	name, about string
	measure     func(ctx context.Context, b *bench) error
}

func parts() []part {
	return []part{
		{"drain", "outbox to a subscriber through Mosquitto, beside a Mosquitto bridge and the broker's own limit", measureDrain},
		{"cloud", "gateways through the whole cloud into InfluxDB, beside a bare writer", measureCloud},
		{"disk", "bytes of file and bytes written per reading, a second outage, commits after a backlog", measureDisk},
		{"memory", "a gateway's anonymous memory, with and without a backlog", measureMemory},
		{"link", "from link-up to the first reading, and what is sent twice after a kill", measureLink},
		{"polling", "2,000 plugs each second, and beside a bare loop", measurePolling},
		{"hooks", "what other hooks cost the storing hook, and whether they keep up", measureHooks},
		{"control", "switching through REST, beside the driver alone", measureControl},
		{"discovery", "scan of a /22 with plugs and dead addresses", measureDiscovery},
		{"config", "a change of the configuration reaching 100 gateways", measureConfig},
		{"query", "queries through REST, beside InfluxDB's own answers", measureQueries},
		{"registry", "ten thousand places: import, pages, start", measureRegistry},
		{"alerting", "ten thousand plugs against fifty rules: processor time, from a reading to its webhook, a restart with an alert for each", measureAlerting},
		{"webhook", "a receiver of webhooks catches up after an outage, beside the same requests bare", measureWebhook},
	}
}

// bench is one run.
type bench struct {
	report
	bin     string // programs
	dir     string // scratch
	long    bool
	profile string
}

const usage = `bench measures Wattline beside its peers and limits, and prints a figure per line.
Run it in the checkout's root after make build; it needs Mosquitto, two cores and
two gigabytes of disk (five with -long).

Usage: bench [-run REGEXP] [-long]

Parts:
`

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	b := &bench{report: report{out: stdout}}
	choice := flags.String("run", "", "measure only the parts whose name matches `regexp`")
	flags.BoolVar(&b.long, "long", false, "full sizes: 20 million readings waiting instead of 2, more rounds")
	flags.StringVar(&b.bin, "bin", "bin", "`directory` of the programs")
	flags.StringVar(&b.dir, "dir", "", "scratch `directory` on the disk to measure; what is put there is removed (default the system's temporary one)")
	flags.StringVar(&b.profile, "profile", "", "also write CPU profiles of gateways and cloud into `directory`; figures suffer a little")
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		for _, p := range parts() {
			fmt.Fprintf(stderr, "  %-9s %s\n", p.name, p.about)
		}
		fmt.Fprintln(stderr, "\nFlags:")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if flags.NArg() == 2 && b.profile != "" { // a child of ours
		return profiled(ctx, flags.Arg(0), flags.Arg(1), b.profile, stderr)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; see -help", flags.Arg(0))
	}
	chosen, err := regexp.Compile(*choice)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	return b.measure(ctx, chosen)
}

// measure runs the parts, each in a directory of its own; one that can't be
// measured keeps none of the others from it.
func (b *bench) measure(ctx context.Context, chosen *regexp.Regexp) (failed error) {
	scratch, err := os.MkdirTemp(b.dir, "wattline-bench-")
	if err != nil {
		return fmt.Errorf("make the scratch directory: %w", err)
	}
	defer os.RemoveAll(scratch)
	if b.bin, err = filepath.Abs(b.bin); err != nil {
		return fmt.Errorf("find the programs: %w", err)
	}
	any := false
	for _, p := range parts() {
		if !chosen.MatchString(p.name) || ctx.Err() != nil {
			continue
		}
		any = true
		one := *b
		one.dir = filepath.Join(scratch, p.name)
		if err := os.Mkdir(one.dir, 0o750); err != nil {
			return fmt.Errorf("make the scratch directory: %w", err)
		}
		begin := time.Now()
		b.note("%s: %s", p.name, p.about)
		if err := p.measure(ctx, &one); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", p.name, err))
			b.note("%s could not be measured: %v", p.name, err)
		}
		b.note("%s took %v", p.name, time.Since(begin).Round(100*time.Millisecond))
		if err := os.RemoveAll(one.dir); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	if !any && failed == nil && ctx.Err() == nil {
		return fmt.Errorf("-run %v matches no part; see -help", chosen)
	}
	return errors.Join(failed, context.Cause(ctx))
}
