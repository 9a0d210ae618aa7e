package broker

import (
	"strings"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

// Who is a client, as far as the rules care: a role of the cloud, a gateway, or,
// the zero value, a guest.
type Who struct {
	Role    bool
	Gateway string
}

// Access is what a client wants to do with a topic.
type Access int

// The accesses. A topic filter may have wildcards and be a shared one.
const (
	Publish   Access = iota // publish on the topic, or have a will there
	Hear                    // be given a message of the topic
	Subscribe               // subscribe to the topic filter
)

// What the broker puts up with; far beyond every topic of ours.
const (
	maxTopicBytes  = 1024
	maxTopicLevels = 64
)

// Allowed holds the access rules of the bus: which client may publish on, hear
// and subscribe to what. It depends on its arguments only.
func Allowed(who Who, access Access, topic string) bool {
	if topic == "" || len(topic) > maxTopicBytes || strings.Count(topic, "/") >= maxTopicLevels {
		return false
	}
	if access == Subscribe {
		topic = unshared(topic)
	}
	switch {
	case who.Role:
		return true
	case who.Gateway != "" && access == Publish:
		return gatewayPublishes(who.Gateway, topic)
	case who.Gateway != "":
		return gatewayHears(who.Gateway, topic)
	case access == Publish:
		return guestPublishes(topic)
	}
	return guestHears(topic)
}

// gatewayPublishes: only as itself.
func gatewayPublishes(gateway, topic string) bool {
	level := strings.SplitN(topic, "/", 5)
	switch level[0] {
	case "data", "state":
		return len(level) >= 3 && level[1] == gateway
	case "gateways":
		return topic == bus.StatusTopic(gateway) || topic == bus.FoundTopic(gateway)
	case "responses": // responses/sp_command/<instance>/<gateway>/<id>
		return len(level) == 5 && level[1] == "sp_command" && level[3] == gateway
	}
	return false
}

// gatewayHears: only its own.
func gatewayHears(gateway, topic string) bool {
	return topic == bus.ConfigTopic(gateway) || topic == bus.CommandTopic(gateway) || strings.HasPrefix(topic, "responses/"+gateway+"/")
}

// guestPublishes: what agents, clients, hooks and components of others send.
func guestPublishes(topic string) bool {
	family, rest, _ := strings.Cut(topic, "/")
	switch family {
	case "registry", "gateways", "state", "alerts":
		return false
	case "responses":
		return !strings.HasSuffix(topic, "/receipts") && !strings.HasPrefix(rest, "sp_command/")
	case "command", "query":
		return !guarded(rest)
	}
	return !strings.HasPrefix(topic, "$")
}

// guestHears: all but the registry, which holds hashed tokens, what it, the
// alerting and the backup are asked, and what the api and the backup are answered:
// join tokens and tokens of people pass there, each once, and whole files of the
// roles. A filter such as "#" is granted and brings none of this, for each message
// is asked about again as [Hear].
func guestHears(topic string) bool {
	family, rest, _ := strings.Cut(topic, "/")
	switch family {
	case "registry":
		return false
	case "command", "query":
		return !guarded(rest)
	case "responses":
		asker, _, _ := strings.Cut(rest, "/")
		return asker != "api" && asker != "backup"
	}
	return true
}

// guarded tells the components that answer the api alone, which looks at who
// asks: what they are told of who it is they believe; and those that give the
// backup the files of a role.
func guarded(rest string) bool {
	component, _, _ := strings.Cut(rest, "/")
	return component == "registry" || component == "alerting" || component == "backup" || strings.HasSuffix(component, "_copy")
}

// unshared is the filter in $share/<name>/<filter>.
func unshared(filter string) string {
	level := strings.SplitN(filter, "/", 3)
	if len(level) == 3 && strings.EqualFold(level[0], "$share") {
		return level[2]
	}
	return filter
}

// gatewayOf tells whether a will claims that its client is a gateway, and
// whether the client id agrees.
func gatewayOf(clientID, willTopic string) (gateway string, agrees bool) {
	name, found := strings.CutPrefix(willTopic, "gateways/")
	gateway, status, _ := strings.Cut(name, "/")
	if !found || status != "status" || gateway == "" {
		return "", true
	}
	epoch, found := strings.CutPrefix(clientID, gateway+"-")
	_, err := contract.ParseEpoch(epoch)
	return gateway, found && err == nil
}
