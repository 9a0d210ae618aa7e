package archtest

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// folders are the only ones at the top, besides hidden ones.
var folders = []string{"edge", "cloud", "shared", "provisioning", "scripts", "docs", "docker"}

// built is what make leaves behind; it is not part of the tree.
var built = []string{"bin", "var", "node_modules"}

// reach says which tiers the packages of a tier may import.
var reach = map[string][]string{
	"edge":         {"edge", "shared"},
	"cloud":        {"cloud", "shared"},
	"provisioning": {"provisioning", "shared"},
	"shared":       {"shared"},
	"docs":         {"docs", "shared"}, // examples of extensions
	"scripts":      {"scripts"},
}

// both are the programs that join the tiers, to prove things about the whole.
var both = []string{"scripts/e2e", "scripts/simulate", "scripts/bench", "scripts/run", "scripts/interop", "scripts/spec", "scripts/restlint"}

// roots are the composition roots: only programs may import them.
var roots = []string{"edge/gateway", "cloud/server"}

// groups hold siblings one level further down.
var groups = []string{"edge/drivers", "cloud/hooks", "cloud/components"}

// vocabulary is what siblings of a tier may import from each other: the words
// they share, without behaviour. Line protocol and InfluxQL are texts; the
// decision pages say why they are here.
var vocabulary = []string{"cloud/influx/line", "cloud/influx/influxql", "cloud/alerting"}

// owners names for each third-party client the packages that may import it.
var owners = map[string][]string{
	"go.etcd.io/bbolt":                         {"edge/outbox", "cloud/registry", "cloud/alerting", "cloud/hooks/webhook"},
	"github.com/eclipse/paho.mqtt.golang":      {"shared/bus"},
	"github.com/influxdata/influxdb-client-go": {"cloud/influx"},
	"github.com/gofiber/fiber":                 {"cloud/api"},
	"github.com/valyala/fasthttp":              {"cloud/api"},
	"github.com/mochi-mqtt/server":             {"cloud/broker"},
	"github.com/hashicorp/go-retryablehttp":    {"shared/webhook"},
	"github.com/robfig/cron":                   {"cloud/schedule"},
	"github.com/prometheus":                    {"shared/metrics"},
	"github.com/diskfs/go-diskfs":              {"provisioning/flash"},
	"github.com/ulikunitz/xz":                  {"provisioning/flash"},
	"go.yaml.in/yaml":                          {"shared/config"},
	"github.com/santhosh-tekuri/jsonschema":    {"cloud/api/apitest"},
	"filippo.io/age":                           {"cloud/backup/form"},
}

// rooms are packages inside a client's owner that share one thing of it, and so
// may show its types: to each other and to their owner, for nobody else can
// import the client.
var rooms = map[string][]string{
	"go.etcd.io/bbolt": {"cloud/registry/audit", "cloud/registry/tokens", "cloud/registry/enrolment", "cloud/alerting/notify", "cloud/alerting/archive"},
}

// free are libraries that every package may use: they extend the standard
// library and bring no client of anything.
var free = []string{"golang.org/x/sync", "golang.org/x/sys", "github.com/klauspost/compress"}

// forTestsOnly are libraries for tests.
var forTestsOnly = []string{
	"github.com/google/go-cmp", "go.uber.org/goleak", "github.com/santhosh-tekuri/jsonschema", "github.com/emersion/go-smtp", "github.com/emersion/go-sasl",
}

// bannedNames say nothing about what a package is for.
var bannedNames = []string{
	"util", "utils", "common", "helper", "helpers", "base", "type", "types", "model", "models", "misc", "lib", "manager",
}

// rules are those that look at one package at a time.
var rules = []func(Package) []string{
	tiersApart, rootsOnTop, siblingsApart, wordsAlone, clientsOwned, testPackagesOut, commented, named,
}

// Check gives a line for each breach of the rules about packages.
func Check(packages []Package) []string {
	var breaches []string
	for _, p := range packages {
		for _, rule := range rules {
			breaches = append(breaches, rule(p)...)
		}
	}
	return breaches
}

// tiersApart: edge, cloud and provisioning import shared and themselves, shared
// imports no tier, and only the programs that prove the whole join them. It
// holds for tests as well.
func tiersApart(p Package) []string {
	return breaches(p, "the tiers meet over MQTT and REST only", func(e edge) bool {
		return e.local && !withinAny(p.ImportPath, both) && !slices.Contains(reach[tier(p.ImportPath)], tier(e.to))
	})
}

