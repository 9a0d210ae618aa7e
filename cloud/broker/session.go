package broker

import (
	"crypto/subtle"
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
	who, ok := g.identify(cl.ID, pk.Connect)
	if !ok {
		return false
	}
	c.who = who
	return g.takeOver(c)
}

func (g *guard) identify(id string, connect packets.ConnectParams) (Who, bool) {
	secret := g.password.Reveal()
	if string(connect.Username) == RoleUser && secret != "" {
		return Who{Role: true}, subtle.ConstantTimeCompare(connect.Password, []byte(secret)) == 1
	}
	if !connect.WillFlag {
		return Who{Role: secret == ""}, true
	}
	gateway, agrees := gatewayOf(id, connect.WillTopic)
	who := Who{Gateway: gateway, Role: gateway == "" && secret == ""}
	if !agrees || !Allowed(who, Publish, connect.WillTopic) {
		g.deny("its will", id, connect.WillTopic)
		return Who{}, false
	}
	return who, true
}

func (g *guard) takeOver(c *conn) bool {
	deadline := time.After(takeoverTime)
	for {
		g.mu.Lock()
		older := g.sessions[c.id]
		if older == nil {
			g.sessions[c.id] = c
			g.mu.Unlock()
			return true
		}
		g.mu.Unlock()
		if older.who != c.who {
			return false
		}
		g.counted.takeover.Add(1)
		_ = older.Close()
		select {
		case <-older.gone:
		case <-deadline:
			return false
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
