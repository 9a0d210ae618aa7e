package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

func siteCommands() []command {
	return []command{
		{name: "site show", short: "name, default floor and time zone of the site", bind: noFlags(siteShow)},
		{
			name: "site set", short: "change the site", bind: siteSet,
			long:     "The default floor is set once, by site init: another one would give every id\nwithout a floor another meaning.",
			examples: []string{`wattline site set --name "Calle Mayor 5" --time-zone Europe/Madrid`, "wattline site set --rows 17 --columns 5"},
		},
		{
			name: "site init", args: "[ARGUMENTS OF wattline-cloud init]", short: "make a new site on this machine, by wattline-cloud init", local: true, bind: siteInit,
			long: "Runs wattline-cloud init, found beside wattline or in PATH: it makes the\nregistry, the site's authority and the first admin token, which is printed once.\n" +
				"Everything behind -- goes to it as it is; wattline site init -- -help lists it.",
			examples: []string{`wattline site init -- -config /etc/wattline/cloud.yaml -name "Calle Mayor 5" -default-floor 1 -time-zone Europe/Madrid`},
		},
	}
}

func siteShow(ctx context.Context, s *session, args []string) error {
	if err := none(args); err != nil {
		return err
	}
	d, _, err := s.get(ctx, "/api/v1/site")
	if err != nil {
		return err
	}
	return s.show(d)
}

func siteSet(f *flag.FlagSet) action {
	m, c := members{}, &changing{}
	m.text(f, "name", "name", "`name` of the site")
	m.text(f, "time-zone", "time_zone", "IANA `zone` such as Europe/Madrid")
	m.whole(f, "rows", "rows", "`number` of rows of workplaces on a floor")
	m.whole(f, "columns", "columns", "`number` of columns of workplaces on a floor")
	c.bind(f)
	return func(ctx context.Context, s *session, args []string) error {
		if err := none(args); err != nil {
			return err
		}
		if err := s.edit(ctx, c, "/api/v1/site", m); err != nil {
			return err
		}
		c.done(s, "The site is changed.")
		return nil
	}
}

// siteInit is local: what it makes are files of the cloud, whose program does
// it.
func siteInit(*flag.FlagSet) action {
	return func(ctx context.Context, s *session, args []string) error {
		program, err := beside("wattline-cloud")
		if err != nil {
			return err
		}
		return s.runProgram(ctx, program, append([]string{"init"}, args...))
	}
}

// runProgram runs a program of another tier in the place of this one.
func (s *session) runProgram(ctx context.Context, program string, args []string) error {
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // a program of ours with what the operator has written
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.stdin, s.stdout, s.stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	err := cmd.Run()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		return &exit{max(failed.ExitCode(), exitNotDone), ""} // it has said why
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", program, err)
	}
	return nil
}

// beside finds a program of Wattline beside this one, or in PATH.
func beside(name string) (string, error) {
	if self, err := os.Executable(); err == nil {
		near := filepath.Join(filepath.Dir(self), name)
		if info, err := os.Stat(near); err == nil && info.Mode()&0o111 != 0 && !info.IsDir() {
			return near, nil
		}
	}
	found, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is neither beside wattline nor in PATH: this is done on the machine that has it", name)
	}
	return found, nil
}
