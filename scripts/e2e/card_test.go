package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// tool runs a program of Debian's dosfstools or mtools.
func (b *building) tool(args ...string) string {
	b.t.Helper()
	cmd := exec.CommandContext(b.t.Context(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "MTOOLS_SKIP_CHECK=1")
	if path, err := exec.LookPath(args[0]); err != nil {
		cmd.Path, cmd.Err = filepath.Join("/usr/sbin", args[0]), nil // servers' programs are not in everybody's PATH
	} else {
		cmd.Path = path
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.t.Fatalf("%s (make deps-test installs what it needs): %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

const (
	cardStart = 2048 // sector at which the boot partition begins, and that of its files for mtools
	cardFiles = "@@1M"
)

// blankCard is the image of a system with cloud-init, as small as can be: a
// partition table and a boot partition.
func (b *building) blankCard() string {
	b.t.Helper()
	const size, sectors = 80 << 20, 79 << 20 / 512
	path := filepath.Join(b.dir, "base.img")
	table := make([]byte, 512)
	copy(table[446:], []byte{0, 0, 0, 0, 0x0c, 0, 0, 0, cardStart & 255, cardStart >> 8, 0, 0, sectors & 255, sectors >> 8 & 255, sectors >> 16 & 255, 0})
	table[510], table[511] = 0x55, 0xaa
	if err := os.WriteFile(path, table, 0o600); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		b.t.Fatal(err)
	}
	b.tool("mkfs.vfat", "-F", "32", "-n", "bootfs", "--offset", "2048", path, "80896")
	b.write("sample", "#cloud-config\n# a sample\n")
	b.tool("mcopy", "-i", path+cardFiles, filepath.Join(b.dir, "sample"), "::user-data")
	return path
}

// flash makes the SD card of a gateway, and gives what its first start reads.
func (b *building) flash(id, base string) (userData string) {
	b.t.Helper()
	card := filepath.Join(b.dir, id+".img")
	b.wattline(append([]string{"gateways", "image", "--gateway", id, "--base", base, "--out", card}, b.boxFlags()...)...)
	b.tool("mtype", "-i", card+cardFiles, "::wattline-edge") // the program is there, too
	return b.tool("mtype", "-i", card+cardFiles, "::user-data")
}

// seed makes what a box of its own system reads at its first start.
func (b *building) seed(id, dir string) (userData string) {
	b.t.Helper()
	b.wattline(append([]string{"gateways", "image", "--gateway", id, "--seed", dir}, b.boxFlags()...)...)
	text, err := os.ReadFile(filepath.Join(dir, "user-data"))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

func (b *building) boxFlags() []string {
	return []string{
		"--arch", runtime.GOARCH, "--edge", program("wattline-edge"),
		"--broker", "tls://" + b.ip + ":8883", "--enrolment", "https://" + b.ip + ":8443",
	}
}
