package broker_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/broker"
)

// The packet types of MQTT 3.1.1 section 2.2.1 that the tests use.
const (
	connectPacket    = 1
	connectAnswer    = 2
	publishPacket    = 3
	publishAnswer    = 4
	subscribePacket  = 8
	subscribeAnswer  = 9
	pingPacket       = 12
	pingAnswer       = 13
	disconnectPacket = 14
)

// raw speaks MQTT byte by byte, as a client library would not let us.
type raw struct {
	net.Conn

	t testing.TB
	r *bufio.Reader
}

type packet struct {
	kind byte
	body []byte
}

func dial(t testing.TB, b *broker.Broker) *raw {
	t.Helper()
	return dialTo(t, b.Addr())
}

func dialTo(t testing.TB, address string) *raw {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &raw{c, t, bufio.NewReader(c)}
}

func text(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

func frame(head byte, body []byte) []byte {
	out := []byte{head}
	n := len(body)
	for {
		digit := byte(n & 0x7f)
		if n >>= 7; n > 0 {
			out = append(out, digit|0x80)
			continue
		}
		return append(append(out, digit), body...)
	}
}

func connectBody(id string, level byte, keepAlive uint16, willTopic, will, user, password string) []byte {
	flags := byte(2) // clean session
	body := append(text("MQTT"), level, 0)
	body = binary.BigEndian.AppendUint16(body, keepAlive)
	if level == 5 {
		body = append(body, 0)
	}
	body = append(body, text(id)...)
	if willTopic != "" {
		flags |= 1<<2 | 1<<3
		if level == 5 {
			body = append(body, 0)
		}
		body = append(append(body, text(willTopic)...), text(will)...)
	}
	if user != "" {
		flags |= 1<<7 | 1<<6
		body = append(append(body, text(user)...), text(password)...)
	}
	body[7] = flags
	return body
}

func connect(t testing.TB, b *broker.Broker, id string, keepAlive uint16) *raw {
	t.Helper()
	return connectWith(t, b, id, keepAlive, "", "")
}

func connectWith(t testing.TB, b *broker.Broker, id string, keepAlive uint16, willTopic, will string) *raw {
	t.Helper()
	c := dial(t, b)
	c.send(connectPacket<<4, connectBody(id, 4, keepAlive, willTopic, will, "", ""))
	if p := c.read(); p.kind != connectAnswer || p.body[1] != 0 {
		t.Fatalf("connect %s: %v", id, p)
	}
	return c
}

// send writes a packet; that the broker has hung up is told by reading.
func (c *raw) send(head byte, body []byte) {
	_ = c.SetWriteDeadline(time.Now().Add(30 * time.Second))
	_, _ = c.Write(frame(head, body))
}

func (c *raw) read() packet {
	c.t.Helper()
	p, err := c.tryRead()
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

func (c *raw) tryRead() (packet, error) {
	_ = c.SetReadDeadline(time.Now().Add(60 * time.Second))
	head, err := c.r.ReadByte()
	if err != nil {
		return packet{}, err
	}
	length, err := binary.ReadUvarint(c.r) // MQTT's lengths have this form
	if err != nil {
		return packet{}, err
	}
	body := make([]byte, length)
	_, err = io.ReadFull(c.r, body)
	return packet{head >> 4, body}, err
}

// subscribe asks for QoS 1 and tells whether it was granted. Connections that a
// newer one has ended are told apart by nothing: they are not granted either.
func (c *raw) subscribe(id uint16, filter string) bool {
	c.send(subscribePacket<<4|2, append(append(binary.BigEndian.AppendUint16(nil, id), text(filter)...), 1))
	for {
		p, err := c.tryRead()
		if err != nil {
			return false
		}
		if p.kind == subscribeAnswer {
			return p.body[2] <= 2
		}
	}
}

// publish publishes with QoS 1 and waits for the acknowledgement; false when
// the broker hangs up instead.
func (c *raw) publish(topic, payload string) bool {
	c.send(publishPacket<<4|2, append(append(text(topic), 0, 77), payload...))
	for {
		p, err := c.tryRead()
		if err != nil {
			return false
		}
		if p.kind == publishAnswer {
			return true
		}
	}
}

func (c *raw) ping() { c.send(pingPacket<<4, nil) }
