package archtest_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/scripts/archtest"
)

const root = "../.."

func TestTreeHoldsItsRules(t *testing.T) {
	touch(t)
	packages, err := archtest.List(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) == 0 {
		t.Fatal("go list finds no packages")
	}
	for _, breach := range archtest.Check(packages) {
		t.Error(breach)
	}
	for _, p := range packages {
		shown, err := archtest.Signatures(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, breach := range shown {
			t.Error(breach)
		}
	}
	for _, breach := range archtest.Folders(topFolders(t)) {
		t.Error(breach)
	}
}

// touch looks at every Go file. What "go list" reads in a process of its own is
// unknown to the cache of test results; what the test looks at itself is not.
func touch(t *testing.T) {
	t.Helper()
	for _, folder := range topFolders(t) {
		err := filepath.WalkDir(filepath.Join(root, folder), func(name string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(name, ".go") {
				_, err = os.Stat(name)
			}
			return err
		})
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}

func topFolders(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && e.Name() != "bin" && e.Name() != "var" {
			names = append(names, e.Name())
		}
	}
	return names
}

// pkg makes a package that breaks no rule but what its imports break; "./"
// marks paths of the module.
func pkg(importPath string, imports ...string) archtest.Package {
	return archtest.Package{
		ImportPath: importPath,
		Name:       strings.ReplaceAll(filepath.Base(importPath), "_", ""),
		Doc:        "Package is for the test.",
		GoFiles:    []string{"a.go"},
		Imports:    imports,
	}
}

func tests(importPath string, imports ...string) archtest.Package {
	p := pkg(importPath)
	p.TestImports = imports[:1]
	p.XTestImports = imports[1:]
	return p
}

func TestRulesAllowWhatTheDesignAllows(t *testing.T) {
	for _, p := range []archtest.Package{
		pkg("edge/outbox", "fmt", "./shared/device", "./shared/metrics", "go.etcd.io/bbolt", "golang.org/x/sys/unix"),
		pkg("edge/gateway", "./edge/outbox", "./edge/forwarder", "./shared/config"),
		pkg("edge/cmd/plugsim", "./shared/hs110/hs110test"),
		pkg("edge/drivers/hs110", "./edge/drivers", "./shared/hs110"),
		pkg("cloud/cmd/wattline-cloud", "./cloud/server"),
		pkg("cloud/ledger", "./cloud/influx/line", "./cloud/influx/influxql"),
		pkg("cloud/influx", "./cloud/influx/influxd", "github.com/influxdata/influxdb-client-go/v2/api/http"),
		pkg("cloud/hooks/influx_data", "./cloud/influx/line", "github.com/klauspost/compress/zstd"),
		pkg("cloud/alerting/mail", "./cloud/alerting"),
		pkg("cloud/api", "github.com/gofiber/fiber/v2", "github.com/valyala/fasthttp"),
		pkg("shared/contract", "./shared/device", "encoding/json"),
		pkg("shared/bus", "./shared/contract", "github.com/eclipse/paho.mqtt.golang"),
		pkg("scripts/e2e", "./edge/outbox", "./cloud/server", "github.com/Shopify/toxiproxy/v2"),
		tests("cloud/ledger", "./cloud/influx", "./cloud/influx/influxtest", "go.uber.org/goleak"),
		tests("shared/bus", "github.com/mochi-mqtt/server/v2", "github.com/google/go-cmp/cmp"),
		tests("edge/gateway", "./edge/gateway", "./edge/gateway"),
		pkg("cloud/influx/influxtest", "./cloud/influx", "./cloud/broker"),
	} {
		if got := archtest.Check([]archtest.Package{p}); len(got) > 0 {
			t.Errorf("%s: %q", p.ImportPath, got)
		}
	}
	if got := archtest.Folders([]string{"edge", ".git", "docs", "docker", "bin"}); len(got) > 0 {
		t.Errorf("folders: %q", got)
	}
}

func TestEachRuleFindsItsBreach(t *testing.T) {
	undocumented := pkg("edge/outbox")
	undocumented.Doc = ""
	misnamed := pkg("edge/outbox")
	misnamed.Name = "box"
	underscored := pkg("cloud/hooks/influx_data")
	underscored.Name = "influx_data"
	cases := map[string]struct {
		p    archtest.Package
		want string
	}{
		"edge imports cloud":                   {pkg("edge/outbox", "./cloud/ledger"), "edge/outbox imports cloud/ledger: the tiers"},
		"cloud imports edge":                   {pkg("cloud/ledger", "./edge/outbox"), "the tiers"},
		"provisioning imports a tier":          {pkg("provisioning/flash", "./edge/drivers"), "the tiers"},
		"shared imports a tier":                {pkg("shared/bus", "./cloud/influx/line"), "the tiers"},
		"a root imports the other tier":        {pkg("cloud/server", "./edge/status"), "the tiers"},
		"another script joins the tiers":       {pkg("scripts/report", "./edge/outbox"), "the tiers"},
		"a tier imports a script":              {pkg("edge/outbox", "./scripts/bench"), "the tiers"},
		"a test joins the tiers":               {tests("shared/bus", "./cloud/broker"), "the tests of shared/bus import cloud/broker: the tiers"},
		"an outer test joins the tiers":        {tests("edge/forwarder", "fmt", "./cloud/ledger"), "the tiers"},
		"a package for tests joins the tiers":  {pkg("edge/edgetest", "./cloud/ledger"), "the tiers"},
		"a part imports its root":              {pkg("edge/status", "./edge/gateway"), "composition root"},
		"a test of a part imports its root":    {tests("cloud/api", "./cloud/server"), "composition root"},
		"a part imports its sibling":           {pkg("edge/forwarder", "./edge/outbox"), "siblings"},
		"a hook imports another hook":          {pkg("cloud/hooks/live", "./cloud/hooks/influx_data"), "siblings"},
		"a component imports the store":        {pkg("cloud/components/influx_query", "./cloud/influx"), "siblings"},
		"a word for one path is none for more": {pkg("cloud/ledger", "./cloud/influx/influxd"), "siblings"},
		"the domain imports a library":         {pkg("shared/device", "golang.org/x/sync/errgroup"), "vocabulary"},
		"the domain imports a neighbour":       {pkg("shared/device", "./shared/senml"), "vocabulary"},
		"the messages import the bus":          {pkg("shared/contract", "./shared/bus"), "vocabulary"},
		"a client beside its owner":            {pkg("edge/forwarder", "github.com/eclipse/paho.mqtt.golang"), "one owner"},
		"a database in another room":           {pkg("edge/collector", "go.etcd.io/bbolt"), "one owner"},
		"a client that nobody owns":            {pkg("cloud/api", "github.com/gorilla/mux"), "one owner"},
		"a client that no test may bring":      {tests("cloud/api", "github.com/stretchr/testify/require"), "one owner"},
		"a test library in shipped code":       {pkg("cloud/api", "github.com/google/go-cmp/cmp"), "one owner"},
		"a package for tests in shipped code":  {pkg("edge/collector", "./shared/hs110/hs110test"), "by tests only"},
		"no package comment":                   {undocumented, "edge/outbox has no package comment"},
		"a name that says nothing":             {pkg("edge/util"), "says nothing"},
		"a name that differs from its folder":  {misnamed, "should be named outbox"},
		"a name with an underscore":            {underscored, "should be named influxdata"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := archtest.Check([]archtest.Package{c.p})
			if len(got) != 1 || !strings.Contains(got[0], c.want) {
				t.Errorf("got %q, want one line with %q", got, c.want)
			}
		})
	}
	if got := archtest.Folders([]string{"edge", "internal", "pkg"}); len(got) != 2 {
		t.Errorf("folders: got %q, want two lines", got)
	}
}

