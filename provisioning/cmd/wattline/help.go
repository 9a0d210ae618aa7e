package main

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

const settings = `Settings, before or after the command:
  --server URL        where the cloud is (WATTLINE_SERVER; http://127.0.0.1:8080)
  --token-file FILE   file with a token (WATTLINE_TOKEN holds the token itself)
  --ca FILE           PEM of the site's authority, ca.pem (WATTLINE_CA)
  --timeout D         how long a request may take (30s)
  --json              the server's answer as JSON, for scripts
  --help              more about a command

Exit codes: 0 done; 1 not done; 2 wrong usage; 3 the server cannot be reached or
does not answer; 4 no token in force, or one that may not; 5 a conflict, or
changed by somebody else. doctor: 0 all well, 1 warnings, 2 failures.
`

// overview is wattline without a command.
func overview(w io.Writer) {
	fmt.Fprint(w, "wattline looks after a site: its places, plugs, gateways and tokens.\n\nUsage: wattline COMMAND [ARGUMENTS] [SETTINGS]\n")
	for _, g := range groups {
		if g.title != "" {
			fmt.Fprintf(w, "\n%s\n", g.title)
		}
		list(w, g.commands())
	}
	list(w, []command{versionCommand()})
	fmt.Fprintf(w, "\n%s", settings)
}

// list writes a line for each command.
func list(w io.Writer, commands []command) {
	for _, c := range commands {
		fmt.Fprintf(w, "  %-22s %s\n", c.name, c.short)
	}
}

// help is `wattline help [COMMAND]`.
func help(w world, args []string) int {
	if len(args) == 0 {
		overview(w.stdout)
		return exitDone
	}
	c, _, near := find(args)
	switch {
	case c != nil:
		c.help(w.stdout)
		return exitDone
	case len(near) > 0:
		list(w.stdout, near)
		return exitDone
	default:
		return unknown(w, args, nil)
	}
}

// help is the help of one command: what it does, its flags and examples.
func (c *command) help(w io.Writer) {
	fmt.Fprintf(w, "%s.\n\nUsage: wattline %s\n", upper(c.short), strings.TrimSpace(c.name+" "+c.args))
	if c.long != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(c.long))
	}
	own := flag.NewFlagSet(c.name, flag.ContinueOnError)
	c.bind(own)
	first := true
	own.VisitAll(func(f *flag.Flag) {
		if first {
			fmt.Fprint(w, "\nFlags:\n")
		}
		first = false
		kind, text := flag.UnquoteUsage(f)
		usual := ""
		if !slices.Contains([]string{"", "0", "false", "0s", "[]"}, f.DefValue) {
			usual = " (" + f.DefValue + ")"
		}
		fmt.Fprintf(w, "  %-22s %s%s\n", strings.TrimSpace("--"+f.Name+" "+kind), text, usual)
	})
	for i, e := range c.examples {
		if i == 0 {
			fmt.Fprint(w, "\nExamples:\n")
		}
		fmt.Fprintf(w, "  %s\n", e)
	}
	if !c.local {
		fmt.Fprintf(w, "\n%s", settings)
	}
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
