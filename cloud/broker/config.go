package broker

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/wattline/wattline/shared/config"
)

// Config says where the broker listens and how much it may hold. The zero value
// is not usable; start from DefaultConfig.
type Config struct {
	// Listen is host:port on loopback; port 0 takes a free one.
	Listen string `yaml:"listen"`
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
	errs := []error{checkListen(c.Listen)}
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

// checkListen holds the broker to loopback: it has no TLS and no credentials of
// gateways yet.
func checkListen(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("listen: %q is not host:port, such as 127.0.0.1:1883", address)
	}
	ip, err := netip.ParseAddr(host)
	if host == "localhost" || err == nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("listen: %q is not on loopback; the embedded broker has neither TLS nor credentials for gateways, "+
		"so let it listen on 127.0.0.1 or use an MQTT broker of your own for other machines", address)
}
