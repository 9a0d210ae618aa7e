package flash

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
)

// Box is what one gateway is given.
type Box struct {
	Gateway string // its id in the registry, such as edge-f2
	// Hostname is the machine's name; the gateway's id where empty.
	Hostname string
	Broker   string // of the cloud, tls://host:8883
	// Enrolment is the cloud's REST address, https://host:8443, CA the certificate
	// of the site's authority as PEM, JoinToken the one-time token.
	Enrolment string
	CA        []byte
	JoinToken config.Secret
	TimeZone  string   // IANA name; UTC where empty
	NTP       []string // time servers; those of the system where empty
	Network   Network
	// Admin is the account that SSHKeys open; nobody can log in without keys.
	Admin   string
	SSHKeys []string
}

// DefaultAdmin is the account for people, where the box has SSH keys.
const DefaultAdmin = "wattline-admin"

// Network is how the box reaches the others; the zero value is DHCP by cable.
type Network struct {
	// Address is the fixed address with the prefix, 10.1.2.3/24; DHCP where it is
	// not valid. Router and DNS go with it.
	Address netip.Prefix
	Router  netip.Addr
	DNS     []netip.Addr
	// SSID is that of the Wi-Fi; by cable where empty. Passphrase has 8 to 63
	// characters, and only the key that is made of it is written. Country is the
	// two letters by which Wi-Fi knows what it may send.
	SSID       string
	Passphrase config.Secret
	Country    string
}

var (
	hostname = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	account  = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)
	country  = regexp.MustCompile(`^[A-Z]{2}$`)
	timeHost = regexp.MustCompile(`^[A-Za-z0-9.:-]{1,253}$`)
)

// filled is the box with its defaults.
func (b Box) filled() Box {
	b.Hostname = cmp.Or(b.Hostname, strings.TrimRight(strings.ReplaceAll(b.Gateway, "_", "-"), "-"))
	b.TimeZone = cmp.Or(b.TimeZone, "UTC")
	b.Admin = cmp.Or(b.Admin, DefaultAdmin)
	return b
}

// Validate names every mistake at once.
func (b Box) Validate() error { return b.validate(false) }

// validate is Validate; the join token may come later.
func (b Box) validate(later bool) error {
	b = b.filled()
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !contract.IsGatewayID(b.Gateway) {
		bad("gateway: %q is not an id such as edge-f2", b.Gateway)
	}
	if !hostname.MatchString(b.Hostname) {
		bad("host name: %q: up to 63 small letters, digits and -", b.Hostname)
	}
	if err := address(b.Broker, "tls"); err != nil {
		bad("broker: %w, as in tls://cloud.example:8883", err)
	}
	if err := address(b.Enrolment, "https"); err != nil {
		bad("enrolment: %w, as in https://cloud.example:8443", err)
	}
	if err := certificate(b.CA); err != nil {
		bad("certificate of the site: %w: give the ca.pem of wattline-cloud init", err)
	}
	if b.JoinToken == "" && !later || strings.ContainsAny(b.JoinToken.Reveal(), "\r\n\x00 ") {
		bad("join token: required, without blanks: wattline gateways join-token %s", b.Gateway)
	}
	if _, err := time.LoadLocation(b.TimeZone); err != nil || b.TimeZone == "Local" {
		bad("time zone: %q is not a name such as Europe/Prague", b.TimeZone)
	}
	for _, server := range b.NTP {
		if !timeHost.MatchString(server) {
			bad("time server: %q is no host", server)
		}
	}
	if !account.MatchString(b.Admin) || b.Admin == "root" || b.Admin == "wattline" {
		bad("account: %q: small letters and digits, neither root nor wattline", b.Admin)
	}
	for _, key := range b.SSHKeys {
		if fields := strings.Fields(key); len(fields) < 2 || strings.ContainsAny(key, "\r\n") || !strings.Contains(fields[0], "-") {
			bad("SSH key: one line such as ssh-ed25519 AAAA... name")
		}
	}
	return errors.Join(append(errs, b.Network.validate())...)
}

func (n Network) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if n.Address.IsValid() && n.Router.IsValid() && !n.Address.Contains(n.Router) {
		bad("router: %v is not in %v", n.Router, n.Address.Masked())
	}
	if !n.Address.IsValid() && n.Router.IsValid() {
		bad("router: it goes with a fixed address")
	}
	if n.SSID == "" {
		if n.Passphrase != "" {
			bad("Wi-Fi: a passphrase without a name")
		}
		return errors.Join(errs...)
	}
	if len(n.SSID) > 32 {
		bad("Wi-Fi: the name has %d bytes, at most 32 are possible", len(n.SSID))
	}
	if p := n.Passphrase.Reveal(); len(p) < 8 || len(p) > 63 || strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r > '~' }) {
		bad("Wi-Fi: a passphrase has 8 to 63 characters of ASCII (IEEE 802.11i)")
	}
	if !country.MatchString(n.Country) {
		bad("Wi-Fi: country %q: two capital letters, such as CZ", n.Country)
	}
	return errors.Join(errs...)
}

func address(text, scheme string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != scheme || u.Hostname() == "" || u.User != nil {
		return fmt.Errorf("%q is not an address of %s", text, scheme)
	}
	return nil
}

func certificate(text []byte) error {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return errors.New("no PEM of a certificate")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	switch {
	case err != nil:
		return err
	case !c.IsCA:
		return errors.New("it is not an authority's")
	}
	return nil
}
