package spec_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wattline/wattline/cloud/broker"
	"github.com/wattline/wattline/cloud/hooks/republish"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

var update = flag.Bool("update", false, "write the generated parts of docs/hooks anew")

// must is the topic of a function that refuses some.
func must(topic string, err error) string {
	if err != nil {
		return err.Error()
	}
	return topic
}

// addresses are the channels, as the functions of shared/bus make them of the
// parameters' names.
func addresses() map[string]string {
	plain := republish.DefaultConfig()
	return map[string]string{
		"plainValue":          plain.Prefix + "/{device}/{measurement}",
		"plainSet":            plain.Prefix + "/{device}/set",
		"availability":        plain.Prefix + "/availability",
		"gatewayAvailability": plain.Prefix + "/gateways/{gateway}/availability",
		"homeAssistant":       plain.HomeAssistant.Prefix + "/device/{object}/config",
		"data":                bus.Data{Source: "{source}", Hook: "{hook}", Database: "{database}"}.String(),
		"dataBatch":           bus.Data{Source: "{source}", Hook: "{hook}", Database: "{database}", Batch: "{batch}"}.String(),
		"receipts":            bus.ReceiptsTopic("{source}"),
		"query":               must(bus.Query("{component}", "{subpath}")),
		"command":             must(bus.Command("{module}", "{subpath}")),
		"responses":           strings.Replace(bus.Responses("{asker}"), "#", "{id}", 1),
		"parts":               strings.Replace(bus.Responses("{component}/{instance}/parts"), "#", "{id}", 1),
		"gatewayResults":      strings.Replace(bus.Responses("sp_command/{instance}/{gateway}"), "#", "{id}", 1),
		"influxQuery":         must(bus.Query("influx_query", "{database}/{measurement}")),
		"ledgerQuery":         must(bus.Query("ledger_query", "")),
		"quarantineQuery":     must(bus.Query("ledger_query", "quarantine")),
		"switchesQuery":       must(bus.Query("ledger_query", "switches")),
		"sourcesQuery":        must(bus.Query("ledger_query", "sources")),
		"replayCommand":       must(bus.Command("ledger_query", "replay")),
		"switchCommand":       must(bus.Command("sp_command", "{target}")),
		"state":               bus.StateTopic("{gateway}", "{device}"),
		"gatewayStatus":       bus.StatusTopic("{gateway}"),
		"gatewayConfig":       bus.ConfigTopic("{gateway}"),
		"gatewayFound":        bus.FoundTopic("{gateway}"),
		"gatewayCommand":      bus.CommandTopic("{gateway}"),
		"site":                bus.SiteTopic,
		"place":               bus.PlacesPrefix + "{device}",
		"gatewayInfo":         bus.GatewaysInfoPrefix + "{gateway}",
		"token":               bus.TokensPrefix + "{token}",
		"alert":               bus.AlertTopic("{rule}", "{subject}"),
		"alertingQuery":       must(bus.Query("alerting", "{resource}")),
		"alertingCommand":     must(bus.Command("alerting", "{resource}")),
		"backupQuery":         must(bus.Query("backup", "{resource}")),
		"backupCommand":       must(bus.Command("backup", "{resource}")),
		"copyQuery":           must(bus.Query("{role}_copy", "")),
		"registryQuery":       must(bus.Query("registry", "{resource}")),
		"registryCommand":     must(bus.Command("registry", "{resource}")),
	}
}

func TestChannelsAreTheTopicsOfTheBus(t *testing.T) {
	want, channels := addresses(), asyncAPI(t).Channels
	for name, c := range channels {
		if c.Address != want[name] {
			t.Errorf("%s: %s, the bus has %q", name, c.Address, want[name])
		}
	}
	for name := range want {
		if _, there := channels[name]; !there {
			t.Errorf("%s is missing", name)
		}
	}
}

// notAddresses are names of shared/bus that end as topics do and are filters
// over channels.
var notAddresses = []string{"DataFilter", "StatusFilter", "ConfigFilter", "FoundFilter", "RegistryFilter", "StateFilter", "CheckTopic", "ErrTopic"}

