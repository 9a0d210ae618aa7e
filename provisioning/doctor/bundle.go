package doctor

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// maxEntry bounds one file of a bundle; logs keep their end.
	maxEntry       = 8 << 20
	programTimeout = 20 * time.Second
)

// Bundle says what goes into a support bundle.
type Bundle struct {
	Options

	// Configs and Logs are files of this machine; those that are not there are
	// passed over.
	Configs, Logs []string
	// Programs are the commands whose output goes in, by the name of its file.
	Programs map[string][]string
	// Secrets are texts that must not be in it, wherever they turn up: the token
	// that the server is asked with.
	Secrets []string
	// Step is told what is done next, if not nil.
	Step func(what string)
}

// documents are what the server is asked for, by the name of the file.
var documents = []struct {
	name, path string
	query      url.Values
}{
	{"cloud/index.json", "/", nil},
	{"cloud/healthz.json", "/healthz", nil},
	{"cloud/readyz.json", "/readyz", nil},
	{"cloud/metrics.txt", "/metrics", nil},
	{"cloud/site.json", "/api/v1/site", nil},
	{"cloud/gateways.json", "/api/v1/gateways", url.Values{"limit": {"1000"}}},
	{"cloud/enrolments.json", "/api/v1/enrolments", url.Values{"limit": {"1000"}}},
	{"cloud/devices.json", "/api/v1/devices", url.Values{"limit": {"1000"}}},
	{"cloud/plugs.json", "/api/v1/plugs", url.Values{"limit": {"1000"}}},
	{"cloud/ledger.json", "/api/v1/ledger", nil},
	{"cloud/quarantine.json", "/api/v1/quarantine", url.Values{"limit": {"100"}}},
	{"cloud/audit.json", "/api/v1/audit", url.Values{"limit": {"500"}}},
}

// packer writes a bundle; the first error of the writer ends it.
type packer struct {
	b    *Bundle
	tar  *tar.Writer
	at   time.Time
	left []string // what is not in it, and why
}

// Write writes the bundle as a gzipped tar. What could not be had is named in
// left-out.txt; only an error of w is one.
func (b *Bundle) Write(ctx context.Context, w io.Writer) error {
	z := gzip.NewWriter(w)
	p := &packer{b: b, tar: tar.NewWriter(z), at: b.now()}
	err := p.all(ctx)
	return errors.Join(err, p.tar.Close(), z.Close())
}

func (p *packer) all(ctx context.Context) error {
	host, _ := os.Hostname() // may be unknown
	about := fmt.Sprintf("Support bundle of Wattline\nmade %s on %s by wattline %s\nserver %s\n", p.at.UTC().Format(time.RFC3339), host, p.b.Version, p.b.Address)
	steps := []func() error{
		func() error { return p.put("about.txt", about) },
		func() error { return p.server(ctx) },
		func() error { return p.page(ctx) },
		func() error { return p.reports(ctx) },
		p.configs,
		p.logs,
		func() error { return p.programs(ctx) },
		func() error { return p.put("left-out.txt", strings.Join(append(p.left, ""), "\n")) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// put is the only way into the bundle, and goes through Scrub.
func (p *packer) put(name, text string) error {
	for _, s := range p.b.Secrets { // before the cut, which could leave half of one
		if s != "" {
			text = strings.ReplaceAll(text, s, hidden)
		}
	}
	if n := len(text) - maxEntry; n > 0 {
		text = fmt.Sprintf("(%d bytes before this are left out)\n", n) + text[n:]
	}
	text = Scrub(text)
	if err := p.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(text)), ModTime: p.at, Format: tar.FormatPAX}); err != nil {
		return fmt.Errorf("write the bundle: %w", err)
	}
	if _, err := io.WriteString(p.tar, text); err != nil {
		return fmt.Errorf("write the bundle: %w", err)
	}
	return nil
}

func (p *packer) step(what string) {
	if p.b.Step != nil {
		p.b.Step(what)
	}
}

func (p *packer) leave(what string, err error) {
	p.left = append(p.left, fmt.Sprintf("%s: %v", what, err))
}

// server asks the cloud for its documents; after no answer it is asked no more.
func (p *packer) server(ctx context.Context) error {
	if p.b.Server == nil {
		return nil
	}
	for _, d := range documents {
		p.step(d.path)
		reply, err := p.b.Server.Ask(ctx, d.path, d.query)
		if err != nil {
			p.leave(d.name, err)
			return nil
		}
		text := string(reply.Body)
		if reply.Status != http.StatusOK {
			text = fmt.Sprintf("status %d\n%s", reply.Status, text)
		}
		if err := p.put(d.name, text); err != nil {
			return err
		}
	}
	return nil
}

// page reads a gateway's own page, where there is one.
func (p *packer) page(ctx context.Context) error {
	if p.b.Page == "" {
		return nil
	}
	for name, path := range map[string]string{"gateway/status.json": "/status.json", "gateway/healthz.txt": "/healthz", "gateway/metrics.txt": "/metrics"} {
		p.step(p.b.Page + path)
		body, _, err := fetch(ctx, p.b.Page+path)
		if err != nil {
			p.leave(name, err)
			continue
		}
		if err := p.put(name, string(body)); err != nil {
			return err
		}
	}
	return nil
}

// reports puts in what the doctor says.
func (p *packer) reports(ctx context.Context) error {
	p.step("doctor")
	found := map[string]*Report{}
	if p.b.Server != nil {
		found["doctor/cloud"], found["doctor/site"] = Cloud(ctx, p.b.Options), Site(ctx, p.b.Options)
	}
	if p.b.Page != "" {
		found["doctor/gateway"] = Gateway(ctx, p.b.Options)
	}
	for name, r := range found {
		var text bytes.Buffer
		if err := r.Write(&text, func(s string) string { return s }); err != nil {
			return err
		}
		if err := p.put(name+".txt", text.String()); err != nil {
			return err
		}
		encoded, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := p.put(name+".json", string(encoded)); err != nil {
			return err
		}
	}
	return nil
}

// configs puts in configuration files, without secrets and comments.
func (p *packer) configs() error {
	for _, name := range p.b.Configs {
		text, err := readEnd(name, maxEntry)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			text, err = scrubConfig(text)
		}
		if err != nil {
			p.leave(name, err)
			continue
		}
		if err := p.put(entryOf("config", name), string(text)); err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) logs() error {
	for _, name := range p.b.Logs {
		text, err := readEnd(name, maxEntry)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			p.leave(name, err)
			continue
		}
		if err := p.put(entryOf("logs", name), string(text)); err != nil {
			return err
		}
	}
	return nil
}

// entryOf is where a file of this machine stands in the bundle.
func entryOf(folder, name string) string {
	clean := strings.TrimLeft(filepath.ToSlash(filepath.Clean(name)), "./")
	return folder + "/" + strings.ReplaceAll(clean, "../", "")
}

// readEnd reads the last bytes of a file.
func readEnd(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", name)
	}
	if info.Size() > limit {
		if _, err := f.Seek(-limit, io.SeekEnd); err != nil {
			return nil, err
		}
	}
	return io.ReadAll(io.LimitReader(f, limit))
}
