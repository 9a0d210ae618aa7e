package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/wattline/wattline/shared/config"
)

// maxSecret is the longest secret that is read, in bytes.
const maxSecret = 1024

// secret reads a secret from a file, or from the person at the terminal, who does
// not see it there. It is never an argument: those are in the list of processes
// and in the history of the shell.
func (s *session) secret(ctx context.Context, file, flag, what string) (config.Secret, error) {
	if file != "" {
		text, err := readSmall(file, maxSecret)
		if err != nil {
			return "", usage("%s: %v", flag, err)
		}
		return config.Secret(strings.TrimRight(string(text), "\r\n")), nil
	}
	terminal, ok := s.stdin.(*os.File)
	if !ok || !isTerminal(terminal) {
		return "", usage("%s: required where nobody can be asked for the %s", flag, what)
	}
	fmt.Fprintf(s.stderr, "%s: ", clean(what, false))
	defer fmt.Fprintln(s.stderr)
	return unseen(ctx, terminal)
}

// unseen reads a line that the terminal does not show.
func unseen(ctx context.Context, terminal *os.File) (config.Secret, error) {
	fd := int(terminal.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return "", fmt.Errorf("ask at the terminal: %w", err)
	}
	dark := *before
	dark.Lflag &^= unix.ECHO
	dark.Lflag |= unix.ECHONL
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &dark); err != nil {
		return "", fmt.Errorf("ask at the terminal: %w", err)
	}
	defer func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, before) }()
	type answer struct {
		line string
		err  error
	}
	read := make(chan answer, 1)
	// A read of a terminal cannot be called back: after Ctrl-C it stays, and the
	// program ends.
	go func() {
		line, err := bufio.NewReader(terminal).ReadString('\n')
		read <- answer{line, err}
	}()
	select {
	case a := <-read:
		if a.err != nil {
			return "", fmt.Errorf("read from the terminal: %w", a.err)
		}
		return config.Secret(strings.TrimRight(a.line, "\r\n")), nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
