package broker

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/pki"
)

// Config says where the broker listens and how much it may hold. The zero value
// is not usable; start from DefaultConfig.
type Config struct {
	// Listen is host:port on loopback; port 0 takes a free one.
	Listen string `yaml:"listen"`
	// TLS is for clients on other machines; off while it has no Listen.
	TLS TLS `yaml:"tls"`
	// Password sets the roles of the cloud, who give it with the user name
	// [RoleUser], apart from other clients of this machine. Empty trusts them all.
	Password config.Secret `yaml:"password"`
	// MaxClients bounds the connections.
	MaxClients int `yaml:"max_clients"`
	// MaxPacketBytes bounds one MQTT packet.
	MaxPacketBytes int `yaml:"max_packet_bytes"`
	// ClientBufferBytes bounds what waits to be sent to or acknowledged by one
	// client, BufferBytes what waits for all of them; what is beyond is dropped.
	// Roles of the cloud may use all of BufferBytes.
	ClientBufferBytes int `yaml:"client_buffer_bytes"`
	BufferBytes       int `yaml:"buffer_bytes"`
	// MaxRetained and RetainedBytes bound the retained messages; one that does
	// not fit is passed on but not kept.
	MaxRetained   int `yaml:"max_retained"`
	RetainedBytes int `yaml:"retained_bytes"`
}

// TLS is the listener on which everybody shows a certificate of the site.
type TLS struct {
	// Listen is host:port, such as 0.0.0.0:8883; empty for none.
	Listen string `yaml:"listen"`
	// Names are the DNS names and addresses by which clients connect, for the
	// certificate that the site's authority issues. Without any it is for this
	// machine's name and addresses.
	Names []string `yaml:"names"`
	// CA is the authority of the clients, Cert and Key the broker's own
	// certificate; what is empty comes from the site's authority on this machine.
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Files are those that are configured.
func (t TLS) Files() pki.Files { return pki.Files{CA: t.CA, Cert: t.Cert, Key: t.Key} }

// Validate reports all mistakes at once, by key.
func (t TLS) Validate() error {
	var errs []error
	if t.Listen != "" {
		if _, _, err := net.SplitHostPort(t.Listen); err != nil {
			errs = append(errs, fmt.Errorf("listen: %q is not host:port, such as 0.0.0.0:8883", t.Listen))
		}
	}
	for i, name := range t.Names {
		if err := pki.CheckHost(name); err != nil {
			errs = append(errs, fmt.Errorf("names[%d]: %w", i, err))
		}
	}
	return errors.Join(append(errs, t.Files().Validate())...)
}

// RoleUser is the user name of the cloud's own roles.
const RoleUser = "wattline"

// DefaultConfig has every default.
func DefaultConfig() Config {
	return Config{
		Listen:            "127.0.0.1:1883",
		MaxClients:        10_000,
		MaxPacketBytes:    5 << 20,
		ClientBufferBytes: 16 << 20,
		BufferBytes:       256 << 20,
		MaxRetained:       200_000,
		RetainedBytes:     128 << 20,
	}
}

// Validate reports all mistakes at once, by key.
func (c *Config) Validate() error {
	errs := []error{checkListen(c.Listen), config.Key("tls", c.TLS.Validate())}
	least := func(key string, value, least int) {
		if value < least {
			errs = append(errs, fmt.Errorf("%s: %d is less than %d", key, value, least))
		}
	}
	least("max_clients", c.MaxClients, 10)
	least("max_packet_bytes", c.MaxPacketBytes, 1<<20)
	least("client_buffer_bytes", c.ClientBufferBytes, 1<<20)
	least("buffer_bytes", c.BufferBytes, max(4*c.MaxPacketBytes, c.ClientBufferBytes, 1<<20))
	least("max_retained", c.MaxRetained, 1000)
	least("retained_bytes", c.RetainedBytes, 1<<20)
	if c.MaxPacketBytes > maxRemaining {
		errs = append(errs, fmt.Errorf("max_packet_bytes: %d is more than MQTT can say (%d)", c.MaxPacketBytes, maxRemaining))
	}
	return errors.Join(errs...)
}

// checkListen holds the plain listener to loopback: nothing on it is proven.
func checkListen(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("listen: %q is not host:port, such as 127.0.0.1:1883", address)
	}
	ip, err := netip.ParseAddr(host)
	if host == "localhost" || err == nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("listen: %q is not on loopback, and there is neither TLS nor proof of who a client is on this listener: "+
		"let it listen on 127.0.0.1, and let other machines in by tls.listen", address)
}
