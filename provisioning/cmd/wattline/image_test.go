package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/disk"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/partition/mbr"
)

// workshop has what an image is made of: the site's certificate, a program, a base
// image, a passphrase, keys.
func workshop(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	write := func(name, text string) {
		t.Helper()
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	must(t, err)
	write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write("wifi.key", "correct horse battery\n")
	write("keys.pub", "# those of the office\nssh-ed25519 AAAAC3Nza one\n\nssh-ed25519 AAAAC3Nzb two\n")
	write("src/go.mod", "module example.com/x\n\ngo 1.26\n")
	write("src/edge/cmd/wattline-edge/main.go", "package main\n\nfunc main() {}\n")
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-s -w", "-o", filepath.Join(dir, "wattline-edge"), "./edge/cmd/wattline-edge")
	build.Dir = filepath.Join(dir, "src")
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const mib = 1 << 20
	d, err := diskfs.Create(filepath.Join(dir, "base.img"), 42*mib, diskfs.SectorSize512)
	must(t, err)
	must(t, d.Partition(&mbr.Table{LogicalSectorSize: 512, PhysicalSectorSize: 512, Partitions: []*mbr.Partition{{Index: 1, Type: mbr.Fat32LBA, Start: 2048, Size: 40 * mib / 512}}}))
	fs, err := d.CreateFilesystem(disk.FilesystemSpec{Partition: 1, FSType: filesystem.TypeFat32, VolumeLabel: "bootfs"})
	must(t, err)
	f, err := fs.OpenFile("user-data", os.O_CREATE|os.O_RDWR)
	must(t, err)
	_, err = f.Write([]byte("#cloud-config\n"))
	must(t, err)
	must(t, d.Close())
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func site() map[string]string {
	return map[string]string{
		"GET /api/v1/site": `200 {"name":"office","default_floor":1,"time_zone":"Europe/Prague"}`,
		"GET /api/v1/gateways": `200 {"items":[{"gateway":"edge-f1","floor":1,"trust":"trusted"},{"gateway":"edge-f2","floor":2,"trust":"expected"},` +
			`{"gateway":"edge-f3","floor":3},{"gateway":"edge-f3b","floor":3}]}`,
		"POST /api/v1/gateways/edge-f2/join-token":  `200 {"gateway":"edge-f2","join_token":"token-of-f2"}`,
		"POST /api/v1/gateways/edge-f3/join-token":  `200 {"gateway":"edge-f3","join_token":"token-of-f3"}`,
		"POST /api/v1/gateways/edge-f3b/join-token": `200 {"gateway":"edge-f3b","join_token":"token-of-f3b"}`,
	}
}

func TestAnImagePerFloor(t *testing.T) {
	dir := workshop(t)
	c := newCloud(t, site())
	at := func(name string) string { return filepath.Join(dir, name) }
	common := []string{"--ca", at("ca.pem"), "--edge", at("wattline-edge"), "--enrolment", "https://cloud.example:8443"}
	r := c.run(t, append([]string{
		"gateway", "image", "--floor", "2", "--base", at("base.img"), "--out", at("f2.img"), "--ssh-key", at("keys.pub"),
		"--wifi", "office", "--wifi-country", "CZ", "--wifi-passphrase-file", at("wifi.key"),
	}, common...)...)
	r.wants(t, exitDone, "f2.img", "")
	r.wants(t, exitDone, "wattline gateways approve edge-f2", "")
	d, err := diskfs.Open(at("f2.img"), diskfs.WithOpenMode(diskfs.ReadOnly))
	must(t, err)
	defer d.Close()
	fs, err := d.GetFilesystem(1)
	must(t, err)
	user, err := fs.ReadFile("user-data")
	must(t, err)
	for _, want := range []string{"token-of-f2", "tls://cloud.example:8883", "Europe/Prague", "AAAAC3Nzb two"} {
		if !strings.Contains(string(user), want) {
			t.Errorf("user-data without %s:\n%s", want, user)
		}
	}
	r = c.run(t, append([]string{"gateways", "image", "--all-floors", "--base", at("base.img"), "--out", at("images")}, common...)...)
	r.wants(t, exitDone, "edge-f1 is trusted already and left out", "")
	made, err := filepath.Glob(at("images/*"))
	must(t, err)
	if len(made) != 3 {
		t.Errorf("made %v", made)
	}
	if strings.Contains(r.stdout+r.stderr, "token-of") {
		t.Errorf("the output has a join token:\n%s%s", r.stdout, r.stderr)
	}
	r = c.run(t, append([]string{"gateways", "image", "--floor", "2", "--seed", at("seed.iso"), "--json"}, common...)...)
	r.wants(t, exitDone, `"arch": "amd64"`, "")
}

func TestAnImageThatVoidsAnotherSaysSo(t *testing.T) {
	dir := workshop(t)
	c := newCloud(t, site())
	c.answers["GET /api/v1/enrolments"] = `200 {"items":[{"gateway":"edge-f2","trust":"expected","join_expires":"2026-03-01T08:00:00Z"},{"gateway":"edge-f3","trust":"trusted","asked":{"key":"3f9a"}}]}`
	c.answers["GET /api/v1/gateways/edge-f3"] = `200 {"gateway":"edge-f3"}`
	c.answers["GET /api/v1/gateways/edge-f3b"] = `200 {"gateway":"edge-f3b"}`
	seed := func(id string) result {
		return c.run(t, "gateways", "image", "--gateway", id, "--seed", filepath.Join(dir, id+".iso"), "--arch", "amd64", "--ca", filepath.Join(dir, "ca.pem"),
			"--edge", filepath.Join(dir, "wattline-edge"), "--enrolment", "https://cloud.example:8443", "--json")
	}
	c.answers["GET /api/v1/gateways/edge-f2"] = `200 {"gateway":"edge-f2"}`
	seed("edge-f2").wants(t, exitDone, "", "edge-f2 has a join token that no box has used")
	seed("edge-f3").wants(t, exitDone, "", "edge-f3 is trusted already")
	c.run(t, "gateways", "image", "--gateway", "edge-f3", "--seed", filepath.Join(dir, "again.iso"), "--arch", "amd64", "--ca", filepath.Join(dir, "ca.pem"),
		"--edge", filepath.Join(dir, "wattline-edge"), "--enrolment", "https://cloud.example:8443").wants(t, exitDone, "", "a box waits to be approved as edge-f3")
	if r := seed("edge-f3b"); r.code != exitDone || r.stderr != "" {
		t.Errorf("a gateway with nothing to lose: exit code %d, %s", r.code, r.stderr)
	}
	runAs(t, nil, "", "help", "gateways", "image").wants(t, exitDone, "a second image makes the first", "")
}

func TestImagesThatAreNotMade(t *testing.T) {
	dir := workshop(t)
	c := newCloud(t, site())
	at := func(name string) string { return filepath.Join(dir, name) }
	ca, edge := []string{"--ca", at("ca.pem"), "--enrolment", "https://cloud.example:8443"}, []string{"--edge", at("wattline-edge")}
	image := []string{"--base", at("base.img"), "--out", at("x.img")}
	for name, test := range map[string]struct {
		args []string
		code int
		says string
	}{
		"which?":              {image, exitUsage, "want one of --gateway, --floor and --all-floors"},
		"of what?":            {[]string{"--floor", "2"}, exitUsage, "want --base and --out, or --seed"},
		"no certificate":      {append([]string{"--floor", "2"}, image...), exitUsage, "ca.pem"},
		"two on a floor":      {append(append([]string{"--floor", "3"}, image...), ca...), exitUsage, "edge-f3, edge-f3b"},
		"none on a floor":     {append(append([]string{"--floor", "9"}, image...), ca...), exitNotDone, "gateways create"},
		"no program":          {append(append([]string{"--floor", "2", "--arch", "arm64"}, image...), ca...), exitUsage, "make edges"},
		"which processor?":    {append(append([]string{"--floor", "2"}, image...), ca...), exitUsage, "--arch"},
		"nobody to ask":       {append(append([]string{"--floor", "2", "--wifi", "office"}, image...), ca...), exitUsage, "--wifi-passphrase-file"},
		"an address":          {append(append([]string{"--floor", "2", "--address", "10.2.0.5"}, image...), ca...), exitUsage, "as 10.2.0.5/22"},
		"not an image":        {append(append([]string{"--floor", "2", "--base", at("ca.pem"), "--out", at("x.img")}, ca...), edge...), exitNotDone, "not a disk image"},
		"another base":        {append(append([]string{"--floor", "2", "--base", at("none.img"), "--out", at("x.img")}, ca...), edge...), exitNotDone, "none.img"},
		"a cloud without TLS": {append(append([]string{"--floor", "2", "--ca", at("ca.pem")}, image...), edge...), exitNotDone, "https"},
	} {
		t.Run(name, func(t *testing.T) {
			c.run(t, append([]string{"gateways", "image"}, test.args...)...).wants(t, test.code, "", test.says)
			if _, err := os.Stat(at("x.img")); err == nil {
				t.Error("an image is there")
			}
		})
	}
	for _, a := range c.asked {
		if strings.Contains(a.Path, "join-token") {
			t.Errorf("a join token was asked for in vain: %+v", a)
		}
	}
}
