package broker

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Files of an export for Mosquitto, in one directory.
const (
	MosquittoConf = "wattline.conf"
	MosquittoACL  = "wattline.acl"
	ServerCert    = "server.pem"
	ServerKey     = "server.key"
)

// MosquittoConfig gives the configuration of Mosquitto 2 for a listener that lets
// in what holds a certificate of the site, as the embedded broker's does. dir is
// where the exported files are on Mosquitto's machine.
//
// Three things Mosquitto cannot do: hold a client id to its gateway (who takes
// another's must guess its epoch, 64 random bits), end the connection of a
// certificate that is revoked while it is connected, and tell anybody of refusals.
// Guests it does not let in at all.
func MosquittoConfig(listen, dir string) string {
	lines := []string{
		"# Wattline on Mosquitto 2: include this file, or put it into conf.d.",
		"# The keys must be readable by Mosquitto's user. After a revocation copy the",
		"# site's " + listed + " here, reload Mosquitto (SIGHUP), and restart it to end a",
		"# connection that is open.",
		"per_listener_settings true",
		"listener " + listen,
		"cafile " + filepath.Join(dir, "ca.pem"),
		"certfile " + filepath.Join(dir, ServerCert),
		"keyfile " + filepath.Join(dir, ServerKey),
		"crlfile " + filepath.Join(dir, listed),
		"require_certificate true",
		"use_identity_as_username true",
		"allow_anonymous false",
		"acl_file " + filepath.Join(dir, MosquittoACL),
		"max_queued_messages 0",
		"max_inflight_messages 0",
		"max_packet_size 5242880",
	}
	return strings.Join(lines, "\n") + "\n"
}

const listed = "crl.pem"

// MosquittoRules gives the access rules of [Allowed] as an ACL file: %u is the
// common name of the client's certificate. [RoleUser] is the name of roles.
func MosquittoRules() string {
	var b strings.Builder
	b.WriteString("# A gateway publishes as itself only and hears its own only; roles do all.\n")
	for _, topic := range []string{"data/%u/#", "state/%u/#", "gateways/%u/status", "gateways/%u/found", "responses/sp_command/+/%u/+"} {
		fmt.Fprintf(&b, "pattern write %s\n", topic)
	}
	for _, topic := range []string{"gateways/%u/config", "gateways/%u/command", "responses/%u/#"} {
		fmt.Fprintf(&b, "pattern read %s\n", topic)
	}
	fmt.Fprintf(&b, "\nuser %s\ntopic readwrite #\n", RoleUser)
	return b.String()
}
