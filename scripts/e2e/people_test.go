package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

// building is a site with tokens, certificates and boxes that have to enrol, as
// its people see it.
type building struct {
	t     testing.TB
	dir   string
	data  string // of the cloud
	ip    string
	token string
	fleet *hs110test.Fleet
	cloud *process
	boxes []*box
}

// box is a gateway's box: its process and its card.
type box struct {
	*process
	id   string
	root string // the card
}

func boxID(floor int) string { return fmt.Sprintf("edge-f%d", floor) }

func newBuilding(t testing.TB, o hs110test.FleetOptions) *building {
	t.Helper()
	o.NoBroadcast = true // others of this machine may ask
	fleet, err := hs110test.StartFleet(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fleet.Close() })
	b := &building{t: t, dir: tempDir(t), ip: loopback(t), fleet: fleet}
	b.data = filepath.Join(b.dir, "cloud")
	b.write("cloud.yaml", fmt.Sprintf(`data: %[1]s
http: {listen: "%[2]s:8443", tokens: required, tls: {hosts: ["%[2]s"]}}
broker: {listen: "%[2]s:1883", tls: {listen: "%[2]s:8883", names: ["%[2]s"]}}
influxd: {binary: %[3]s}
`, b.data, b.ip, influxtest.Config(t).Binary))
	b.cloud = newProcess(t, "cloud", filepath.Join(b.dir, "cloud.log"), program("wattline-cloud"), "-config", filepath.Join(b.dir, "cloud.yaml"))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the cloud's last lines:\n%s", b.cloud.tail(25))
			for _, x := range b.boxes {
				t.Logf("the last lines of %s:\n%s", x.name, x.tail(14))
			}
		}
	})
	return b
}

func (b *building) write(name, text string) {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// newBox is a box with a fresh card: what wattline has made for its first start,
// laid out as cloud-init would. What is the machine's here is the root directory,
// the clock, and the address of the status page.
func (b *building) newBox(id, card, userData string) *box {
	b.t.Helper()
	root := filepath.Join(b.dir, card)
	var data struct {
		Files []struct{ Path, Content string } `json:"write_files"`
	}
	_, document, _ := strings.Cut(userData, "\n") // behind #cloud-config; the rest is JSON
	if err := json.Unmarshal([]byte(document), &data); err != nil {
		b.t.Fatal(err)
	}
	for _, f := range data.Files {
		b.write(filepath.Join(card, f.Path), f.Content)
	}
	token, state := filepath.Join(root, "etc/wattline/join.token"), filepath.Join(root, "var/lib/wattline")
	if err := os.MkdirAll(state, 0o750); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Rename(token, filepath.Join(state, "join.token")); err != nil {
		b.t.Fatal(err)
	}
	return b.boxAt(id, root, card)
}

// boxAt is a box with the card at root.
func (b *building) boxAt(id, root, name string) *box {
	b.t.Helper()
	file := filepath.Join(root, "etc/wattline/edge.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, dir := range []string{"/etc/wattline", "/var/lib/wattline"} {
		text = bytes.ReplaceAll(text, []byte(`"`+dir), []byte(`"`+root+dir))
	}
	text = bytes.Replace(text, []byte(`clock: "ntp"`), []byte("clock: system\nstatus: {listen: \"\"}"), 1)
	here := file + ".here"
	if err := os.WriteFile(here, text, 0o600); err != nil {
		b.t.Fatal(err)
	}
	return &box{process: newProcess(b.t, name, filepath.Join(b.dir, name+".log"), program("wattline-edge"), "-config", here), id: id, root: root}
}

// state is the box's data directory.
func (x *box) state() string { return filepath.Join(x.root, "var/lib/wattline") }

// run runs the command wattline as somebody with the token.
func (b *building) run(args ...string) (stdout string, err error) {
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program("wattline"), args...)
	cmd.Env = append(os.Environ(), "WATTLINE_SERVER=https://"+b.ip+":8443", "WATTLINE_CA="+filepath.Join(b.data, "registry", "ca.pem"), "WATTLINE_TOKEN="+b.token)
	var out, wrong bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &wrong
	if err := cmd.Run(); err != nil {
		return out.String() + wrong.String(), fmt.Errorf("wattline %s: %w: %s%s", strings.Join(args, " "), err, out.String(), wrong.String())
	}
	return out.String(), nil
}

