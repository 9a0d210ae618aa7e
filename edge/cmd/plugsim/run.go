package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

// settings are what the command line says.
type settings struct {
	fleet     hs110test.FleetOptions
	speed     float64
	at        string
	inventory string
	list      bool
	orders    bool
	numbered  bool
	version   bool
	faults    []string
}

const intro = `Simulated HS110 plugs on 127.<n>.x.y, for trying Wattline without a building.

Usage: plugsim [flags]

When the plugs listen, "ready" is written to standard error. Ctrl-C ends them.
They find each other's block: two plugsim may run side by side.

`

func parse(args []string, stderr io.Writer) (*settings, error) {
	s := &settings{}
	fs := flag.NewFlagSet("plugsim", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.IntVar(&s.fleet.Floors, "floors", 3, "number of `floors`, f1 to fN")
	fs.IntVar(&s.fleet.Rows, "rows", 17, "`rows` of workplaces per floor")
	fs.IntVar(&s.fleet.Columns, "columns", 5, "`columns` of workplaces per floor")
	fs.IntVar(&s.fleet.Rooms, "rooms", 6, "meeting `rooms` per floor")
	fs.IntVar(&s.fleet.Printers, "printers", 2, "`printers` per floor")
	fs.IntVar(&s.fleet.Unknown, "unknown", 0, "`plugs` per floor that no place has; they are not in the inventory")
	fs.IntVar(&s.fleet.Block, "block", 0, "use 127.`n`.0.0/16 (default the first free one)")
	fs.IntVar(&s.fleet.Port, "port", hs110.Port, "`port` that the plugs listen on, TCP and UDP")
	fs.Float64Var(&s.speed, "speed", 1, "let the plugs' clocks run so many `times` as fast: loads and energy, not answers")
	fs.StringVar(&s.at, "at", "", "let the plugs' clocks start at this `time` of today, such as 10:30")
	fs.StringVar(&s.inventory, "inventory", "", "write the places as lines of a YAML inventory to `file`, - for standard output")
	fs.BoolVar(&s.list, "list", false, "write id (- for none), address, deviceId and MAC of each plug to standard output, tab-separated")
	fs.BoolVar(&s.numbered, "numbered", false, "count instead of measuring: the n-th answer of a meter has n Wh and n mod 3000 W")
	fs.BoolVar(&s.orders, "orders", false, "read faults from standard input while running: lines of \"PLACES FAULT\"")
	fs.BoolVar(&s.version, "version", false, "print the version and end")
	fs.Func("fault", "`places=fault` from the start on, such as 'sp_f1.w.r0.*=slow:2s'; may be repeated", func(v string) error {
		s.faults = append(s.faults, v)
		return nil
	})
	fs.Usage = func() {
		fmt.Fprint(stderr, intro)
		fs.PrintDefaults()
		fmt.Fprintf(stderr, "\nPLACES is an id, * and ? stand for any characters. Faults:\n\n%s\nWith -orders also:\nreboot:2s      starts again, away for so long; the energy counter restarts\non, off        as the button on the plug\nmove:ADDRESS   has another address from now on, as by DHCP\nupdate:TEXT    has another firmware version\n", hs110test.Orders)
	}
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	return s, s.validate()
}

func (s *settings) validate() error {
	var errs []error
	if s.fleet.Port < 1 || s.fleet.Port > 65535 {
		errs = append(errs, fmt.Errorf("-port: %d is not 1 to 65535", s.fleet.Port))
	}
	if s.fleet.Block < 0 || s.fleet.Block > 254 {
		errs = append(errs, fmt.Errorf("-block: %d is not 1 to 254", s.fleet.Block))
	}
	if s.fleet.Floors < 1 {
		errs = append(errs, fmt.Errorf("-floors: %d is under 1", s.fleet.Floors))
	}
	if !(s.speed > 0 && s.speed <= 1e5) {
		errs = append(errs, fmt.Errorf("-speed: %v is not above 0 and up to 100000", s.speed))
	}
	if _, err := s.clock(time.Now()); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// clock is the one of the plugs, begun at the given time.
func (s *settings) clock(begin time.Time) (func() time.Time, error) {
	start := begin
	if s.at != "" {
		t, err := time.Parse("15:04", s.at)
		if err != nil {
			return nil, fmt.Errorf("-at: %q is not a time such as 10:30", s.at)
		}
		y, m, d := begin.Date()
		start = time.Date(y, m, d, t.Hour(), t.Minute(), 0, 0, begin.Location())
	}
	return func() time.Time {
		return start.Add(time.Duration(float64(time.Since(begin)) * s.speed))
	}, nil
}

// run runs the plugs until ctx ends.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	s, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if s.version {
		fmt.Fprintln(stdout, "plugsim", version)
		return nil
	}
	now, err := s.clock(time.Now())
	if err != nil {
		return err
	}
	s.fleet.Adjust = func(_ device.ID, o *hs110test.Options) {
		o.Now = now
		if s.numbered {
			o.Generate = hs110test.Numbered
		}
	}
	fleet, err := hs110test.StartFleet(s.fleet) //nolint:contextcheck // plugs live until Close, whatever ctx does
	if err != nil {
		return err
	}
	defer fleet.Close()
	for _, f := range s.faults {
		places, order, _ := strings.Cut(f, "=")
		if err := obey(fleet, places, order); err != nil { //nolint:contextcheck // as above
			return fmt.Errorf("-fault: %w", err)
		}
	}
	if err := tell(fleet, s, stdout); err != nil {
		return err
	}
	fmt.Fprintf(stderr, "plugsim: ready, %d plugs on 127.%d.0.0/16 port %d\n", len(fleet.Plugs)+len(fleet.Unknown), fleet.Block, fleet.Port)
	if s.orders {
		// Left behind at the end: a read of standard input cannot be stopped, and the process ends.
		go takeOrders(fleet, stdin, stderr) //nolint:contextcheck // as above
	}
	<-ctx.Done()
	return nil
}

