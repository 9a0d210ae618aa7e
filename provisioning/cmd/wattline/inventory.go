package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/wattline/wattline/provisioning/client"
	"github.com/wattline/wattline/provisioning/inventory"
)

// importTimeout is how long the registry may take for a whole building.
const importTimeout = 3 * time.Minute

var mediaTypes = map[string]string{"csv": "text/csv", "yaml": "application/yaml", "etcd": "application/json"}

func inventoryCommands() []command {
	return []command{
		{
			name: "import", args: "FILE", short: "take places, plugs and gateways from a file", bind: importFile,
			long: "FILE is CSV (a table of places, as export writes it or a spreadsheet saves it),\nYAML (the whole site), or a dump of an IoToad's ETCD (mac_to_id, id_to_userid,\nip_cache); - is standard input. " +
				"What the file does not say stays as it is, an\nempty cell takes a value away. All of it is taken, or nothing: every bad line is\nnamed. --remove takes away the places that the file does not name, " +
				"and gateways\nwhere it has a list of them.",
			examples: []string{
				"wattline import plugs.csv --dry-run", "wattline export --format csv > all.csv     # edit it, then", "wattline import all.csv --reason 'new labels'",
				"curl 'http://etcd:2379/v2/keys/smartplugs?recursive=true' | wattline import - --format etcd --dry-run",
			},
		},
		{
			name: "export", short: "the site as a file: CSV or YAML", bind: exportFile,
			long:     "CSV has the places with their plugs, YAML the site and its gateways, too.\nImporting what was exported changes nothing.",
			examples: []string{"wattline export --format yaml --out site.yaml", "wattline export > places.csv"},
		},
	}
}

func importFile(f *flag.FlagSet) action {
	c := &changing{}
	c.bind(f)
	format := f.String("format", "", "csv, yaml or etcd; what the file looks like without")
	remove := f.Bool("remove", false, "take away what the file does not name")
	yes := f.Bool("yes", false, "do not ask, where --remove would")
	return func(ctx context.Context, s *session, args []string) error {
		name, err := one(args, "one file, or - for standard input")
		if err != nil {
			return err
		}
		file, err := inventory.Read(name, *format, s.stdin)
		if err != nil {
			return usage("%v", err)
		}
		if *remove && !c.dry && !*yes {
			if err := s.askRemove(ctx, file); err != nil {
				return err
			}
		}
		a, d, err := s.sendFile(ctx, c, file, *remove)
		if err != nil {
			return named(file.Name, err)
		}
		if s.json {
			return s.raw(a.Body)
		}
		if err := d.Write(s.stdout, cleanLine); err != nil {
			return err
		}
		c.done(s, "%s.", d.Summary())
		return nil
	}
}

// askRemove shows a person what would go before it does.
func (s *session) askRemove(ctx context.Context, file *inventory.File) error {
	_, d, err := s.sendFile(ctx, &changing{dry: true}, file, true)
	if err != nil {
		return named(file.Name, err)
	}
	if len(d.Removed) == 0 {
		return nil
	}
	n := len(d.Removed)
	if d.Counts != nil {
		n = d.Counts.Removed
	}
	if n == 1 {
		return s.confirm(false, fmt.Sprintf("Take away %s, which %s does not name?", d.Removed[0].ID, file.Name))
	}
	return s.confirm(false, fmt.Sprintf("Take away %d places or gateways that %s does not name, such as %s?", n, file.Name, d.Removed[0].ID))
}

// sendFile imports a file and shows on a terminal how far it is.
func (s *session) sendFile(ctx context.Context, c *changing, file *inventory.File, remove bool) (*client.Answer, *inventory.Difference, error) {
	q := c.query()
	q.Set("format", file.Format)
	if remove {
		q.Set("remove", "true")
	}
	progress := s.progress("sending "+cleanLine(file.Name), int64(len(file.Text)))
	defer progress.end()
	a, err := s.do(ctx, client.Request{
		Method: http.MethodPost, Path: "/api/v1/inventory", Query: q, Body: file.Text, ContentType: mediaTypes[file.Format], Revision: c.revision,
		Timeout: max(importTimeout, s.timeout), Sent: func(n int) { progress.at(int64(n)) },
	})
	if err != nil {
		return nil, nil, err
	}
	d := &inventory.Difference{}
	return a, d, a.Decode(d)
}

// named puts the file before its mistakes, so that editors find the lines.
func named(file string, err error) error {
	problem, ok := errors.AsType[*client.ProblemError](err)
	if !ok || len(problem.Errors) == 0 {
		return err
	}
	told := *problem
	told.Detail = file + ": " + told.Detail
	return &told
}

func exportFile(f *flag.FlagSet) action {
	format := f.String("format", "", "csv or yaml; csv, or what the name of --out says, without")
	out := f.String("out", "", "`file` instead of standard output; it is replaced as a whole")
	return func(ctx context.Context, s *session, args []string) error {
		if err := none(args); err != nil {
			return err
		}
		if *format == "" {
			*format = "csv"
			if ext := strings.ToLower(filepath.Ext(*out)); ext == ".yaml" || ext == ".yml" {
				*format = "yaml"
			}
		}
		if *format != "csv" && *format != "yaml" {
			return usage("--format: %q is neither csv nor yaml", *format)
		}
		a, err := s.do(ctx, client.Request{
			Method: http.MethodGet, Path: "/api/v1/inventory", Query: url.Values{"format": {*format}}, Accept: mediaTypes[*format], Timeout: max(importTimeout, s.timeout),
		})
		if err != nil {
			return err
		}
		if *out == "" {
			_, err := s.stdout.Write(a.Body)
			return err
		}
		if err := replaceFile(*out, a.Body); err != nil {
			return err
		}
		fmt.Fprintf(s.stderr, "%s: %d bytes\n", *out, len(a.Body))
		return nil
	}
}

// replaceFile writes a file beside name and puts it in its place: a disk that
// fills up leaves the file that was there.
func replaceFile(name string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".wattline-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, reason(err))
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name) //nolint:gosec // named by the operator
	}
	if err != nil {
		_ = os.Remove(f.Name()) //nolint:gosec // made above
		return fmt.Errorf("write %s: %w", name, reason(err))
	}
	return nil
}