func TestSignaturesShowNoClient(t *testing.T) {
	const src = `package outbox

import (
	mq "github.com/eclipse/paho.mqtt.golang"
	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	"go.etcd.io/bbolt"
)

type Outbox struct {
	db     *bbolt.DB
	Client mq.Client
}

type hidden struct{ DB *bbolt.DB }

func (h hidden) Shown() *bbolt.DB { return h.DB }

func (o *Outbox) Tx(f func(*bbolt.Tx) error) error { return o.db.Update(f) }

func (o *Outbox) Size() int { return int(o.db.Stats().TxStats.PageCount) }

func open() influxdb2.Client { return nil }

var Default *bbolt.Options

type Reader interface{ Read(*bbolt.Cursor) }
`
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "outbox.go"), []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	p := archtest.Package{ImportPath: "edge/outbox", Name: "outbox", Dir: dir, GoFiles: []string{"outbox.go"}}
	got, err := archtest.Signatures(p)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"edge/outbox.Outbox shows a type of github.com/eclipse/paho.mqtt.golang",
		"edge/outbox.Tx shows a type of go.etcd.io/bbolt",
		"edge/outbox.Default shows a type of go.etcd.io/bbolt",
		"edge/outbox.Reader shows a type of go.etcd.io/bbolt",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("breaches differ (-want +got):\n%s", diff)
	}
	p.ImportPath = "cloud/registry/audit" // a room of the registry: its file is its owner's too
	if got, err := archtest.Signatures(p); err != nil || len(got) != 1 || !strings.Contains(got[0], "paho") {
		t.Errorf("a room shows %q, %v", got, err)
	}
}
