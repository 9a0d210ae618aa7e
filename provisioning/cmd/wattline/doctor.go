package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/wattline/wattline/provisioning/client"
	"github.com/wattline/wattline/provisioning/doctor"
)

const defaultPage = "http://127.0.0.1:8081"

// Where packages put things.
var (
	dataDirs = []string{"/var/lib/wattline"}
	configs  = []string{"/etc/wattline/edge.yaml", "/etc/wattline/cloud.yaml"}
)

func doctorCommands() []command {
	return []command{
		{
			name: "doctor", args: "[cloud] [site] [gateway]", short: "look everything over, and say what is wrong and what to do", bind: doctorRun,
			long: "cloud: whether the cloud and what it is made of answer. site: gateways, clocks,\nplugs, certificates, ledger, as the cloud knows them. gateway: the gateway of\nthis machine, its page, disk, clock and certificates. Without any: cloud and site.\n\n" +
				"Exit code 0 when all is well, 1 with warnings, 2 with failures.",
			examples: []string{"wattline doctor", "wattline doctor gateway --data /var/lib/wattline", "wattline doctor cloud site --json"},
		},
		{
			name: "support-bundle", short: "pack what others need to help, without secrets", bind: supportBundle,
			long: "A gzipped tar with versions, states, figures, what doctor says, configuration\nfiles without secrets and comments, and logs. Look into it before you send it:\n" +
				"it names places, owners and addresses.",
			examples: []string{"wattline support-bundle", "wattline support-bundle --out /tmp/help.tar.gz --log /var/log/wattline.log"},
		},
	}
}

// several is a flag that may be given more than once.
type several []string

func (l *several) String() string { return strings.Join(*l, ",") }

func (l *several) Set(v string) error {
	*l = append(*l, v)
	return nil
}

// or is what was given, or else what is usual.
func (l *several) or(usual []string) []string {
	if len(*l) > 0 {
		return *l
	}
	return usual
}

// asker lets the doctor ask the server; an answer of any status is one.
type asker struct{ s *session }

func (a asker) Ask(ctx context.Context, path string, query url.Values) (doctor.Reply, error) {
	answer, err := a.s.do(ctx, client.Request{Method: http.MethodGet, Path: path, Query: query, Accept: "application/json, text/plain;q=0.5"})
	if problem, ok := errors.AsType[*client.ProblemError](err); ok {
		return doctor.Reply{Status: problem.Status, Body: problem.Body, Date: problem.From.Date, CertificateUntil: problem.From.CertificateUntil}, nil
	}
	if err != nil {
		return doctor.Reply{}, err
	}
	return doctor.Reply{Status: answer.Status, Body: answer.Body, Date: answer.Server.Date, CertificateUntil: answer.Server.CertificateUntil}, nil
}

// looking are the flags of what the doctor looks at.
type looking struct {
	page string
	data several
}

func (l *looking) bind(f *flag.FlagSet) {
	l.page = defaultPage
	f.Var((*pageFlag)(&l.page), "page", "`address` of the gateway's own page: a URL, or host:port")
	f.Var(&l.data, "data", "`directory` whose disk and certificates are looked at; may be repeated; /var/lib/wattline without")
}

// pageFlag is the address of a page, with or without the scheme that it has on
// the gateway itself.
type pageFlag string

func (p *pageFlag) String() string { return string(*p) }

// Set takes http://host:port, and host:port as status.listen has it.
func (p *pageFlag) Set(v string) error {
	if !strings.Contains(v, "://") {
		v = "http://" + v
	}
	u, err := url.Parse(v)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("want a URL or host:port, as 127.0.0.1:8081")
	}
	*p = pageFlag(strings.TrimSuffix(v, "/"))
	return nil
}

func (l *looking) options(s *session) doctor.Options {
	return doctor.Options{Server: asker{s}, Address: s.server, Version: version, Page: l.page, Data: l.data.or(dataDirs)}
}

