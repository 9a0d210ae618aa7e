package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/wattline/wattline/provisioning/client"
)

const (
	defaultServer = "http://127.0.0.1:8080"
	maxToken      = 4096 // bytes of a token file
	maxCA         = 1 << 20
)

// session is one run of a command: its settings, and where it prints.
type session struct {
	world

	server    string
	tokenFile string
	ca        string
	timeout   time.Duration
	json      bool

	opened *client.Client
}

// global are the settings that every command with a server has.
func (s *session) global(f *flag.FlagSet) {
	f.StringVar(&s.server, "server", cmp.Or(s.env("WATTLINE_SERVER"), defaultServer), "")
	f.StringVar(&s.tokenFile, "token-file", "", "")
	f.StringVar(&s.ca, "ca", s.env("WATTLINE_CA"), "")
	f.DurationVar(&s.timeout, "timeout", client.DefaultTimeout, "")
	f.BoolVar(&s.json, "json", false, "")
}

// takesValue tells the settings that have a value behind them.
func takesValue(name string) bool {
	return slices.Contains([]string{"server", "token-file", "ca", "timeout"}, name)
}

// start reads the flags, wherever they stand among the arguments, and runs.
func (s *session) start(ctx context.Context, c *command, args []string) error {
	f := flag.NewFlagSet(c.name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	s.global(f)
	do := c.bind(f)
	var plain []string
	for {
		err := f.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		if err != nil {
			return usage("%v", err)
		}
		rest := f.Args()
		if used := len(args) - len(rest); used > 0 && args[used-1] == "--" {
			plain = append(plain, rest...)
			break
		}
		if len(rest) == 0 {
			break
		}
		plain, args = append(plain, rest[0]), rest[1:]
	}
	if s.timeout <= 0 {
		return usage("--timeout: %v is not more than 0", s.timeout)
	}
	return do(ctx, s, plain)
}

// client is the connection to the server, made when it is first needed.
func (s *session) client() (*client.Client, error) {
	if s.opened != nil {
		return s.opened, nil
	}
	token, err := s.token()
	if err != nil {
		return nil, err
	}
	o := client.Options{Server: s.server, Token: token, Timeout: s.timeout, Agent: "wattline/" + version}
	if s.ca != "" {
		if o.CA, err = readSmall(s.ca, maxCA); err != nil {
			return nil, usage("--ca: %v", err)
		}
	}
	if s.opened, err = client.New(o); err != nil {
		return nil, usage("%v", err)
	}
	return s.opened, nil
}

// token is that of --token-file, or else of WATTLINE_TOKEN.
func (s *session) token() (string, error) {
	token := strings.TrimSpace(s.env("WATTLINE_TOKEN"))
	if s.tokenFile != "" {
		text, err := readSmall(s.tokenFile, maxToken)
		if err != nil {
			return "", usage("--token-file: %v", err)
		}
		if token = strings.TrimSpace(string(text)); token == "" {
			return "", usage("--token-file: %s is empty", s.tokenFile)
		}
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", usage("the token holds something that is not printable ASCII: is it the right file?")
	}
	return token, nil
}

func readSmall(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name) //nolint:gosec // named by the operator
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return text, err
}

func (s *session) close() {
	if s.opened != nil {
		s.opened.Close()
	}
}

// do asks the server.
func (s *session) do(ctx context.Context, r client.Request) (*client.Answer, error) {
	c, err := s.client()
	if err != nil {
		return nil, err
	}
	return c.Do(ctx, r)
}

// get asks for a document.
func (s *session) get(ctx context.Context, path string) (document, uint64, error) {
	c, err := s.client()
	if err != nil {
		return nil, 0, err
	}
	var d document
	revision, err := c.Get(ctx, path, nil, &d)
	return d, revision, err
}

// say prints a line, if people read it.
func (s *session) say(format string, args ...any) {
	if !s.json {
		fmt.Fprintf(s.stdout, "%s\n", clean(fmt.Sprintf(format, args...), true))
	}
}

// raw prints JSON for scripts, indented.
func (s *session) raw(text []byte) error {
	if len(bytes.TrimSpace(text)) == 0 {
		text = []byte("{}")
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	b.WriteByte('\n')
	_, err := b.WriteTo(s.stdout)
	return err
}

// confirm asks a person whether to go on. Where there is none, only --yes does.
func (s *session) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	if !isTerminal(s.stdin) {
		return usage("%s Say --yes to do it.", strings.TrimSuffix(question, "?")+".")
	}
	fmt.Fprintf(s.stderr, "%s [y/N] ", clean(question, false))
	var answer string
	if _, err := fmt.Fscanln(s.stdin, &answer); err != nil || !slices.Contains([]string{"y", "Y", "yes"}, answer) {
		return &exit{exitNotDone, "nothing was done"}
	}
	return nil
}
