package flash

import (
	"bytes"
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // WPA2 is made of it
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/wattline/wattline/shared/config"
)

// unit is the systemd unit, the same file as docker/systemd/wattline-edge.service.
//
//go:embed wattline-edge.service
var unit string

// firstBoot installs the program at the first start of a box.
//
//go:embed first-boot.sh
var firstBoot string

// program is the name of the gateway's program in a seed.
const program = "wattline-edge"

// file is one of a seed.
type file struct {
	name    string
	content []byte
}

// object keeps the literals below readable.
type object = map[string]any

// seed makes the files of a NoCloud seed for b and the program. join is asked for
// the token where b has none.
func seed(ctx context.Context, b Box, join func(context.Context) (config.Secret, error), edge []byte, arch Arch) (_ []file, err error) {
	b = b.filled()
	if b.JoinToken == "" {
		if b.JoinToken, err = join(ctx); err != nil {
			return nil, fmt.Errorf("join token of %s: %w", b.Gateway, err)
		}
		if err := b.Validate(); err != nil {
			return nil, err
		}
	}
	// Another instance is a first boot again, so each seed has its own.
	instance := b.Gateway + "-" + strings.ToLower(rand.Text()[:12])
	network, err := b.Network.config()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(edge)
	user := document(b.userData(hex.EncodeToString(sum[:]), arch))
	return []file{
		{"meta-data", document(object{"instance-id": instance, "local-hostname": b.Hostname, "dsmode": "local"})},
		{"network-config", document(network)},
		{"user-data", append([]byte("#cloud-config\n"), user...)},
		{program, edge},
	}, nil
}

// document is JSON, which is YAML too: no text of an operator can break out of
// its quotes.
func document(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // maps, slices and strings cannot fail
	return b.Bytes()
}

// userData is what cloud-init does at the first start. Everything is there
// without a network; nothing is fetched.
func (b Box) userData(sum string, arch Arch) object {
	files := []object{
		{"path": "/etc/wattline/edge.yaml", "permissions": "0640", "content": b.edgeYAML(arch)},
		{"path": "/etc/wattline/ca.pem", "permissions": "0644", "content": string(b.CA)},
		{"path": "/etc/wattline/join.token", "permissions": "0600", "content": b.JoinToken.Reveal() + "\n"},
		{"path": "/usr/lib/systemd/system/wattline-edge.service", "permissions": "0644", "content": unit},
		{"path": "/usr/lib/wattline/first-boot", "permissions": "0755", "content": firstBoot},
		// The watchdog of the board itself, for the day that the kernel hangs: that
		// of the Raspberry Pi counts to 15 s at most. Without one this does nothing.
		{"path": "/etc/systemd/system.conf.d/50-wattline.conf", "permissions": "0644", "content": "[Manager]\nRuntimeWatchdogSec=14\n"},
	}
	if len(b.NTP) > 0 {
		files = append(files, object{
			"path": "/etc/systemd/timesyncd.conf.d/50-wattline.conf", "permissions": "0644",
			"content": "[Time]\nNTP=" + strings.Join(b.NTP, " ") + "\n",
		})
	}
	user := object{"name": b.Admin, "gecos": "looks after this gateway", "lock_passwd": true, "shell": "/bin/bash"}
	if len(b.SSHKeys) > 0 {
		user["ssh_authorized_keys"] = b.SSHKeys
		user["sudo"] = "ALL=(ALL) NOPASSWD:ALL"
	}
	return object{
		"hostname": b.Hostname, "preserve_hostname": false, "timezone": b.TimeZone,
		"users": []object{user}, "disable_root": true, "ssh_pwauth": false,
		"package_update": false, "package_upgrade": false,
		// The Raspberry Pi's first start asks for an account at the screen, and what
		// comes after it would wait for ever.
		"bootcmd":     [][]string{{"sh", "-c", "systemctl mask --now --no-block userconfig.service 2>/dev/null || true"}},
		"write_files": files,
		"runcmd":      b.commands(sum),
	}
}

// commands are what runs at the end of the first start.
func (b Box) commands(sum string) [][]string {
	install := []string{"sh", "/usr/lib/wattline/first-boot", sum}
	if len(b.SSHKeys) == 0 {
		return [][]string{install}
	}
	// The Raspberry Pi's comes switched off.
	return [][]string{install, {"sh", "-c", "systemctl enable --now ssh.service || true"}}
}

// edgeYAML is the gateway's configuration: what it cannot learn from the cloud.
func (b Box) edgeYAML(arch Arch) string {
	var s strings.Builder
	s.WriteString("# Written when this box was flashed. Places and plugs come from the cloud.\n")
	for _, line := range []struct{ key, value string }{
		{"gateway: ", b.Gateway},
		{"data: ", "/var/lib/wattline"},
		{"broker:\n  url: ", b.Broker},
		{"enrolment:\n  url: ", b.Enrolment},
		{"  ca: ", "/etc/wattline/ca.pem"},
		{"  join_token_file: ", "/var/lib/wattline/join.token"},
		// The box may have no clock of its own: times count from NTP on.
		{"clock: ", "ntp"},
	} {
		quoted, _ := json.Marshal(line.value) // a string always can be
		fmt.Fprintf(&s, "%s%s\n", line.key, quoted)
	}
	if arch == ARMv6 || arch == ARMv7 {
		// bbolt maps its file into memory, where 32 bits have room for 2 GiB.
		s.WriteString("outbox:\n  limit_bytes: 1610612736\n")
	}
	return s.String()
}

// config is the network in netplan's words, version 2.
func (n Network) config() (object, error) {
	settings := object{"dhcp4": !n.Address.IsValid(), "optional": true}
	if n.Address.IsValid() {
		settings["addresses"] = []string{n.Address.String()}
		if n.Router.IsValid() {
			settings["routes"] = []object{{"to": "default", "via": n.Router.String()}}
		}
	}
	if len(n.DNS) > 0 {
		settings["nameservers"] = object{"addresses": n.DNS}
	}
	if n.SSID == "" {
		settings["match"] = object{"name": "e*"} // eth0, end0, enp1s0: cables
		return object{"version": 2, "ethernets": object{"wired": settings}}, nil
	}
	// The key of WPA2 instead of the words it is made of (IEEE 802.11i, H.4): it
	// opens this network only.
	key, err := pbkdf2.Key(sha1.New, n.Passphrase.Reveal(), []byte(n.SSID), 4096, 32)
	if err != nil {
		return nil, fmt.Errorf("make the Wi-Fi key: %w", err)
	}
	settings["regulatory-domain"] = n.Country
	settings["access-points"] = object{n.SSID: object{"password": hex.EncodeToString(key)}}
	wired := object{"match": object{"name": "e*"}, "dhcp4": true, "optional": true}
	return object{"version": 2, "ethernets": object{"wired": wired}, "wifis": object{"wlan0": settings}}, nil
}
