package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/wattline/wattline/cloud/broker"
)

// client speaks just enough MQTT 3.1.1 to publish and to count as fast as a
// broker can: what is measured should not be the measure. One goroutine may
// write while another reads.
type client struct {
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
	body []byte
	id   uint16
}

// Packet types, MQTT 3.1.1 section 2.2.1, in the upper half of the first byte.
const (
	typeConnect   = 0x10
	typePublish   = 0x30
	typePuback    = 0x40
	typeSubscribe = 0x82
	qos1          = 0x02
	retain        = 0x01
	idleTimeout   = 60 * time.Second
)

// packet is a PUBLISH, or any other by its type alone. Its bytes live until the
// next one is read.
type packet struct {
	kind    byte
	topic   []byte
	payload []byte
}

func dialMQTT(address, clientID string) (*client, error) { return dialRole(address, clientID, "") }

// dialRole connects as a role of the cloud does, where the password is not
// empty.
func dialRole(address, clientID, password string) (*client, error) {
	conn, err := dial(address)
	if err != nil {
		return nil, fmt.Errorf("connect to the broker: %w", err)
	}
	c := &client{conn: conn, r: bufio.NewReaderSize(conn, 256<<10), w: bufio.NewWriterSize(conn, 256<<10)}
	body := appendText(nil, "MQTT")
	const userAndPassword = 0xc0
	if password == "" {
		body = appendText(append(body, 4, 2, 0, 0), clientID) // level 4, clean session, no keep alive
	} else {
		body = appendText(append(body, 4, 2|userAndPassword, 0, 0), clientID)
		body = appendText(appendText(body, broker.RoleUser), password)
	}
	if err := c.exchange(typeConnect, body); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connect to the broker: %w", err)
	}
	return c, nil
}

func appendText(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

func (c *client) exchange(kind byte, body []byte) error {
	if err := errors.Join(c.send(kind, body), c.w.Flush()); err != nil {
		return err
	}
	_, err := c.next()
	return err
}

// subscribe asks for QoS 1.
func (c *client) subscribe(filter string) error {
	body := append(appendText([]byte{0, 1}, filter), 1)
	if err := c.exchange(typeSubscribe, body); err != nil {
		return fmt.Errorf("subscribe %s: %w", filter, err)
	}
	return nil
}

func (c *client) send(kind byte, parts ...[]byte) error {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	head := binary.AppendUvarint([]byte{kind}, uint64(n)) // MQTT's lengths are varints of the same form
	if _, err := c.w.Write(head); err != nil {
		return err
	}
	for _, p := range parts {
		if _, err := c.w.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// publish writes a message of QoS 1; it may stay in the buffer until flushed.
func (c *client) publish(topic string, payload []byte, flags byte) error {
	c.id++
	if c.id == 0 {
		c.id = 1
	}
	return c.send(typePublish|qos1|flags, appendText(nil, topic), binary.BigEndian.AppendUint16(nil, c.id), payload)
}

// tell writes a message of QoS 0, which stays in the buffer until flushed.
func (c *client) tell(topic string, payload []byte, flags byte) error {
	return c.send(typePublish|flags, appendText(nil, topic), payload)
}

// next reads a packet. A PUBLISH is acknowledged; acknowledgements leave when
// nothing more is there to be read.
func (c *client) next() (packet, error) {
	if c.r.Buffered() == 0 {
		if err := c.conn.SetReadDeadline(time.Now().Add(idleTimeout)); err != nil {
			return packet{}, err
		}
	}
	first, err := c.r.ReadByte()
	if err != nil {
		return packet{}, err
	}
	length, err := binary.ReadUvarint(c.r)
	if err != nil {
		return packet{}, err
	}
	if int(length) > cap(c.body) {
		c.body = make([]byte, length)
	}
	body := c.body[:length]
	if _, err := io.ReadFull(c.r, body); err != nil {
		return packet{}, err
	}
	if first&0xf0 != typePublish {
		return packet{kind: first & 0xf0}, nil
	}
	if len(body) < 2 || len(body) < 4+int(binary.BigEndian.Uint16(body)) {
		return packet{}, errors.New("malformed PUBLISH")
	}
	n := 2 + int(binary.BigEndian.Uint16(body))
	p := packet{kind: typePublish, topic: body[2:n], payload: body[n:]}
	if first&qos1 != 0 {
		p.payload = body[n+2:]
		if err := c.send(typePuback, body[n:n+2]); err != nil {
			return p, err
		}
	}
	if c.r.Buffered() == 0 {
		return p, c.w.Flush()
	}
	return p, nil
}

func (c *client) close() { _ = c.conn.Close() }
