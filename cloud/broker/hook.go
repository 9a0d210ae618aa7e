package broker

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
)

const (
	maxClientID      = 256
	maxSubscriptions = 1000      // of one client
	messageCost      = 1 << 10   // bytes that mochi needs for a message beside its payload
	smallShare       = 256 << 10 // bytes a client may always have waiting
)

// guard is the hook by which mochi asks for the rules and tells what it does.
type guard struct {
	mqtt.HookBase
	log      *slog.Logger
	password config.Secret
	clients  func(id string) (*mqtt.Client, bool)
	share    int64 // bytes that may wait for one client,
	all      int64 // for all
	retained *retained
	outlet   Outlet
	counted  *counters
	denials  limiter
	unkept   limiter

	refused func(contract.Audited) // may be nil

	mu       sync.Mutex // protects the fields below
	sessions map[string]*conn
	enrolled map[string]enrolled // by gateway
	teller   teller
}

// counters are what mochi does not count.
type counters struct {
	refused atomic.Int64 // connections
	denied  atomic.Int64 // publishes, subscriptions and wills against the rules
	slow    atomic.Int64 // messages dropped because their receiver had too many waiting
	unkept  atomic.Int64 // retained messages that did not fit
	panics  atomic.Int64
	// handshakes of TLS that came to nothing
	handshakes atomic.Int64
	takeover   atomic.Int64 // connections ended by a newer one with their id
}

// ID names the hook for mochi.
func (*guard) ID() string { return "wattline" }

// Provides lists what the hook wants to be asked and told.
func (*guard) Provides(b byte) bool {
	switch b {
	case mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnPacketRead, mqtt.OnSubscribe, mqtt.OnSelectSubscribers,
		mqtt.OnPublish, mqtt.OnWill, mqtt.OnQosPublish, mqtt.OnQosComplete, mqtt.OnQosDropped:
		return true
	}
	return false
}

// connOf is our side of a client.
func connOf(cl *mqtt.Client) *conn {
	c, _ := cl.Net.Conn.(*conn) // nil for a client without a connection
	return c
}

// OnConnect makes every session end with its connection.
func (g *guard) OnConnect(cl *mqtt.Client, _ packets.Packet) error {
	c := connOf(cl)
	if c == nil {
		return packets.ErrServerUnavailable
	}
	c.listener.spoke(c)
	if len(cl.ID) > maxClientID {
		return packets.ErrClientIdentifierNotValid
	}
	cl.Properties.Clean = true
	c.id = cl.ID
	return nil
}

// OnACLCheck is asked for each message in and for each delivery out.
func (g *guard) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	c := connOf(cl)
	switch {
	case c == nil:
		return false
	case write:
		err := g.forbids(c.who, topic)
		if err != nil {
			g.refuse(c, "publish", topic, err.Error())
		}
		return err == nil
	case !Allowed(c.who, Hear, topic):
		return false
	case g.crowded(c, 0, 0):
		g.counted.slow.Add(1)
		return false
	}
	return true
}

// Why a client may not publish on a topic.
var (
	errForeign = errors.New("not a topic of its own")
	errOutlet  = errors.New("the cloud alone publishes there")
)

// forbids says why a client may not publish on a topic, or have a will there; nil
// when it may.
func (g *guard) forbids(who Who, topic string) error {
	switch {
	case !Allowed(who, Publish, topic):
		return errForeign
	case g.outlet.closed(who, topic):
		return errOutlet
	case g.impostor(who, topic):
		return errUnsaid
	}
	return nil
}

// crowded tells whether so much waits for the client that a message of that
// size is too much. What is sent with QoS 1 is there twice: as it waits, and as
// it waits to be acknowledged. others is what is about to be given to others.
func (g *guard) crowded(c *conn, size int, others int64) bool {
	share := g.share
	if c.who.Role {
		share = g.all
	}
	own := c.pending.Load() + c.inflight.bytes.Load() + weight(size)
	return own > share || own > smallShare && c.limits.waiting.Load()+others+weight(size) > g.all
}

