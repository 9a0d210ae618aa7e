package hs110

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"net"
	"strconv"
	"time"
)

// Where a plug listens whose firmware has closed the protocol.
const (
	httpPort = 80
	klapPort = 20002

	// probeTimeout bounds each of the two probes. The plug has just refused a
	// connection, so it is near and awake.
	probeTimeout = 500 * time.Millisecond
)

// locked tells a plug that its firmware has locked from one that is merely not
// listening: it listens on the ports of the newer protocol.
func (c *Client) locked(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*probeTimeout)
	defer cancel()
	host, _, err := net.SplitHostPort(c.address)
	if err != nil {
		return false
	}
	return c.answersHTTP(ctx, host) || c.answersKLAP(ctx, host)
}

func (c *Client) answersHTTP(ctx context.Context, host string) bool {
	if c.httpPort < 0 {
		return false
	}
	d := net.Dialer{Timeout: probeTimeout, KeepAlive: -1}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(c.httpPort)))
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// answersKLAP asks by the newer protocol's discovery, which a locked plug
// answers with a header of 16 bytes and a JSON text that names its encryption.
func (c *Client) answersKLAP(ctx context.Context, host string) bool {
	if c.klapPort < 0 {
		return false
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", net.JoinHostPort(host, strconv.Itoa(c.klapPort)))
	if err != nil {
		return false
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline() // set by locked
	if err := conn.SetDeadline(deadline); err != nil {
		return false
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(klapHello()); err != nil {
		return false
	}
	answer := make([]byte, 2048)
	n, err := conn.Read(answer)
	return err == nil && isKLAP(answer[:n])
}

const klapHeader = 16

// klapHello is the question of that discovery, a header alone: version 2, type
// 0, operation 1, no content, no flags, serial 0, and the CRC-32 of all that,
// computed with a fixed word in the checksum's place.
func klapHello() []byte {
	const placeholder = 0x5A6B7C8D
	b := binary.BigEndian.AppendUint16([]byte{2, 0}, 1)
	b = binary.BigEndian.AppendUint32(append(b, 0, 0, 0, 0), 0)
	sum := crc32.ChecksumIEEE(binary.BigEndian.AppendUint32(b, placeholder))
	return binary.BigEndian.AppendUint32(b[:klapHeader-4], sum)
}

func isKLAP(answer []byte) bool {
	_, ok := ParseLockedDatagram(answer)
	return ok
}

// LockedPort is the UDP port on which a plug answers [LockedDatagram] whose
// firmware has closed the protocol.
const LockedPort = klapPort

// LockedDatagram is the payload that asks for plugs with closed firmware; those
// of the open protocol do not listen there. [ParseLockedDatagram] reads the
// answers.
func LockedDatagram() []byte { return klapHello() }

// Locked is what a plug with closed firmware still tells of itself. Its device id
// is another one than the open protocol's, so only the MAC tells which it is.
type Locked struct {
	Model string
	MAC   string // as [CanonicalMAC] writes it, "" where it sent none
}

// ParseLockedDatagram reads an answer to [LockedDatagram]; false means that it is
// none.
func ParseLockedDatagram(answer []byte) (Locked, bool) {
	if len(answer) <= klapHeader {
		return Locked{}, false
	}
	var a struct {
		Result struct {
			Model  string `json:"device_model"`
			MAC    string `json:"mac"`
			Scheme struct {
				Type string `json:"encrypt_type"`
			} `json:"mgt_encrypt_schm"`
		} `json:"result"`
	}
	if json.Unmarshal(answer[klapHeader:], &a) != nil || a.Result.Scheme.Type == "" {
		return Locked{}, false
	}
	mac, _ := CanonicalMAC(a.Result.MAC)
	return Locked{Model: a.Result.Model, MAC: mac}, true
}
