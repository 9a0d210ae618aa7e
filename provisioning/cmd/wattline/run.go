package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/wattline/wattline/provisioning/client"
)

// The exit codes. Doctor has its own: 0 well, 1 warnings, 2 failures.
const (
	exitDone      = 0
	exitNotDone   = 1 // refused by the server, or something failed
	exitUsage     = 2
	exitAway      = 3 // the server cannot be reached, or does not answer
	exitDenied    = 4 // no token in force, or one that may not
	exitConflict  = 5 // with something registered, or changed by somebody else
	exitInterrupt = 130
)

// world is what a run may touch beside the network and the files it is told.
type world struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(string) string
}

// exit is an error with an exit code of its own. Without text nothing is
// printed: all has been said.
type exit struct {
	code int
	text string
}

func (e *exit) Error() string { return e.text }

// usage is a mistake in the command line.
func usage(format string, args ...any) error {
	return &exit{exitUsage, fmt.Sprintf(format, args...)}
}

// run does what the arguments say and gives the exit code.
func run(ctx context.Context, args []string, w world) int {
	if len(args) > 0 && (args[0] == "help" || args[0] == "--help" || args[0] == "-help" || args[0] == "-h") {
		return help(w, args[1:])
	}
	if len(args) == 1 && (args[0] == "--version" || args[0] == "-version") {
		fmt.Fprintln(w.stdout, "wattline", version)
		return exitDone
	}
	before, args := leading(args)
	if len(args) == 0 {
		overview(w.stderr)
		return exitUsage
	}
	if args[0] == "help" {
		return help(w, args[1:])
	}
	c, rest, near := find(args)
	if c == nil {
		return unknown(w, args, near)
	}
	s := &session{world: w}
	err := s.start(ctx, c, append(before, rest...))
	defer s.close()
	return report(w, c, err)
}

// leading takes the settings apart that stand before the command.
func leading(args []string) (before, rest []string) {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") && args[0] != "-" {
		name, _, joined := strings.Cut(strings.TrimLeft(args[0], "-"), "=")
		n := 1
		if !joined && takesValue(name) && len(args) > 1 {
			n = 2
		}
		before, args = append(before, args[:n]...), args[n:]
	}
	return before, args
}

// report prints the error, if it is one, and gives the exit code.
func report(w world, c *command, err error) int {
	if err == nil {
		return exitDone
	}
	if errors.Is(err, flag.ErrHelp) {
		c.help(w.stdout)
		return exitDone
	}
	code, text := codeFor(err), err.Error()
	if code == exitInterrupt {
		text = "interrupted"
	}
	if text != "" {
		fmt.Fprintf(w.stderr, "wattline %s: %s\n", c.name, clean(text, true))
	}
	if code == exitUsage && text != "" {
		fmt.Fprintf(w.stderr, "`wattline %s --help` tells more.\n", c.name)
	}
	return code
}

// codeFor is the exit code of an error.
func codeFor(err error) int {
	if e, ok := errors.AsType[*exit](err); ok {
		return e.code
	}
	if problem, ok := errors.AsType[*client.ProblemError](err); ok {
		return codeOf(problem.Status)
	}
	if _, ok := errors.AsType[*client.AwayError](err); ok {
		return exitAway
	}
	if errors.Is(err, context.Canceled) {
		return exitInterrupt
	}
	return exitNotDone
}

func codeOf(status int) int {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return exitDenied
	case http.StatusConflict, http.StatusPreconditionFailed:
		return exitConflict
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return exitAway
	default:
		return exitNotDone
	}
}

func unknown(w world, args []string, near []command) int {
	if len(near) == 0 {
		fmt.Fprintf(w.stderr, "wattline: no command %q; `wattline help` lists them.\n", args[0])
		return exitUsage
	}
	if len(args) > 1 && !strings.HasPrefix(args[1], "-") {
		fmt.Fprintf(w.stderr, "wattline: no command %q.\n", args[0]+" "+args[1])
	}
	to, code := w.stderr, exitUsage
	if len(args) > 1 && slices.Contains([]string{"--help", "-help", "-h"}, args[1]) {
		to, code = w.stdout, exitDone
	}
	fmt.Fprintf(to, "There are:\n")
	list(to, near)
	return code
}