func weight(size int) int64 { return 2*int64(size) + messageCost }

// OnPacketRead keeps mochi from refusing a subscription because its packet
// identifier is that of a message under way to the client: the two are numbered
// apart (MQTT 3.1.1 section 2.3.1), and mochi 2.7.9 keeps them in one map.
func (g *guard) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if t := pk.FixedHeader.Type; (t == packets.Subscribe || t == packets.Unsubscribe) && cl.State.Inflight.Delete(pk.PacketID) {
		connOf(cl).inflight.set(pk.PacketID, 0)
	}
	return pk, nil
}

// OnSubscribe makes the filters invalid that the client may not have.
func (g *guard) OnSubscribe(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	c := connOf(cl)
	have := cl.State.Subscriptions.Len()
	for i := range pk.Filters {
		if have++; have > maxSubscriptions || !Allowed(c.who, Subscribe, pk.Filters[i].Filter) {
			g.refuse(c, "subscribe", pk.Filters[i].Filter, "not a topic of its own, or too many")
			pk.Filters[i].Filter = ""
		}
	}
	return pk
}

// everything is a shared filter with nobody behind it. mochi asks for the choice
// of subscribers only where a shared filter matches, and copies a message for
// each subscriber before it asks whether that one may have it.
const everything = "$share/wattline/#"

// OnSelectSubscribers leaves those out that get no more for now, before a copy
// of the message is made for them, and prefers the members of a shared
// subscription that keep up.
func (g *guard) OnSelectSubscribers(subs *mqtt.Subscribers, pk packets.Packet) *mqtt.Subscribers {
	size, others := len(pk.Payload), int64(0)
	delete(subs.Shared, everything)
	for _, members := range subs.Shared {
		for id := range members {
			if len(members) == 1 {
				break
			}
			if g.busy(id, size, others) {
				delete(members, id)
			}
		}
	}
	for id := range subs.Subscriptions {
		if g.busy(id, size, others) {
			g.counted.slow.Add(1)
			delete(subs.Subscriptions, id)
			continue
		}
		others += weight(size)
	}
	return subs
}

// busy tells whether a client gets no more for now, or is none any more.
func (g *guard) busy(id string, size int, others int64) bool {
	cl, ok := g.clients(id)
	if !ok {
		return true
	}
	c := connOf(cl)
	return c == nil || g.crowded(c, size, others)
}

// OnPublish takes the retained flag off what does not fit.
func (g *guard) OnPublish(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	pk.FixedHeader.Retain = pk.FixedHeader.Retain && g.keep(pk.TopicName, len(pk.Payload))
	return pk, nil
}

// OnWill does the same for wills, and asks once more whether the client may say
// it: a gateway may have come to be trusted since the client connected. mochi
// 2.7.9 asks for no rules here and sends a will in any case; one without a topic
// reaches nobody.
func (g *guard) OnWill(cl *mqtt.Client, will mqtt.Will) (mqtt.Will, error) {
	c := connOf(cl)
	if c == nil {
		return mqtt.Will{}, nil
	}
	if why := g.forbids(c.who, will.TopicName); why != nil {
		g.refuse(c, "will", will.TopicName, why.Error())
		will = mqtt.Will{}
	}
	will.Retain = will.Retain && g.keep(will.TopicName, len(will.Payload))
	return will, nil
}

func (g *guard) keep(topic string, size int) bool {
	if g.retained.admit(topic, size) {
		return true
	}
	g.counted.unkept.Add(1)
	if g.unkept.due() {
		g.log.Warn("no room for more retained messages", slog.String("topic", clip(topic)))
	}
	return false
}

// clip bounds a text of a stranger for the log.
func clip(s string) string { return s[:min(len(s), 200)] }

// limiter lets one log line a minute through; the counters tell the rest.
type limiter struct{ last atomic.Int64 }

func (l *limiter) due() bool {
	now := time.Now().Unix()
	last := l.last.Load()
	return now-last >= 60 && l.last.CompareAndSwap(last, now)
}
