package enrolment

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"

	"github.com/wattline/wattline/shared/config"
)

// Config is what an operator, or the image of a box, says.
type Config struct {
	// URL is the cloud's REST address, such as https://cloud.example:8443. Without
	// it the box does not enrol.
	URL string `yaml:"url"`
	// JoinToken is the one-time token; JoinTokenFile holds one, and is deleted once
	// the box is trusted.
	JoinToken     config.Secret `yaml:"join_token"`
	JoinTokenFile string        `yaml:"join_token_file"`
	// CA is the certificate of the site's authority: the box tells its token to
	// nobody else.
	CA string `yaml:"ca"`
}

// Enabled tells that the box is to enrol.
func (c Config) Enabled() bool { return c.URL != "" }

// Validate reports all mistakes at once, by key.
func (c Config) Validate() error {
	if !c.Enabled() {
		if c.JoinToken != "" || c.JoinTokenFile != "" {
			return errors.New("url: required for the join token to be of use")
		}
		return nil
	}
	var errs []error
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "":
		errs = append(errs, fmt.Errorf("url: %q is not an address such as https://cloud.example:8443", c.URL))
	case u.Scheme == "http" && !loopback(u.Hostname()) || u.Scheme != "http" && u.Scheme != "https":
		errs = append(errs, fmt.Errorf("url: %q: https, for the join token must not be heard by others", c.URL))
	case u.Scheme == "https" && c.CA == "":
		errs = append(errs, errors.New("ca: required, the ca.pem of the site: by it the box knows whom it tells its join token"))
	}
	if c.JoinToken != "" && c.JoinTokenFile != "" {
		errs = append(errs, errors.New("join_token: and join_token_file exclude each other"))
	}
	return errors.Join(errs...)
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
