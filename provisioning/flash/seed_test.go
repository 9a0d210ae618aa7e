package flash_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	backing "github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"

	"github.com/wattline/wattline/provisioning/flash"
	"github.com/wattline/wattline/shared/config"
)

// seedOf makes a seed in a directory and reads it.
func seedOf(t *testing.T, b flash.Box) map[string]string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "seed")
	_, err := flash.Seed(t.Context(), flash.SeedOptions{Out: dir, Edge: program(t), Arch: flash.AMD64, Box: b})
	check(t, err)
	files := map[string]string{}
	list, err := os.ReadDir(dir)
	check(t, err)
	for _, f := range list {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		check(t, err)
		files[f.Name()] = string(text)
	}
	return files
}

// userData is what the tests look at of it.
type userData struct {
	TimeZone string `json:"timezone"`
	Users    []struct {
		Name string   `json:"name"`
		Keys []string `json:"ssh_authorized_keys"`
		Lock bool     `json:"lock_passwd"`
	} `json:"users"`
	Files []struct {
		Path, Permissions, Content string
	} `json:"write_files"`
	Commands [][]string `json:"runcmd"`
}

func userDataOf(t *testing.T, files map[string]string) (u userData, byPath map[string]string) {
	t.Helper()
	text, ok := strings.CutPrefix(files["user-data"], "#cloud-config\n")
	if !ok {
		t.Fatalf("user-data does not begin as cloud-init wants it:\n%.100s", files["user-data"])
	}
	check(t, json.Unmarshal([]byte(text), &u))
	byPath = map[string]string{}
	for _, f := range u.Files {
		byPath[f.Path] = f.Content
	}
	return u, byPath
}

func TestASeedHasWhatABoxNeeds(t *testing.T) {
	files := seedOf(t, box(t))
	u, byPath := userDataOf(t, files)
	if len(files) != 4 || u.TimeZone != "Europe/Prague" || len(u.Users) != 1 || len(u.Users[0].Keys) != 1 || !u.Users[0].Lock {
		t.Errorf("files %d, user-data %+v", len(files), u)
	}
	if got := byPath["/etc/systemd/timesyncd.conf.d/50-wattline.conf"]; got != "[Time]\nNTP=ntp.example 192.0.2.1\n" {
		t.Errorf("time servers: %q", got)
	}
	sum := sha256.Sum256([]byte(files["wattline-edge"]))
	if want := hex.EncodeToString(sum[:]); len(u.Commands) != 2 || u.Commands[0][2] != want {
		t.Errorf("commands %v, want the sum %s", u.Commands, want)
	}
	if got, want := files["network-config"], `"dhcp4": true`; !strings.Contains(got, want) || !strings.Contains(got, `"name": "e*"`) {
		t.Errorf("network-config:\n%s", got)
	}
	unit, err := os.ReadFile("../../docker/systemd/wattline-edge.service")
	check(t, err)
	if byPath["/usr/lib/systemd/system/wattline-edge.service"] != string(unit) {
		t.Error("the unit in the seed is not docker/systemd/wattline-edge.service: copy it to provisioning/flash")
	}
	if seedOf(t, box(t))["meta-data"] == files["meta-data"] {
		t.Error("two seeds are one instance: the second would not be a first boot")
	}
}

func TestSecretsStandWhereTheyBelongOnly(t *testing.T) {
	b := box(t)
	b.Network = flash.Network{SSID: "office", Passphrase: passphrase, Country: "CZ", DNS: []netip.Addr{netip.MustParseAddr("10.2.0.1")}}
	files := seedOf(t, b)
	for name, text := range files {
		if strings.Contains(text, passphrase) {
			t.Errorf("%s has the passphrase itself", name)
		}
		if strings.Contains(text, joinToken) != (name == "user-data") {
			t.Errorf("%s: join token there %v", name, strings.Contains(text, joinToken))
		}
	}
	var network struct {
		Wifis map[string]struct {
			Country string                       `json:"regulatory-domain"`
			Points  map[string]map[string]string `json:"access-points"`
		}
	}
	check(t, json.Unmarshal([]byte(files["network-config"]), &network))
	w := network.Wifis["wlan0"]
	if got := w.Points["office"]["password"]; len(got) != 64 || w.Country != "CZ" {
		t.Errorf("Wi-Fi %+v", w)
	}
	text := fmt.Sprintf("%v %+v %#v", b, b, b.Network)
	if strings.Contains(text, passphrase) || strings.Contains(text, joinToken) {
		t.Error("printing a box shows a secret")
	}
	_, by := userDataOf(t, files)
	if strings.Contains(by["/etc/wattline/edge.yaml"], joinToken) {
		t.Error("the configuration, which stays, has the token")
	}
}

