package bus

import (
	"errors"
	"fmt"
	"strings"
)

// Topics of the families that have one fixed form.
const (
	DataFilter          = "data/+/influx_data/#"
	StatusFilter        = "gateways/+/status"
	ConfigFilter        = "gateways/+/config"
	FoundFilter         = "gateways/+/found"
	RegistryFilter      = "registry/#"
	SiteTopic           = "registry/site"
	PlacesPrefix        = "registry/places/"
	GatewaysInfoPrefix  = "registry/gateways/"
	TokensPrefix        = "registry/tokens/"
	StateFilter         = "state/#"
	commandPrefix       = "command/"
	queryPrefix         = "query/"
	responsesPrefix     = "responses/"
	maxTopicLength      = 1024
	dataLevels          = 4
	dataLevelsWithBatch = 5
)

// ErrTopic is the class of errors about topics that must not be published to.
var ErrTopic = errors.New("malformed topic")

// Data is a topic of the data family taken apart:
// data/<source>/<hook>/<database>[/<batch id>].
type Data struct {
	Source, Hook, Database, Batch string
}

// ParseData takes a data topic apart. Without a database level the Database is
// empty, and the hook decides.
func ParseData(topic string) (Data, error) {
	levels := strings.Split(topic, "/")
	if len(levels) < 3 || len(levels) > dataLevelsWithBatch || levels[0] != "data" || levels[1] == "" {
		return Data{}, fmt.Errorf("%w: %.80q is not data/<source>/<hook>/<database>[/<batch id>]", ErrTopic, topic)
	}
	d := Data{Source: levels[1], Hook: levels[2]}
	if len(levels) >= dataLevels {
		d.Database = levels[3]
	}
	if len(levels) == dataLevelsWithBatch {
		d.Batch = levels[4]
	}
	return d, nil
}

func (d Data) String() string {
	topic := "data/" + d.Source + "/" + d.Hook + "/" + d.Database
	if d.Batch != "" {
		topic += "/" + d.Batch
	}
	return topic
}

// ConfigTopic carries a gateway's configuration, retained.
func ConfigTopic(gateway string) string { return "gateways/" + gateway + "/config" }

// CommandTopic carries the share of a command that a gateway carries out.
func CommandTopic(gateway string) string { return "gateways/" + gateway + "/command" }

// StatusTopic carries a gateway's heartbeat and its will, retained.
func StatusTopic(gateway string) string { return "gateways/" + gateway + "/status" }

// FoundTopic carries the plugs that a gateway sees, retained.
func FoundTopic(gateway string) string { return "gateways/" + gateway + "/found" }

// ReceiptsTopic is where the storing hook answers a source's batches.
func ReceiptsTopic(source string) string { return responsesPrefix + source + "/receipts" }

// StateTopic carries the newest reading of a device, retained.
func StateTopic(gateway, device string) string { return "state/" + gateway + "/" + device }

// AlertTopic carries an alert while it fires, retained. Subject is a device id, a
// gateway, or "site".
func AlertTopic(rule, subject string) string { return "alerts/" + rule + "/" + subject }

// GatewayOf is the gateway of a topic gateways/<gateway>/..., state/<gateway>/...
// or registry/gateways/<gateway>; "" for others.
func GatewayOf(topic string) string {
	levels := strings.Split(topic, "/")
	switch {
	case len(levels) == 3 && (levels[0] == "gateways" || levels[0] == "state"):
		return levels[1]
	case len(levels) == 3 && levels[0] == "registry" && levels[1] == "gateways":
		return levels[2]
	}
	return ""
}

// Responses is the filter of everything that is answered to an asker.
func Responses(asker string) string { return responsesPrefix + asker + "/#" }

// IsResponse reports whether an answer may be published to a topic that a
// stranger named: one below responses/, without wildcards and the like.
func IsResponse(topic string) bool {
	return strings.HasPrefix(topic, responsesPrefix) && CheckTopic(topic) == nil
}

// Query is the topic that asks a component; subpath has no leading slash.
func Query(component, subpath string) (string, error) {
	return join(queryPrefix, component, subpath)
}

// Command is the topic that commands a module.
func Command(module, subpath string) (string, error) {
	return join(commandPrefix, module, subpath)
}

// Subpath is what follows the family and the module in a query or command topic.
func Subpath(topic string) string {
	parts := strings.SplitN(topic, "/", 3)
	if len(parts) < 3 {
		return ""
	}
	return parts[2]
}

// join builds a topic from text of strangers: nothing in it may be a wildcard,
// an empty level, a control character or invalid UTF-8 (MQTT 3.1.1 section 4.7).
func join(family, module, subpath string) (string, error) {
	topic := family + module
	if subpath != "" {
		topic += "/" + subpath
	}
	if err := CheckTopic(topic); err != nil {
		return "", err
	}
	if strings.Contains(module, "/") {
		return "", fmt.Errorf("%w: %.80q: the module is one level", ErrTopic, module)
	}
	return topic, nil
}

// CheckTopic says why a topic must not be published to; nil when it may.
func CheckTopic(topic string) error {
	var reason string
	switch {
	case topic == "":
		reason = "is empty"
	case len(topic) > maxTopicLength:
		reason = "is longer than 1024 bytes"
	case strings.ContainsAny(topic, "+#$"):
		reason = "has one of + # $"
	case strings.HasPrefix(topic, "/") || strings.HasSuffix(topic, "/") || strings.Contains(topic, "//"):
		reason = "has an empty level"
	case strings.ContainsFunc(topic, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' }):
		reason = "has a control character or invalid UTF-8"
	default:
		return nil
	}
	return fmt.Errorf("%w: %.80q %s", ErrTopic, topic, reason)
}