// rootsOnTop: parts never import the composition root that builds them.
func rootsOnTop(p Package) []string {
	return breaches(p, "only programs import a composition root", func(e edge) bool {
		return e.local && withinAny(e.to, roots) && !composes(p.ImportPath) && !within(p.ImportPath, e.to)
	})
}

// composes tells the programs and the composition roots, which may import every
// part of their tier.
func composes(p string) bool {
	return strings.Contains(p, "/cmd/") || withinAny(p, roots) || tier(p) == "scripts"
}

// siblingsApart: the parts of a tier do not import each other; each declares the
// interface it needs. Parent and child belong together. Tests may use a
// neighbour as the real thing to test with.
func siblingsApart(p Package) []string {
	return breaches(p, "siblings do not import each other: declare the interface you need", func(e edge) bool {
		from := p.ImportPath
		return e.local && !e.test && tier(from) == tier(e.to) && tier(from) != "shared" && !composes(from) &&
			room(from) != room(e.to) && !within(from, e.to) && !within(e.to, from) &&
			!slices.Contains(vocabulary, e.to) && !withinAny(e.to, roots)
	})
}

// room is the part of a tier that a package belongs to.
func room(p string) string {
	depth := 2
	if withinAny(p, groups) {
		depth = 3
	}
	parts := strings.Split(p, "/")
	return strings.Join(parts[:min(depth, len(parts))], "/")
}

// wordsAlone: the words of the domain need nothing but the standard library;
// those of the bus need the domain.
func wordsAlone(p Package) []string {
	return breaches(p, "vocabulary stands on the standard library", func(e edge) bool {
		switch {
		case e.test || standard(e):
			return false
		case within(p.ImportPath, "shared/device"):
			return !within(e.to, "shared/device")
		case within(p.ImportPath, "shared/contract"):
			return !within(e.to, "shared/contract") && !within(e.to, "shared/device")
		default:
			return false
		}
	})
}

// clientsOwned: a third-party client is imported by its owner only, and there is none
// without an owner. Tests and the programs that prove the whole may play the
// other end with any client.
func clientsOwned(p Package) []string {
	return breaches(p, "a third-party client has one owner, named in scripts/archtest", func(e edge) bool {
		if e.local || standard(e) || withinAny(p.ImportPath, both) || withinAny(e.to, free) {
			return false
		}
		if e.test && withinAny(e.to, forTestsOnly) {
			return false
		}
		for client, rooms := range owners {
			if within(e.to, client) {
				return !e.test && !withinAny(p.ImportPath, rooms)
			}
		}
		return true
	})
}

// standard tells the standard library: its paths begin without a domain.
func standard(e edge) bool {
	return !e.local && !strings.Contains(tier(e.to), ".")
}

// testPackagesOut: packages for tests stay out of what is shipped, except of the
// simulated plugs.
func testPackagesOut(p Package) []string {
	return breaches(p, "packages for tests are imported by tests only", func(e edge) bool {
		return e.local && !e.test && forTests(e.to) && tier(p.ImportPath) != "scripts" &&
			p.ImportPath != "edge/cmd/plugsim"
	})
}

// commented: every package says what it is for.
func commented(p Package) []string {
	if p.Doc == "" && len(p.GoFiles) > 0 {
		return []string{p.ImportPath + " has no package comment"}
	}
	return nil
}

// named: a package is named as its folder, without the underscores that folders
// named after topics have, and after a concept.
func named(p Package) []string {
	folder := path.Base(p.ImportPath)
	var found []string
	if slices.Contains(bannedNames, p.Name) || slices.Contains(bannedNames, folder) {
		found = append(found, fmt.Sprintf("%s: %s says nothing about what it is for", p.ImportPath, folder))
	}
	if want := strings.ReplaceAll(folder, "_", ""); p.Name != "main" && p.Name != want {
		found = append(found, fmt.Sprintf("%s: package %s should be named %s, as its folder", p.ImportPath, p.Name, want))
	}
	return found
}

// Folders gives a line for each name that does not belong at the top.
func Folders(names []string) []string {
	var found []string
	for _, name := range names {
		if !strings.HasPrefix(name, ".") && !slices.Contains(folders, name) && !slices.Contains(built, name) {
			found = append(found, fmt.Sprintf("%s: the folders at the top are %s", name, strings.Join(folders, ", ")))
		}
	}
	return found
}

// breaches gives a line for each import of p that is forbidden.
func breaches(p Package, rule string, forbidden func(edge) bool) []string {
	found := map[string]bool{}
	for _, e := range edges(p) {
		if forbidden(e) {
			found[fmt.Sprintf("%v: %s", e, rule)] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}