// The vector of IEEE 802.11i, H.4.3.
func TestTheWiFiKeyIsTheStandards(t *testing.T) {
	b := box(t)
	b.Network = flash.Network{SSID: "IEEE", Passphrase: "password", Country: "CZ", Address: netip.MustParsePrefix("10.2.3.4/22"), Router: netip.MustParseAddr("10.2.0.1")}
	got := seedOf(t, b)["network-config"]
	for _, want := range []string{"f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e", `"10.2.3.4/22"`, `"via": "10.2.0.1"`, `"dhcp4": false`} {
		if !strings.Contains(got, want) {
			t.Errorf("network-config without %s:\n%s", want, got)
		}
	}
}

func TestABoxTellsAllItsMistakes(t *testing.T) {
	bad := flash.Box{
		Gateway: "Edge F2", Hostname: "-", Broker: "tcp://cloud:1883", Enrolment: "http://cloud:8080", CA: []byte("none"), TimeZone: "Mars/Olympus", NTP: []string{"a b"},
		Admin: "root", SSHKeys: []string{"two\nlines"},
		Network: flash.Network{SSID: strings.Repeat("x", 33), Passphrase: "short", Country: "cz", Router: netip.MustParseAddr("10.0.0.1")},
	}
	err := bad.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"gateway:", "host name:", "broker:", "enrolment:", "ca.pem", "join token:", "time zone:", "time server:", "account:", "SSH key:", "33 bytes", "passphrase has 8", "two capital letters", "router:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not told: %s\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "short") {
		t.Error("the error tells the passphrase")
	}
}

func TestAnISOIsASeed(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "f2-seed.iso")
	o := flash.SeedOptions{Out: out, ISO: true, Edge: program(t), Box: box(t)}
	_, err := flash.Seed(t.Context(), o)
	check(t, err)
	f, err := os.Open(out)
	check(t, err)
	defer f.Close()
	info, err := f.Stat()
	check(t, err)
	image, err := iso9660.Read(backing.New(f, true), info.Size(), 0, 0)
	check(t, err)
	if got := strings.TrimSpace(image.Label()); got != "CIDATA" {
		t.Errorf("label %q", got)
	}
	user, err := image.ReadFile("user-data")
	check(t, err)
	if !strings.HasPrefix(string(user), "#cloud-config\n") {
		t.Errorf("user-data %.40q", user)
	}
	if blkid, err := exec.LookPath("blkid"); err == nil {
		label, err := exec.CommandContext(t.Context(), blkid, "-p", "-s", "LABEL", "-o", "value", out).CombinedOutput()
		if err != nil || strings.TrimSpace(string(label)) != "CIDATA" {
			t.Errorf("blkid sees %q, %v", label, err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := flash.Seed(t.Context(), o); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second time: %v", err)
	}
}

func TestTheTokenIsAskedForLast(t *testing.T) {
	asked := 0
	b := box(t)
	b.JoinToken = ""
	o := flash.Options{Base: base(t, layout{}), Out: filepath.Join(t.TempDir(), "f2.img"), Edge: anyProgram(t), Box: b, Join: func(context.Context) (config.Secret, error) {
		asked++
		return joinToken, nil
	}}
	if err := quiet(t.Context(), o); !errors.Is(err, flash.ErrNotImage) || asked != 0 {
		t.Errorf("error %v, asked %d times", err, asked)
	}
	o.Base = base(t, raspberry())
	check(t, quiet(t.Context(), o))
	if _, fs := opened(t, o.Out); !strings.Contains(read(t, fs, "user-data"), joinToken) || asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	o.Join = func(context.Context) (config.Secret, error) { return "", errors.New("the cloud is away") }
	o.Out += "2"
	if err := quiet(t.Context(), o); err == nil || !strings.Contains(err.Error(), "join token of edge-f2: the cloud is away") {
		t.Errorf("error %v", err)
	}
}
