package main

import (
	"context"
	"flag"
	"net/http"
	"net/url"
	"strings"

	"github.com/wattline/wattline/provisioning/client"
)

// members gather what flags say of a record: only those that are given count,
// and an empty value takes a value away.
type members map[string]any

// text adds a flag for a text.
func (m members) text(f *flag.FlagSet, name, member, usage string) {
	f.Func(name, usage, func(v string) error {
		if m[member] = v; v == "" {
			m[member] = nil
		}
		return nil
	})
}

// number adds a flag for a number.
func (m members) number(f *flag.FlagSet, name, member, usage string) {
	f.Func(name, usage, func(v string) error {
		if v == "" {
			m[member] = nil
			return nil
		}
		n, err := parseNumber(v)
		m[member] = n
		return err
	})
}

// whole adds a flag for a whole number.
func (m members) whole(f *flag.FlagSet, name, member, usage string) {
	f.Func(name, usage, func(v string) error {
		if v == "" {
			m[member] = nil
			return nil
		}
		n, err := parseWhole(v)
		m[member] = n
		return err
	})
}

// changing are the flags of every command that changes something.
type changing struct {
	reason   string
	dry      bool
	revision uint64
}

func (c *changing) bind(f *flag.FlagSet) {
	f.StringVar(&c.reason, "reason", "", "`why`, for the audit log")
	f.BoolVar(&c.dry, "dry-run", false, "say what would happen, and change nothing")
	f.Uint64Var(&c.revision, "if-revision", 0, "only if this `revision`, as --json shows it, is in force")
}

// query are the parameters of a change.
func (c *changing) query() url.Values {
	v := url.Values{}
	if c.reason != "" {
		v.Set("reason", c.reason)
	}
	if c.dry {
		v.Set("dry_run", "true")
	}
	return v
}

// done says what was done, or would be.
func (c *changing) done(s *session, format string, args ...any) {
	if c.dry {
		format = "Dry run, nothing was changed: " + format
	}
	s.say(format, args...)
}

// change sends a command about one thing, and prints the answer for scripts.
func (s *session) change(ctx context.Context, c *changing, method, path string, body any) (document, error) {
	a, err := s.do(ctx, client.Request{Method: method, Path: path, Query: c.query(), JSON: body, Revision: c.revision})
	if err != nil {
		return nil, err
	}
	var d document
	if err := a.Decode(&d); err != nil {
		return nil, err
	}
	if s.json {
		return d, s.raw(a.Body)
	}
	return d, nil
}

// edit changes a record as it is now: the revision that was read must still be
// in force.
func (s *session) edit(ctx context.Context, c *changing, path string, m members) error {
	if len(m) == 0 {
		return usage("nothing to change: give at least one of the flags")
	}
	if c.revision == 0 {
		_, revision, err := s.get(ctx, path)
		if err != nil {
			return err
		}
		c.revision = revision
	}
	_, err := s.change(ctx, c, http.MethodPatch, path, m)
	return err
}

// one wants exactly one argument.
func one(args []string, what string) (string, error) {
	if len(args) != 1 {
		return "", usage("want %s, got %d arguments", what, len(args))
	}
	if args[0] == "" { // its address would be that of the whole list
		return "", usage("want %s, got an empty text", what)
	}
	return args[0], nil
}

// some wants at least one argument.
func some(args []string, what string) error {
	if len(args) == 0 {
		return usage("want %s", what)
	}
	return nil
}

// none wants no arguments.
func none(args []string) error {
	if len(args) > 0 {
		return usage("unexpected argument %q", args[0])
	}
	return nil
}

// under is the path of one of a list.
func under(list, id string) string { return "/api/v1/" + list + "/" + url.PathEscape(id) }

// filters are flags that become parameters of a list as they are.
type filters map[string]*string

func (l filters) add(f *flag.FlagSet, name, usage string) {
	l[name] = f.String(name, "", usage)
}

func (l filters) query() url.Values {
	v := url.Values{}
	for name, value := range l {
		if *value != "" {
			v.Set(strings.ReplaceAll(name, "-", "_"), *value)
		}
	}
	return v
}
