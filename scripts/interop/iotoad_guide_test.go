package interop_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

// block is a piece of a page that is run: a code block of the shell with a name.
type block struct{ name, language, text string }

var fenced = regexp.MustCompile("(?ms)^( *)```\\{code-block\\} (\\w+)\n *:name: (\\S+)\n\n(.*?)^ *```$")

// blocks are those of a page, or the ones of a name.
func blocks(t *testing.T, name string, named ...string) (found []block) {
	t.Helper()
	for _, m := range fenced.FindAllStringSubmatch(page(t, name), -1) {
		if len(named) == 0 || m[3] == named[0] {
			found = append(found, block{m[3], m[2], strings.ReplaceAll("\n"+m[4], "\n"+m[1], "\n")})
		}
	}
	if len(found) == 0 {
		t.Fatalf("docs/%s has no blocks %v", name, named)
	}
	return found
}

// script runs a block as an administrator does, with these variables, and the
// programs under test in PATH.
func script(t *testing.T, dir string, variables map[string]string, text string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", text)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+programs+":"+influxdDir(t)+":"+os.Getenv("PATH"), "HOME="+dir)
	for name, value := range variables {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\nof\n%s", err, out, text)
	}
	return strings.TrimSpace(string(out))
}

// influxdDir is where influxd is.
func influxdDir(t *testing.T) string {
	t.Helper()
	return filepath.Dir(influxtest.Config(t).Binary)
}

var exported = regexp.MustCompile(`(?m)^export (\w+)=`)

// guided is a site that is moved by the guide.
type guided struct {
	*site
	t         *testing.T
	old       oldInflux
	variables map[string]string
	plugs     map[string]*hs110test.Plug // sp_g3, sp_w.r1.c1
	changed   int64
}

// TestMigrationGuide does what docs/migration.md says, block by block.
func TestMigrationGuide(t *testing.T) {
	t.Parallel()
	g := &guided{t: t}
	g.site = emptySite(t, layout{})
	backups := [2]string{g.ip + ":8088", g.ip + ":9088"}
	var servers [2]*influxtest.Server
	for i := range servers { // that of IoToad asked nobody who they are
		servers[i] = influxtest.StartEmbedded(t, map[string]string{"INFLUXDB_BIND_ADDRESS": backups[i], "INFLUXDB_HTTP_AUTH_ENABLED": "false"})
	}
	g.old = oldInflux{servers[0], t}
	g.old.write("sp", oldPoints)
	block := g.startPlugs()
	etcd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/keys/smartplugs" || r.FormValue("recursive") != "true" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, etcdDump(g.plugs["sp_g3"], g.plugs["sp_w.r1.c1"], "sp_g3", "sp_w.r1.c1"))
	}))
	t.Cleanup(etcd.Close)
	g.variables = map[string]string{
		"INFLUX": g.old.URL, "INFLUX_BACKUP": backups[0], "DATABASE": "sp", "ETCD": etcd.URL, "RANGE": block + "1-" + block + "6",
		"WATTLINE_SERVER": "http://" + g.ip + ":8080", "CURL": "curl -fsS -G", "NEW_BACKUP": backups[1],
	}
	for _, b := range blocks(t, "migration.md") {
		if !t.Run(b.name, func(t *testing.T) { g.follow(t, b) }) {
			t.Fatalf("the guide ends at %s", b.name)
		}
	}
	moved := oldInflux{servers[1], t}
	if a := moved.query(`SELECT count("value") FROM "sp"."autogen"."power" WHERE time < 1600000000s`); !strings.Contains(a, ",8]") {
		t.Errorf("the other InfluxDB has not IoToad's eight: %s", a)
	}
}

func (g *guided) startPlugs() (block string) {
	g.plugs = map[string]*hs110test.Plug{}
	for len(g.plugs) < 2 {
		block = fmt.Sprintf("127.%d.%d.", 120+rand.IntN(7), rand.IntN(256))
		clear(g.plugs)
		for i, id := range []string{"sp_g3", "sp_w.r1.c1"} {
			p, err := hs110test.Start(fmt.Sprintf("%s%d:9999", block, i+1), hs110test.Options{Generate: func(uint64, time.Time) hs110test.Values {
				return hs110test.Values{Power: 100, Voltage: 230, Current: 1, Energy: 1}
			}})
			if err != nil {
				break // somebody else has the network
			}
			g.t.Cleanup(func() { _ = p.Close() })
			g.plugs[id] = p
		}
	}
	return block
}

