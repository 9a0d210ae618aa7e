package server

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/wattline/wattline/cloud/broker"
	"github.com/wattline/wattline/shared/pki"
)

// Files of a role's certificate in an export.
const (
	roleCert = "role.pem"
	roleKey  = "role.key"
)

// Access exports to a directory what an MQTT broker of the site's own needs to
// hold clients to the same rules: Mosquitto's configuration and ACL, the site's
// authority, the list of revoked certificates, a certificate for the broker and
// one for the roles of the cloud (mqtt.tls). hosts are the broker's names and
// addresses. Repeated, it writes all anew but the keys.
func Access(cfg *Config, dir, listen string, hosts []string) error {
	for _, host := range hosts {
		if err := pki.CheckHost(host); err != nil {
			return fmt.Errorf("name of the broker: %w", err)
		}
	}
	now := time.Now()
	trust := cfg.path(trustDir)
	authority, err := pki.LoadAuthority(trust, now)
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("export the access rules: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("export the access rules: %w", err)
	}
	revoked, err := pki.ReadFile(filepath.Join(trust, pki.RevocationList))
	if errors.Is(err, fs.ErrNotExist) { // the registry has not run yet
		revoked, err = authority.Revoke(nil, now)
	}
	if err != nil {
		return fmt.Errorf("export the access rules: %w", err)
	}
	server, err := issue(authority, filepath.Join(dir, broker.ServerKey), pki.Server, hosts[0], hosts, now)
	if err != nil {
		return err
	}
	role, err := issue(authority, filepath.Join(dir, roleKey), pki.Role, broker.RoleUser, nil, now)
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{
		pki.AuthorityCertificate: authority.PEM(), pki.RevocationList: revoked, broker.ServerCert: server, roleCert: role,
		broker.MosquittoConf: []byte(broker.MosquittoConfig(listen, dir)), broker.MosquittoACL: []byte(broker.MosquittoRules()),
	} {
		if err := pki.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return fmt.Errorf("export the access rules: %w", err)
		}
	}
	return nil
}

// issue makes a certificate for the key in a file, which it draws the first time.
func issue(a *pki.Authority, keyFile string, kind pki.Kind, name string, hosts []string, now time.Time) ([]byte, error) {
	var key *ecdsa.PrivateKey
	key, err := pki.LoadOrCreateKey(keyFile)
	if err != nil {
		return nil, fmt.Errorf("export the access rules: %w", err)
	}
	text, _, err := a.Issue(kind, name, &key.PublicKey, hosts, now)
	return text, err
}