func doctorRun(f *flag.FlagSet) action {
	l := &looking{}
	l.bind(f)
	looks := map[string]func(context.Context, doctor.Options) *doctor.Report{"cloud": doctor.Cloud, "site": doctor.Site, "gateway": doctor.Gateway}
	return func(ctx context.Context, s *session, args []string) error {
		if len(args) == 0 {
			args = []string{"cloud", "site"}
		}
		for _, name := range args {
			if looks[name] == nil {
				return usage("%q is none of cloud, site and gateway", name)
			}
		}
		if slices.Contains(args, "cloud") || slices.Contains(args, "site") {
			if _, err := s.client(); err != nil {
				return err
			}
		}
		whole := &doctor.Report{}
		for _, name := range args {
			found := looks[name](ctx, l.options(s)).Findings
			whole.Findings = append(whole.Findings, found...)
			if name == "cloud" && len(found) == 1 && found[0].Level == doctor.Fail {
				break // no answer at all: nothing else has one
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return s.findings(whole)
	}
}

// findings prints a report; its worst finding is the exit code.
func (s *session) findings(r *doctor.Report) error {
	var err error
	if s.json {
		var text []byte
		if text, err = json.Marshal(r); err == nil {
			err = s.raw(text)
		}
	} else {
		err = r.Write(s.stdout, cleanLine)
	}
	if err == nil && r.Worst() > doctor.OK {
		err = &exit{code: int(r.Worst())}
	}
	return err
}

func supportBundle(f *flag.FlagSet) action {
	l := &looking{}
	l.bind(f)
	out := f.String("out", "", "`file`; wattline-support-<host>-<time>.tar.gz without")
	var logs, files several
	f.Var(&logs, "log", "a log `file` to put in; may be repeated")
	f.Var(&files, "config", "a configuration `file` to put in, without its secrets; may be repeated")
	return func(ctx context.Context, s *session, args []string) error {
		if err := none(args); err != nil {
			return err
		}
		token, err := s.token()
		if err != nil {
			return err
		}
		if _, err := s.client(); err != nil {
			return err
		}
		progress := s.progress("packing", 0)
		n := int64(0)
		b := &doctor.Bundle{
			Options: l.options(s), Configs: files.or(configs), Logs: logs, Programs: programs(), Secrets: []string{token},
			Step: func(string) { n++; progress.at(n) },
		}
		name, err := writeBundle(ctx, b, *out)
		progress.end()
		if err != nil {
			return err
		}
		s.say("%s is ready. Secrets are not in it; names of places, owners and addresses are.", name)
		return nil
	}
}

// programs are those whose output helps.
func programs() map[string][]string {
	list := map[string][]string{
		"machine/uname.txt": {"uname", "-a"}, "machine/os-release.txt": {"cat", "/etc/os-release"}, "machine/disks.txt": {"df", "-hT"},
		"machine/memory.txt": {"free", "-m"}, "machine/clock.txt": {"timedatectl"},
		"logs/journal.txt": {"journalctl", "--no-pager", "-u", "wattline-*", "--since", "-2d"},
	}
	for _, name := range []string{"wattline-edge", "wattline-cloud"} {
		if path, err := beside(name); err == nil {
			list["versions/"+name+".txt"] = []string{path, "-version"}
		}
	}
	return list
}

// writeBundle writes the file as a whole or not at all, for its owner only.
func writeBundle(ctx context.Context, b *doctor.Bundle, name string) (string, error) {
	if name == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "unknown"
		}
		name = fmt.Sprintf("wattline-support-%s-%s.tar.gz", host, time.Now().UTC().Format("20060102-150405"))
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".wattline-*") // mode 0600
	if err != nil {
		return "", fmt.Errorf("write %s: %w", name, reason(err))
	}
	err = errors.Join(b.Write(ctx, f), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name) //nolint:gosec // named by the operator
	}
	if err != nil {
		_ = os.Remove(f.Name()) //nolint:gosec // made above
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	return name, nil
}
