package doctor

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"time"
)

// Level is how bad a finding is.
type Level int

// The levels; each is worse than the one before.
const (
	OK Level = iota
	Warn
	Fail
)

func (l Level) String() string { return [...]string{"ok", "warn", "fail"}[l] }

// MarshalText gives the word.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Finding is the outcome of one check.
type Finding struct {
	Level Level `json:"level"`
	// About is what was looked at: the cloud, a gateway, this machine.
	About string `json:"about"`
	Check string `json:"check"`
	Text  string `json:"text"`
	// Cure is what to do, empty where nothing is to be done.
	Cure string `json:"cure,omitempty"`
}

// Report is what was found, in the order of looking.
type Report struct {
	Findings []Finding `json:"findings"`
}

func (r *Report) add(l Level, about, check, cure, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{Level: l, About: about, Check: check, Text: fmt.Sprintf(format, args...), Cure: cure})
}

// worse is one of two findings: ok, or the other where bad holds.
func (r *Report) verdict(bad bool, l Level, about, check, cure, format string, args ...any) {
	if !bad {
		l, cure = OK, ""
	}
	r.add(l, about, check, cure, format, args...)
}

// Worst is the level of the worst finding; it is the exit code of doctor.
func (r *Report) Worst() Level {
	worst := OK
	for _, f := range r.Findings {
		worst = max(worst, f.Level)
	}
	return worst
}

// Write writes a line for each finding, and the cure under those that have one.
// clean takes what a terminal might obey out of a text.
func (r *Report) Write(w io.Writer, clean func(string) string) error {
	counts := map[Level]int{}
	for _, f := range r.Findings {
		counts[f.Level]++
		if _, err := fmt.Fprintf(w, "%-5s %-16s %-14s %s\n", f.Level, clean(f.About), f.Check, clean(f.Text)); err != nil {
			return err
		}
		if f.Cure != "" {
			if _, err := fmt.Fprintf(w, "      -> %s\n", clean(f.Cure)); err != nil {
				return err
			}
		}
	}
	_, err := fmt.Fprintf(w, "%d checks: %d ok, %d warnings, %d failures\n", len(r.Findings), counts[OK], counts[Warn], counts[Fail])
	return err
}

// Reply is what a server answered, whatever its status.
type Reply struct {
	Status int
	Body   []byte
	// Date is the server's clock, zero where it says nothing.
	Date time.Time
	// CertificateUntil is when the server's certificate ends, zero without TLS.
	CertificateUntil time.Time
}

// Server is the REST API of a cloud. An answer of any status is no error; an
// error says that there was none, and why, in a sentence for people.
type Server interface {
	Ask(ctx context.Context, path string, query url.Values) (Reply, error)
}

// Options are what the doctor may look at.
type Options struct {
	Server  Server
	Address string // of the server, for the findings
	Version string // of the program that runs the doctor
	// Page is the address of a gateway's own page, http://127.0.0.1:8081.
	Page string
	// Data are directories of this machine whose disks and certificates are
	// looked at; those that are not there are passed over.
	Data []string
	// Now is the clock; nil means that of this machine.
	Now func() time.Time
}

func (o Options) now() time.Time {
	if o.Now != nil {
		return o.Now()
	}
	return time.Now()
}
