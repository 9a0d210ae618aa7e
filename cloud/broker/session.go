package broker

import (
	"crypto/subtle"
	"errors"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

const takeoverTime = 5 * time.Second // for an older connection with the same id to end

// OnConnectAuthenticate finds out who the client is and makes room for its
// session: a connection with the same id ends first. mochi's own takeover lets
// the two overlap, and then the end of the older can take the newer off the
// list of clients, which hears nothing from there on.
func (g *guard) OnConnectAuthenticate(cl *mqtt.Client, pk packets.Packet) bool {
	c := connOf(cl)
	var err error
	if c.leaf != nil {
		c.who, err = certified(c.leaf, cl.ID, pk.Connect)
	} else {
		c.who, err = g.identify(cl.ID, pk.Connect)
	}
	if err == nil {
		err = g.takeOver(c)
	}
	if err != nil {
		g.refuse(c, "connect", cl.ID, err.Error())
		return false
	}
	c.watchExpiry()
	return true
}

// Why a client without a certificate is refused.
var (
	errPassword = errors.New("wrong password of the roles")
	errWill     = errors.New("its will is on a topic that it may not publish on, or of a gateway that its client id does not name")
	errStranger = errors.New("another kind of client has its client id")
	errStays    = errors.New("the older connection with its client id does not end")
)

// identify finds out who a client on the plain listener claims to be.
func (g *guard) identify(id string, connect packets.ConnectParams) (Who, error) {
	secret := g.password.Reveal()
	if string(connect.Username) == RoleUser && secret != "" {
		if subtle.ConstantTimeCompare(connect.Password, []byte(secret)) != 1 {
			return Who{}, errPassword
		}
		return Who{Role: true}, nil
	}
	if !connect.WillFlag {
		return Who{Role: secret == ""}, nil
	}
	gateway, agrees := gatewayOf(id, connect.WillTopic)
	who := Who{Gateway: gateway, Role: gateway == "" && secret == ""}
	if !agrees || g.forbids(who, connect.WillTopic) != nil {
		return who, errWill
	}
	return who, nil
}

// takeOver enters the session of a connection. Whether its certificate is in
// force is asked under the lock under which the registry's word comes in, so
// that no connection slips between the two.
func (g *guard) takeOver(c *conn) error {
	deadline := time.After(takeoverTime)
	for {
		g.mu.Lock()
		if err := g.inForce(c); err != nil {
			g.mu.Unlock()
			return err
		}
		older := g.sessions[c.id]
		if older == nil {
			g.sessions[c.id] = c
			g.mu.Unlock()
			return nil
		}
		g.mu.Unlock()
		if older.who != c.who {
			return errStranger
		}
		g.counted.takeover.Add(1)
		_ = older.Close()
		select {
		case <-older.gone:
		case <-deadline:
			return errStays
		}
	}
}

// leave frees the id of a connection that mochi has done with.
func (g *guard) leave(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sessions[c.id] == c {
		delete(g.sessions, c.id)
	}
}