// tell writes what was asked for about the plugs.
func tell(fleet *hs110test.Fleet, s *settings, stdout io.Writer) error {
	if s.list {
		for _, p := range fleet.Plugs {
			if _, err := fmt.Fprintf(stdout, "%s\t%s\t%s\t%s\n", p.ID, p.Address(), p.DeviceID(), p.MAC()); err != nil {
				return fmt.Errorf("list the plugs: %w", err)
			}
		}
		for _, p := range fleet.Unknown {
			if _, err := fmt.Fprintf(stdout, "-\t%s\t%s\t%s\n", p.Address(), p.DeviceID(), p.MAC()); err != nil {
				return fmt.Errorf("list the plugs: %w", err)
			}
		}
	}
	switch s.inventory {
	case "":
		return nil
	case "-":
		_, err := stdout.Write(inventory(fleet))
		return err
	}
	if err := os.WriteFile(s.inventory, inventory(fleet), 0o644); err != nil { //nolint:gosec // to be read by others
		return fmt.Errorf("write the inventory: %w", err)
	}
	return nil
}

// inventory is the places as YAML, with the keys of the cloud's inventory.
func inventory(fleet *hs110test.Fleet) []byte {
	b := []byte("places:\n")
	for _, p := range fleet.Plugs {
		b = fmt.Appendf(b, "  - {device: %s, gateway: edge-f%d, driver: hs110, address: %q, device_id: %q, mac: %q}\n",
			p.ID, p.Floor, p.Address(), p.DeviceID(), p.MAC())
	}
	return b
}

// takeOrders obeys the lines of r until it ends.
func takeOrders(fleet *hs110test.Fleet, r io.Reader, stderr io.Writer) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 0 {
			continue
		}
		if len(words) != 2 {
			fmt.Fprintf(stderr, "plugsim: %q: want PLACES FAULT\n", lines.Text())
			continue
		}
		if err := obey(fleet, words[0], words[1]); err != nil {
			fmt.Fprintln(stderr, "plugsim:", err)
			continue
		}
		fmt.Fprintf(stderr, "plugsim: %s %s\n", words[0], words[1])
	}
}

// obey carries out one order at all places that match.
func obey(fleet *hs110test.Fleet, places, order string) error {
	act, err := action(order)
	if err != nil {
		return err
	}
	found := false
	for _, p := range fleet.Plugs {
		ok, err := path.Match(places, p.ID.String())
		if err != nil {
			return fmt.Errorf("places %q: %w", places, err)
		}
		if !ok {
			continue
		}
		found = true
		if err := act(p.Plug); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("places %q: there is none", places)
	}
	return nil
}

func action(order string) (func(*hs110test.Plug) error, error) {
	kind, arg, _ := strings.Cut(order, ":")
	switch kind {
	case "on", "off":
		return func(p *hs110test.Plug) error { p.Press(kind == "on"); return nil }, nil
	case "move":
		if arg == "" {
			return nil, fmt.Errorf("order %q: no address", order)
		}
		return func(p *hs110test.Plug) error { return p.Move(arg) }, nil
	case "update":
		return func(p *hs110test.Plug) error { p.Update(arg); return nil }, nil
	case "reboot":
		down, err := time.ParseDuration(arg)
		if arg == "" {
			down, err = 2*time.Second, nil
		}
		if err != nil || down < 0 {
			return nil, fmt.Errorf("order %q: %q is not a duration such as 2s", order, arg)
		}
		return func(p *hs110test.Plug) error { p.Reboot(down); return nil }, nil
	}
	f, err := hs110test.ParseFault(order)
	if err != nil {
		return nil, err
	}
	return func(p *hs110test.Plug) error { return p.SetFault(f) }, nil
}
