package flash_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wattline/wattline/provisioning/flash"
)

// stages runs cloud-init as systemd would at a first start. There is no systemd
// and no udev: systemctl and udevadm only say that they were called. All of it has
// a network, names and processes of its own, so that nothing reaches this machine.
const stages = `set -u
mount -t proc proc /proc && mount -t tmpfs run /run
for stub in udevadm systemctl; do
	printf '#!/bin/sh\necho "%s $*" >>/calls\n' $stub >/stub && chmod +x /stub && rm -f /usr/bin/$stub && mv /stub /usr/bin/$stub
done
export DEBUG_PROC_CMDLINE=ds=nocloud
cloud-init schema --config-file /var/lib/cloud/seed/nocloud/user-data || exit 1
cloud-init init --local
cloud-init init
cloud-init modules --mode=config
cloud-init modules --mode=final
netplan generate || exit 1
`

// Debian's own cloud-init takes the seed. It shows what becomes of the files; that
// the machine then starts is for a Raspberry Pi to show.
func TestCloudInitTakesTheSeed(t *testing.T) {
	base := os.Getenv("WATTLINE_DEBIAN_ROOT")
	if base == "" {
		t.Skip("no WATTLINE_DEBIAN_ROOT: make deb-test makes a root of Debian and tries the seed in it")
	}
	root := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", base+"/.", root).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b := box(t)
	b.Network = flash.Network{SSID: "office", Passphrase: passphrase, Country: "CZ"}
	at := func(name string) string { return filepath.Join(root, name) }
	check(t, os.MkdirAll(at("var/lib/cloud/seed"), 0o755))
	_, err := flash.Seed(t.Context(), flash.SeedOptions{Out: at("var/lib/cloud/seed/nocloud"), Edge: program(t), Box: b})
	check(t, err)
	check(t, os.WriteFile(at("stages.sh"), []byte(stages), 0o600))
	out, err := exec.CommandContext(t.Context(), "unshare", "--net", "--uts", "--mount", "--pid", "--fork", "chroot", root, "sh", "/stages.sh").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, want := range map[string]string{
		"etc/hostname": "edge-f2\n", "etc/timezone": "Europe/Prague\n", "etc/wattline/edge.yaml": `gateway: "edge-f2"`, "var/lib/wattline/join.token": joinToken,
		"etc/passwd": "\nwattline:", "home/wattline-admin/.ssh/authorized_keys": b.SSHKeys[0], "etc/systemd/timesyncd.conf.d/50-wattline.conf": "ntp.example",
		"calls": "systemctl restart wattline-edge.service", "etc/netplan/50-cloud-init.yaml": "regulatory-domain: CZ", "usr/lib/systemd/system/wattline-edge.service": "WatchdogSec",
	} {
		if got, err := os.ReadFile(at(name)); err != nil || !strings.Contains(string(got), want) {
			t.Errorf("%s: %v, without %q:\n%s", name, err, want, got)
		}
	}
	if user, err := os.ReadFile(at("var/lib/cloud/seed/nocloud/user-data")); err != nil || strings.Contains(string(user), joinToken) {
		t.Errorf("the seed still has the join token, %v", err)
	}
	if t.Failed() {
		t.Logf("cloud-init said\n%s", out)
	}
}