// follow does what a block says, and what the page says between the blocks.
func (g *guided) follow(t *testing.T, b block) {
	switch {
	case b.name == "names":
		for _, m := range exported.FindAllStringSubmatch(b.text, -1) {
			if g.variables[m[1]] == "" {
				t.Errorf("the test has no %s", m[1])
			}
		}
		return
	case b.language == "yaml":
		g.configure(t, b)
		return
	case b.name == "registry":
		g.clouds = append(g.clouds, run(g.site.t, "wattline-cloud", filepath.Join(g.logs, "cloud0.log"), program("wattline-cloud"), "-config", g.file("cloud.yaml")))
		eventually(t, time.Minute, "the cloud is ready", func() bool { return strings.Contains(g.rest("/readyz").body, `"registry":true`) })
	case b.name == "compare": // IoToad goes on meanwhile, with 99 W
		g.old.write("sp", fmt.Sprintf("power,id=sp_g3,type=g,unit=W value=99 %[1]d\nstatus,id=sp_g3,type=g,unit=S value=1i %[1]d", time.Now().UnixNano()))
		for id := range g.plugs {
			eventually(t, time.Minute, id+" was found and polled", func() bool {
				return strings.Contains(g.rest("/api/out/influx_query/trial/power?operation=max&id="+id).body, `"v":100`)
			})
		}
	case b.name == "change":
		if a := g.rest("/api/out/influx_query/sp/power?from=1700000000"); a.status != http.StatusOK || strings.Contains(a.body, `"v":100`) {
			t.Errorf("Wattline has written where IoToad still does: %v", a)
		}
		g.changed = time.Now().Unix()
	case b.name == "check":
		for id := range g.plugs {
			g.stored(t, fmt.Sprintf("/api/out/influx_query/sp/status?id=%s&from=%d", id, g.changed), `"v":1`)
			first, last := g.at(t, "sp", "first", id), g.at(t, "trial", "last", id)
			if first <= last {
				t.Errorf("%s: the first reading in place of IoToad's is of %f, the last of the trial of %f", id, first, last)
			}
		}
	}
	said := script(t, g.dir, g.variables, b.text)
	switch b.name {
	case "look":
		for _, want := range []string{`"sp"`, "integer", "sp_w.r1.c1"} {
			if !strings.Contains(said, want) {
				t.Errorf("%s is not in what one sees:\n%s", want, said)
			}
		}
	case "floats":
		if a := g.old.query(fmt.Sprintf(`SHOW FIELD KEYS ON "sp"; SELECT "value" FROM "sp"."autogen"."status" WHERE time > %ds`, time.Now().Unix()-3600)); !strings.Contains(a, ",1]") {
			t.Errorf("the status of IoToad is lost: %s", a)
		}
	case "check":
		if !strings.Contains(said, `,"v":9}`) || !strings.Contains(said, `Z",9]`) {
			t.Errorf("not nine readings of power before the change:\n%s", said)
		}
		if a := g.rest("/api/v1/quarantine"); !strings.Contains(a.body, `"items":[]`) {
			t.Errorf("something was refused: %v", a)
		}
	case "trial":
		if a := g.old.query("SHOW DATABASES"); strings.Contains(a, "trial") {
			t.Errorf("the trial is still there: %s", a)
		}
	}
}

// at is the time of the first or last reading of Wattline's in a database.
func (g *guided) at(t *testing.T, database, operation, id string) float64 {
	t.Helper()
	from := int64(1700000000)
	if database == "sp" {
		from = g.changed
	}
	a := g.rest(fmt.Sprintf("/api/out/influx_query/%s/power?operation=%s&id=%s&from=%d", database, operation, id, from))
	var records []record
	if a.into(t, &records); len(records) != 2 {
		t.Fatalf("%s: %v", database, a)
	}
	return records[1].Time
}

// configure writes a program's file, with the addresses and folders of the test.
func (g *guided) configure(t *testing.T, b block) {
	t.Helper()
	text := b.text
	for _, change := range [][2]string{
		{"/var/lib/wattline-edge", g.file("edge")},
		{"/var/lib/wattline\n", g.file("cloud0") + "\n"},
		{"http://127.0.0.1:8086", g.old.URL},
		{"127.0.0.1:1883", g.ip + ":1883"},
		{"127.0.0.1:8080", g.ip + ":8080"},
	} {
		text = strings.ReplaceAll(text, change[0], change[1])
	}
	if strings.Contains(text, "/var/lib") {
		t.Errorf("it would write outside of the test: %s", text)
	}
	g.write(b.name+".yaml", text)
	if b.name == "edge" {
		g.write("edge.yaml", text+"status: {listen: \""+g.ip+":8081\"}\n")
		g.edge = run(g.site.t, "wattline-edge", filepath.Join(g.logs, "edge.log"), program("wattline-edge"), "-config", g.file("edge.yaml"))
	}
}
