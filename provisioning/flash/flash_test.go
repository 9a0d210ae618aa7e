package flash_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/disk"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/partition/mbr"

	"github.com/wattline/wattline/provisioning/flash"
)

// The secrets that must not show where they don't belong.
const (
	joinToken  = "join-9f3c-never-shown"
	passphrase = "correct horse battery"
)

// box is a gateway with everything set.
func box(t *testing.T) flash.Box {
	t.Helper()
	return flash.Box{
		Gateway: "edge-f2", Broker: "tls://cloud.example:8883", Enrolment: "https://cloud.example:8443", CA: authority(t), JoinToken: joinToken,
		TimeZone: "Europe/Prague", NTP: []string{"ntp.example", "192.0.2.1"}, SSHKeys: []string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKey office"},
	}
}

func authority(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "site"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

var build struct { //nolint:gochecknoglobals // one program for all tests
	sync.Once

	dir string
	err error
	out []byte
}

func TestMain(m *testing.M) {
	code := m.Run()
	if build.dir != "" {
		_ = os.RemoveAll(build.dir)
	}
	os.Exit(code)
}

// program is a program that claims to be the gateway's, for amd64: small, and
// built in a moment.
func program(t *testing.T) string {
	t.Helper()
	build.Do(func() {
		if build.dir, build.err = os.MkdirTemp("", "wattline-flash"); build.err != nil { //nolint:usetesting // it outlives this test
			return
		}
		src := filepath.Join(build.dir, "edge", "cmd", "wattline-edge")
		build.err = os.MkdirAll(src, 0o700)
		for name, text := range map[string]string{"go.mod": "module example.com/x\n\ngo 1.26\n", "edge/cmd/wattline-edge/main.go": "package main\n\nfunc main() {}\n"} {
			if build.err == nil {
				build.err = os.WriteFile(filepath.Join(build.dir, name), []byte(text), 0o600)
			}
		}
		if build.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-ldflags", "-s -w", "-o", filepath.Join(build.dir, "program"), "./edge/cmd/wattline-edge")
		cmd.Dir = build.dir
		cmd.Env = append(os.Environ(), "GOARCH=amd64", "GOOS=linux", "CGO_ENABLED=0", "GOFLAGS=")
		build.out, build.err = cmd.CombinedOutput()
	})
	if build.err != nil {
		t.Fatalf("build: %v\n%s", build.err, build.out)
	}
	return filepath.Join(build.dir, "program")
}

func anyProgram(t *testing.T) func(flash.Arch) (string, error) {
	t.Helper()
	name := program(t)
	return func(flash.Arch) (string, error) { return name, nil }
}

// layout of a base image.
type layout struct {
	fat   filesystem.Type
	size  int64             // of the FAT partition in MiB; 8 where 0
	files map[string]string // in the FAT partition
	label string
}

// raspberry is what the boot partition of a Raspberry Pi OS with cloud-init has,
// in small.
func raspberry() layout {
	return layout{fat: filesystem.TypeFat32, label: "bootfs", files: map[string]string{
		"config.txt": "arm_64bit=1\n", "cmdline.txt": "console=tty1\n", "user-data": "#cloud-config\n# a sample that is longer than nothing\n",
		"meta-data": "dsmode: local\ninstance_id: rpios-image\n", "network-config": "# a sample\n", "a-long-name-of-a-device-tree.dtb": "tree",
	}}
}

// base makes a disk image: partition table, FAT boot partition, second partition
// with bytes of all kinds.
func base(t *testing.T, l layout) string {
	t.Helper()
	const mib = 1 << 20
	if l.size == 0 {
		l.size = 8
	}
	name := filepath.Join(t.TempDir(), "base.img")
	d, err := diskfs.Create(name, (l.size+4)*mib, diskfs.SectorSize512)
	check(t, err)
	check(t, d.Partition(&mbr.Table{LogicalSectorSize: 512, PhysicalSectorSize: 512, Partitions: []*mbr.Partition{
		{Index: 1, Type: mbr.Fat32LBA, Start: 2048, Size: uint32(l.size * mib / 512)},
		{Index: 2, Type: mbr.Linux, Start: uint32((l.size + 1) * mib / 512), Size: 2 * mib / 512},
	}}))
	if l.fat != 0 || l.label != "" {
		fs, err := d.CreateFilesystem(disk.FilesystemSpec{Partition: 1, FSType: l.fat, VolumeLabel: l.label})
		check(t, err)
		for name, text := range l.files {
			if dir := filepath.Dir(name); dir != "." {
				check(t, fs.Mkdir(dir))
			}
			f, err := fs.OpenFile(name, os.O_CREATE|os.O_RDWR)
			check(t, err)
			_, err = f.Write([]byte(text))
			check(t, err)
		}
	}
	noise := make([]byte, 2*mib)
	_, err = rand.Read(noise)
	check(t, err)
	_, err = d.WritePartitionContents(2, bytes.NewReader(noise))
	check(t, err)
	check(t, d.Close())
	return name
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// opened reads an image with a reader that is not ours.
func opened(t *testing.T, name string) (*disk.Disk, filesystem.FileSystem) {
	t.Helper()
	d, err := diskfs.Open(name, diskfs.WithOpenMode(diskfs.ReadOnly))
	check(t, err)
	t.Cleanup(func() { _ = d.Close() })
	fs, err := d.GetFilesystem(1)
	check(t, err)
	return d, fs
}

func read(t *testing.T, fs filesystem.FileSystem, name string) string {
	t.Helper()
	data, err := fs.ReadFile(name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return string(data)
}

func second(t *testing.T, d *disk.Disk) []byte {
	t.Helper()
	var b bytes.Buffer
	_, err := d.ReadPartitionContents(2, &b)
	check(t, err)
	return b.Bytes()
}

// tool runs a program of the system; without it the check is left out and said so.
func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
			if _, err := os.Stat(dir + name); err == nil {
				path = dir + name
			}
		}
	}
	if path == "" {
		t.Logf("%s is not installed: its check is left out", name)
		return
	}
	if out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", name, err, out)
	}
}

// extract writes partition 1 into a file of its own, for tools.
func extract(t *testing.T, d *disk.Disk) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "boot.fat")
	f, err := os.Create(name)
	check(t, err)
	_, err = d.ReadPartitionContents(1, f)
	check(t, err)
	check(t, f.Close())
	return name
}

func quiet(ctx context.Context, o flash.Options) error {
	_, err := flash.Image(ctx, o, nil)
	return err
}

func pack(t *testing.T, name string, to func(io.Writer) (io.WriteCloser, error)) string {
	t.Helper()
	in, err := os.Open(name)
	check(t, err)
	defer in.Close()
	out, err := os.Create(name + ".packed")
	check(t, err)
	w, err := to(out)
	check(t, err)
	_, err = io.Copy(w, in)
	check(t, err)
	check(t, w.Close())
	check(t, out.Close())
	return name + ".packed"
}