// Whoever adds a topic to shared/bus finds here that the specification wants it.
func TestEveryTopicOfTheBusIsSpecified(t *testing.T) {
	this, err := os.ReadFile("topics_test.go")
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), "../../shared/bus/topics.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		name := ""
		switch n := n.(type) {
		case *ast.FuncDecl:
			name = n.Name.Name
		case *ast.ValueSpec:
			name = n.Names[0].Name
		}
		topical := strings.HasSuffix(name, "Topic") || strings.HasSuffix(name, "Prefix") || strings.HasSuffix(name, "Filter")
		if ast.IsExported(name) && topical && !slices.Contains(notAddresses, name) && !bytes.Contains(this, []byte("bus."+name)) {
			t.Errorf("bus.%s is in no channel of asyncapi.yaml", name)
		}
		return true
	})
}

// clients are whom the access rules tell apart.
var clients = map[string]broker.Who{"role": {Role: true}, "gateway": {Gateway: "edge-f1"}, "guest": {}}

// sample is a topic of a channel that has to do with one gateway or asker.
func sample(address, name string) string {
	for _, own := range []string{"{gateway}", "{source}", "{asker}"} {
		address = strings.ReplaceAll(address, own, name)
	}
	return parameter.ReplaceAllString(address, "x")
}

func TestAccessIsWhatTheBrokerGrants(t *testing.T) {
	for name, c := range asyncAPI(t).Channels {
		for who, client := range clients {
			for access, said := range map[broker.Access][]string{broker.Publish: c.Access.Publish, broker.Hear: c.Access.Hear} {
				if got, want := broker.Allowed(client, access, sample(c.Address, "edge-f1")), slices.Contains(said, who); got != want {
					t.Errorf("%s: %s, access %v: the broker says %t, the specification %t", name, who, access, got, want)
				}
				if who == "gateway" && broker.Allowed(client, access, sample(c.Address, "edge-f2")) {
					t.Errorf("%s: a gateway has access %v to what is another's", name, access)
				}
			}
		}
	}
}

// The table of the page says what asyncapi.yaml says.
func TestPageOfTopicsHasTheTable(t *testing.T) {
	d := asyncAPI(t)
	operations, _ := asTree(t)["operations"].(map[string]any)
	retained := map[string]bool{}
	for _, o := range operations {
		op, _ := o.(map[string]any)
		channel, _ := op["channel"].(map[string]any)
		bindings, _ := op["bindings"].(map[string]any)
		mqtt, _ := bindings["mqtt"].(map[string]any)
		if mqtt["retain"] == true {
			retained[fmt.Sprint(channel["$ref"])] = true
		}
	}
	var b strings.Builder
	b.WriteString("| topic | publish | hear | content |\n| --- | --- | --- | --- |\n")
	for _, name := range slices.SortedFunc(maps.Keys(d.Channels), func(x, y string) int {
		return strings.Compare(d.Channels[x].Address, d.Channels[y].Address)
	}) {
		c := d.Channels[name]
		var schemas []string
		for m := range c.Messages {
			schemas = append(schemas, "`"+strings.TrimSuffix(d.Components.Messages[m].schema(), ".json")+"`")
		}
		slices.Sort(schemas)
		kept := ""
		if retained["#/channels/"+name] || strings.HasPrefix(c.Address, "registry/") {
			kept = ", retained"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s%s |\n", c.Address, strings.Join(c.Access.Publish, ", "), strings.Join(c.Access.Hear, ", "), strings.Join(schemas, ", "), kept)
	}
	generated(t, "topics.md", b.String())
}

// generated compares what stands between two comments of a page.
func generated(t *testing.T, page, want string) {
	t.Helper()
	const begin, end = "<!-- begin generated -->\n", "<!-- end generated -->"
	name := filepath.Join(hooks, page)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(text), begin)
	got, tail, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s: no place between %q and %q", page, begin, end)
	}
	if got == want {
		return
	}
	if !*update {
		t.Errorf("%s does not say what the code says; go test ./scripts/spec -update writes it anew:\n%s", page, want)
		return
	}
	if err := os.WriteFile(name, []byte(head+begin+want+end+tail), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestBatchIdsOfTheExamplesAreIds(t *testing.T) {
	for _, e := range examples(t) {
		topic, err := bus.ParseData(e.topic())
		if err != nil || topic.Batch == "" {
			continue
		}
		if _, err := contract.ParseBatchID(topic.Batch); err != nil {
			t.Errorf("%s: %v", e.name, err)
		}
	}
}
