package broker_test

import (
	"strings"
	"testing"

	"github.com/wattline/wattline/cloud/broker"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/config"
)

func TestAccessRules(t *testing.T) {
	f1 := broker.Who{Gateway: "f1"}
	guest, role := broker.Who{}, broker.Who{Role: true}
	deep := strings.Repeat("a/", 100) + "a"
	for _, c := range []struct {
		who     broker.Who
		access  broker.Access
		allowed string
		refused string
	}{
		{
			f1, broker.Publish,
			"data/f1/influx_data/sp/0000000000000001-1 data/f1/influx_data/sp state/f1/sp_f1.g0 gateways/f1/status gateways/f1/found responses/sp_command/0123/f1/abcd",
			"data/f2/influx_data/sp data/f1 state/f2/sp_f1.g0 gateways/f1/config gateways/f1/command gateways/f2/status gateways/f2/found responses/f1/receipts responses/f2/receipts " +
				"responses/sp_command/0123/f2/abcd responses/sp_command/0123/f1 responses/api/1/2 registry/site command/sp_command/row/1 query/influx_query/sp/power x $SYS/a",
		},
		{
			f1, broker.Subscribe,
			"gateways/f1/config gateways/f1/command responses/f1/receipts responses/f1/#",
			"# + gateways/# gateways/+/config gateways/f1/# gateways/f2/command responses/# responses/+/receipts responses/f2/receipts data/# registry/# $share/x/data/# $share/x/# $SYS/#",
		},
		{f1, broker.Hear, "gateways/f1/config responses/f1/receipts", "gateways/f2/config data/f1/influx_data/sp registry/site"},
		{
			guest, broker.Publish,
			"data/sp_data/influx_data/sp data/amazon/other/x query/influx_query/sp/power command/sp_command/row/1 command/alert/x responses/api/1/2 homeassistant/x/config my/own/topic",
			"registry/site registry/places/x gateways/f1/status gateways/f1/found gateways/f1/config gateways/f1/command state/f1/x alerts/x responses/f1/receipts responses/sp_command/1/f1/2 $SYS/x query/registry/site command/registry query/alerting/alerts command/alerting/alerts command/alerting query/registry_copy query/alerting_copy/x command/backup/backups query/backup/status " + deep,
		},
		{guest, broker.Subscribe, "# data/# responses/me/# state/# gateways/+/status $share/x/data/+/influx_data/# query/influx_query/#", "registry/# registry/site $share/x/registry/# " + deep},
		{guest, broker.Hear, "data/f1/influx_data/sp state/f1/x alerts/x/sp_f1.g0 query/alertingx", "responses/backup/1/2 responses/backup query/webhook_copy registry/site registry/tokens/x query/alerting/receivers command/alerting/rules command/registry/tokens"},
		{role, broker.Publish, "responses/f1/receipts registry/site gateways/f1/command", deep},
		{role, broker.Subscribe, "# registry/# $share/influx_data/data/+/influx_data/#", deep},
	} {
		for topic := range strings.FieldsSeq(c.allowed) {
			if !broker.Allowed(c.who, c.access, topic) {
				t.Errorf("%+v %d %s is refused", c.who, c.access, topic)
			}
		}
		for topic := range strings.FieldsSeq(c.refused) {
			if broker.Allowed(c.who, c.access, topic) {
				t.Errorf("%+v %d %.80s is allowed", c.who, c.access, topic)
			}
		}
		if broker.Allowed(c.who, c.access, "") || broker.Allowed(c.who, c.access, strings.Repeat("a", 2000)) {
			t.Errorf("%+v %d: empty or endless topics are allowed", c.who, c.access)
		}
	}
}

func secret(c *broker.Config) { c.Password = config.Secret("correct horse") }

func TestRolesGiveThePassword(t *testing.T) {
	b := start(t, secret)
	role := link(t, b.URL(), bus.Options{ClientID: "influx_data-1", Username: broker.RoleUser, Password: "correct horse"})
	heard := hearing(t, b.URL(), bus.Options{ClientID: "guest"}, "responses/f1/#", "#")
	publish(t, role, "registry/site", "{}", true)
	publish(t, role, "responses/f1/receipts", "{}", false)
	for range 2 { // once for each subscription: paho gives it to both handlers
		if m := next(t, heard); m.Topic != "responses/f1/receipts" {
			t.Errorf("a guest heard %s", m.Topic)
		}
	}
	for _, password := range []string{"", "wrong", "correct horse "} {
		c := dial(t, b)
		c.send(connectPacket<<4, connectBody("x", 4, 60, "", "", broker.RoleUser, password))
		if p := c.read(); p.kind != connectAnswer || p.body[1] == 0 {
			t.Errorf("password %q: %v", password, p)
		}
	}
	for _, topic := range []string{"responses/f1/receipts", "registry/site", "gateways/f1/command"} {
		if connect(t, b, "", 60).publish(topic, "{}") {
			t.Errorf("a guest published on %s", topic)
		}
	}
	c := connect(t, b, "", 60)
	if !c.publish("data/x/influx_data/sp", "{}") || !c.subscribe(1, "data/#") || c.subscribe(2, "registry/#") {
		t.Error("a guest may send data and hear data but not the registry")
	}
}

func TestGatewaysAreHeldToTheirName(t *testing.T) {
	for name, b := range map[string]*broker.Broker{"with a password for roles": start(t, secret), "without": start(t)} {
		t.Run(name, func(t *testing.T) {
			gateway := func() *raw { return connectWith(t, b, "f1-00000000000000aa", 60, "gateways/f1/status", "{}") }
			c := gateway()
			if !c.publish("data/f1/influx_data/sp/1", "{}") || !c.publish("gateways/f1/status", "{}") || !c.subscribe(1, "gateways/f1/config") {
				t.Error("a gateway may not do its work")
			}
			if c.subscribe(2, "gateways/f2/config") || c.subscribe(3, "#") {
				t.Error("a gateway hears others")
			}
			for _, topic := range []string{"data/f2/influx_data/sp/1", "gateways/f2/status", "responses/f1/receipts", "command/sp_command/row/1"} {
				if gateway().publish(topic, "{}") {
					t.Errorf("a gateway published on %s", topic)
				}
			}
			for _, will := range []string{"gateways/f2/status", "gateways/f1/command", "gateways/f1-00000000000000aa/status"} {
				c := dial(t, b)
				c.send(connectPacket<<4, connectBody("f1-00000000000000ab", 4, 60, will, "{}", "", ""))
				if p := c.read(); p.body[1] == 0 && (name != "without" || will != "gateways/f1/command") {
					t.Errorf("will on %s: accepted", will)
				}
			}
		})
	}
}

// A stranger must not throw out a role or a gateway by taking its client id.
func TestAnotherKindOfClientCannotTakeOver(t *testing.T) {
	b := start(t, secret)
	heard := hearing(t, b.URL(), bus.Options{ClientID: "hook-1", Username: broker.RoleUser, Password: "correct horse"}, "a")
	for range 5 {
		c := dial(t, b)
		c.send(connectPacket<<4, connectBody("hook-1", 4, 60, "", "", "", ""))
		if p, err := c.tryRead(); err == nil && p.body[1] == 0 {
			t.Error("taken over")
		}
	}
	publish(t, link(t, b.URL(), bus.Options{ClientID: "speaker"}), "a", "x", false)
	next(t, heard)
}