// wattline runs a command that must succeed.
func (b *building) wattline(args ...string) string {
	b.t.Helper()
	out, err := b.run(args...)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// refused runs a command that must end with an exit code, and gives what it says.
func (b *building) refused(code int, args ...string) string {
	b.t.Helper()
	out, err := b.run(args...)
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != code {
		b.t.Errorf("wattline %s: got %v, want exit code %d", strings.Join(args, " "), err, code)
	}
	return out
}

// ask asks over REST and gives status and body.
func (b *building) ask(method, path, token, body string) (int, string) {
	b.t.Helper()
	ca, err := os.ReadFile(filepath.Join(b.data, "registry", "ca.pem"))
	if err != nil {
		b.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool}}}
	request, err := http.NewRequestWithContext(b.t.Context(), method, "https://"+b.ip+":8443"+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	answer, err := client.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// get gets JSON as an admin.
func (b *building) get(path string, into any) {
	b.t.Helper()
	status, text := b.ask(http.MethodGet, path, b.token, "")
	if err := json.Unmarshal([]byte(text), into); err != nil || status != http.StatusOK {
		b.t.Fatalf("GET %s: %d %v: %.300s", path, status, err, text)
	}
}

// items gets all pages of a list.
func items[T any](b *building, path string) (all []T) {
	b.t.Helper()
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	for cursor := ""; ; {
		var page struct {
			Items []T     `json:"items"`
			Next  *string `json:"next"`
		}
		b.get(path+separator+"limit=1000"+cursor, &page)
		all = append(all, page.Items...)
		if page.Next == nil {
			return all
		}
		cursor = "&cursor=" + url.QueryEscape(*page.Next)
	}
}

// online counts the gateways that are.
func (b *building) online() (n int) {
	for _, g := range items[struct {
		Online bool `json:"online"`
	}](b, "/api/v1/gateways") {
		if g.Online {
			n++
		}
	}
	return n
}

// upToDate tells whether a gateway runs the configuration that it should.
func (b *building) upToDate(id string) bool {
	var g struct {
		Wanted uint64 `json:"config_version_wanted"`
		Status struct {
			Version uint64 `json:"config_version"`
		} `json:"status"`
	}
	b.get("/api/v1/gateways/"+id, &g)
	return g.Wanted > 0 && g.Status.Version == g.Wanted
}

// found lists the MACs of plugs that no place has.
func (b *building) found() (macs []string) {
	for _, p := range items[struct {
		MAC string `json:"mac"`
	}](b, "/api/v1/plugs?placed=no") {
		macs = append(macs, p.MAC)
	}
	return macs
}

// devices lists the ids of places.
func (b *building) devices() (ids []string) {
	for _, d := range items[struct {
		ID string `json:"id"`
	}](b, "/api/v1/devices") {
		ids = append(ids, d.ID)
	}
	return ids
}

// counted counts readings of power since a time, by device.
func (b *building) counted(since time.Time) map[string]int {
	b.t.Helper()
	query := "/api/v1/readings?measurement=power&operation=count&group_by=device"
	if !since.IsZero() {
		query += fmt.Sprintf("&from=%.6f", float64(since.UnixMicro())/1e6)
	}
	var answer struct {
		Series []struct {
			Group  map[string]string `json:"group"`
			Points []struct {
				Value float64 `json:"value"`
			} `json:"points"`
		} `json:"series"`
	}
	b.get(query, &answer)
	counts := make(map[string]int)
	for _, s := range answer.Series {
		for _, p := range s.Points {
			counts[s.Group["id"]] += int(p.Value)
		}
	}
	return counts
}

// proofs asks the ledger.
func (b *building) proofs() (all []proof) {
	b.get("/api/v1/ledger", &all)
	return all
}

// proof is what the ledger says of one gateway.
type proof struct {
	Gateway  string   `json:"gateway"`
	Claim    string   `json:"claim"`
	Complete bool     `json:"complete"`
	Missing  uint64   `json:"missing"`
	Clones   []string `json:"clones"`
}

// audited is an entry of the audit log, as REST shows it.
type audited struct {
	At     string `json:"at"`
	Who    string `json:"who"`
	What   string `json:"what"`
	Object string `json:"object"`
	Result string `json:"result"`
}
