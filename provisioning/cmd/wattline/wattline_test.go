package main

// White-box: a command of the shell has no other surface than run.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// asked is a request as a server saw it.
type asked struct {
	Method, Path, Query, Body, IfMatch, Auth, Type string
}

// cloud answers by method and path, and remembers what it was asked.
type cloud struct {
	*httptest.Server

	answers map[string]string // "GET /api/v1/site" -> "200 {...}"
	asked   []asked
	// after, if not nil, is told how often the server was asked, before it answers.
	after func(asked int)
}

func newCloud(t *testing.T, answers map[string]string) *cloud {
	t.Helper()
	c := &cloud{answers: answers}
	c.Server = httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(func() {
		c.CloseClientConnections()
		c.Close()
	})
	return c
}

func (c *cloud) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c.asked = append(c.asked, asked{
		Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Body: string(body), IfMatch: r.Header.Get("If-Match"),
		Auth: r.Header.Get("Authorization"), Type: r.Header.Get("Content-Type"),
	})
	if c.after != nil {
		c.after(len(c.asked))
	}
	answer, ok := c.answers[r.Method+" "+r.URL.EscapedPath()]
	if !ok {
		answer = `404 {"title":"Not Found","status":404,"detail":"no such route; / lists what there is"}`
	}
	status, text, _ := strings.Cut(answer, " ")
	var n int
	fmt.Sscan(status, &n)
	switch {
	case n >= 400:
		w.Header().Set("Content-Type", "application/problem+json")
	case strings.HasPrefix(text, "{") || strings.HasPrefix(text, "["):
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("ETag", `"7"`)
	}
	w.WriteHeader(n)
	io.WriteString(w, text)
}

// result is what a run has left.
type result struct {
	code           int
	stdout, stderr string
}

func (c *cloud) run(t *testing.T, args ...string) result {
	t.Helper()
	return runAs(t, map[string]string{"WATTLINE_SERVER": c.URL}, "", args...)
}

func runAs(t *testing.T, env map[string]string, stdin string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, world{
		stdin: strings.NewReader(stdin), stdout: &stdout, stderr: &stderr, env: func(name string) string { return env[name] },
	})
	return result{code, stdout.String(), stderr.String()}
}

func (r result) wants(t *testing.T, code int, stdout, stderr string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d; it said\n%s%s", r.code, code, r.stdout, r.stderr)
	}
	if !strings.Contains(r.stdout, stdout) {
		t.Errorf("missing %q in\n%s", stdout, r.stdout)
	}
	if !strings.Contains(r.stderr, stderr) {
		t.Errorf("missing %q in the errors\n%s", stderr, r.stderr)
	}
}

func TestEveryCommandHelps(t *testing.T) {
	whole := runAs(t, nil, "", "help")
	whole.wants(t, exitDone, "devices list", "")
	for _, c := range all() {
		if !strings.Contains(whole.stdout, "  "+c.name+" ") {
			t.Errorf("help does not name %s", c.name)
		}
		for _, args := range [][]string{append(strings.Fields(c.name), "--help"), append([]string{"help"}, strings.Fields(c.name)...)} {
			runAs(t, nil, "", args...).wants(t, exitDone, "Usage: wattline "+c.name, "")
		}
	}
}

func TestMistakesInTheCommandLine(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"nothing":                  {nil, ""},
		"no such command":          {[]string{"frobnicate"}, `no command "frobnicate"`},
		"half a command":           {[]string{"devices"}, ""},
		"another half":             {[]string{"devices", "paint"}, `no command "devices paint"`},
		"no such flag":             {[]string{"devices", "list", "--colour", "red"}, "flag provided but not defined: -colour"},
		"a number that is none":    {[]string{"gateways", "create", "x", "--floor", "two"}, "invalid value"},
		"no argument":              {[]string{"devices", "show"}, "want the id of one place"},
		"too many":                 {[]string{"site", "show", "x"}, `unexpected argument "x"`},
		"nothing to change":        {[]string{"devices", "change", "sp_g1"}, "nothing to change"},
		"a protection without why": {[]string{"devices", "protect", "sp_g1"}, "--reason is required"},
		"a switch to nowhere":      {[]string{"switch", "sideways", "sp_g1"}, "want on or off"},
		"a switch of everything":   {[]string{"switch", "off"}, "which places"},
		"no timeout":               {[]string{"site", "show", "--timeout", "0s"}, "--timeout"},
		"a server that is none":    {[]string{"site", "show", "--server", "nowhere"}, "want a URL"},
		"a token in the clear":     {[]string{"site", "show", "--server", "http://wattline.example"}, "must not travel in the clear"},
		"no token file":            {[]string{"site", "show", "--token-file", "/nonexistent"}, "--token-file"},
		"a format that is none":    {[]string{"export", "--format", "xls"}, "neither csv nor yaml"},
		"a token of no days":       {[]string{"tokens", "create", "x", "--role", "viewer", "--days", "0"}, "want more than 0"},
		"a token that has ended":   {[]string{"tokens", "create", "x", "--role", "viewer", "--days", "-1"}, "want more than 0"},
		"a token for ever":         {[]string{"tokens", "create", "x", "--role", "viewer", "--days", "1e9"}, "at most 36500"},
		"days that are none":       {[]string{"tokens", "create", "x", "--role", "viewer", "--days", "NaN"}, "not a number"},
		"a join token of no days":  {[]string{"gateways", "join-token", "edge-f2", "--days", "0"}, "want more than 0"},
		"an image of no days":      {[]string{"gateways", "image", "--floor", "2", "--days", "-1"}, "want more than 0"},
		"a switch at once":         {[]string{"switch", "on", "sp_g1", "--deadline", "0"}, "want more than 0"},
		"a switch before":          {[]string{"switch", "on", "sp_g1", "--deadline", "-1"}, "want more than 0"},
		"a power that is none":     {[]string{"devices", "change", "sp_g1", "--max-power", "NaN"}, "-max-power: not a number"},
		"a power without end":      {[]string{"devices", "change", "sp_g1", "--max-power", "1e999"}, "-max-power: not a number"},
		"a floor that is none":     {[]string{"switch", "on", "--floor", "abc"}, "-floor: not a whole number"},
		"a floor of an image":      {[]string{"gateways", "image", "--floor", "abc"}, "-floor: not a whole number"},
		"a page that is none":      {[]string{"doctor", "gateway", "--page", "ftp://x"}, "want a URL or host:port"},
		"deleting without a yes":   {[]string{"devices", "delete", "sp_g1"}, "Delete sp_g1, whose readings stay. Say --yes"},
		"deleting two":             {[]string{"devices", "delete", "sp_g1", "sp_g2"}, "Delete 2 places, whose readings stay. Say --yes"},
		"forgetting one":           {[]string{"plugs", "forget", "AC:84:C6:59:D9:A1"}, "Forget AC:84:C6:59:D9:A1. Say --yes"},
	} {
		t.Run(name, func(t *testing.T) {
			runAs(t, map[string]string{"WATTLINE_TOKEN": "secret"}, "", c.args...).wants(t, exitUsage, "", c.want)
		})
	}
}

func TestDevicesAreListedAsATable(t *testing.T) {
	c := newCloud(t, map[string]string{"GET /api/v1/devices": `200 {"items":[
		{"id":"sp_f1.g0","label":"Sala \u001b[31mroja","gateway":"edge-f1","plug":{"address":"10.1.2.1","mac":"AC:84:C6:59:D9:A1"}},
		{"id":"sp_f1.g1","gateway":"edge-f1","plug":{},"protected":"the fridge"}],"next":null}`})
	got := c.run(t, "devices", "list", "--floor", "1")
	want := "ID        LABEL            GATEWAY  ADDRESS   MAC                PROTECTED\n" +
		"sp_f1.g0  Sala ?[31mroja  edge-f1  10.1.2.1  AC:84:C6:59:D9:A1\n" +
		"sp_f1.g1                   edge-f1                               the fridge\n"
	want = strings.ReplaceAll(want, "LABEL            G", "LABEL           G")
	want = strings.ReplaceAll(want, "sp_f1.g1                   ", "sp_f1.g1                  ")
	if diff := cmp.Diff(want, got.stdout); diff != "" || got.code != exitDone {
		t.Errorf("exit code %d, table (-want +got):\n%s", got.code, diff)
	}
	if got, want := c.asked[0].Query, "floor=1&limit=1000"; got != want {
		t.Errorf("asked with %s, want %s", got, want)
	}
	var list []map[string]any
	if err := json.Unmarshal([]byte(c.run(t, "--json", "devices", "list").stdout), &list); err != nil || len(list) != 2 {
		t.Errorf("--json gives %v, %v", list, err)
	}
}

func TestAListOfNothingSaysSo(t *testing.T) {
	c := newCloud(t, map[string]string{"GET /api/v1/devices": `200 {"items":[],"next":null}`, "GET /api/v1/plugs": `200 {"items":[],"next":null}`})
	c.run(t, "devices", "list").wants(t, exitDone, "There are no places yet. `wattline import FILE`", "")
	c.run(t, "devices", "list", "--type", "g").wants(t, exitDone, "There are no such places.", "")
	c.run(t, "plugs", "found").wants(t, exitDone, "No plug waits for a place.", "")
	c.run(t, "plugs", "found", "--json").wants(t, exitDone, "[]", "")
}

func TestAChangeIsOfWhatWasSeen(t *testing.T) {
	c := newCloud(t, map[string]string{
		"GET /api/v1/devices/sp_f1.g0":      `200 {"id":"sp_f1.g0"}`,
		"PATCH /api/v1/devices/sp_f1.g0":    `200 {"id":"sp_f1.g0"}`,
		"PUT /api/v1/devices/sp_f1.g0/plug": `200 {"device":"sp_f1.g0"}`,
		"DELETE /api/v1/devices/sp_f1.g0":   `204 `,
	})
	c.run(t, "devices", "change", "sp_f1.g0", "--label", "Sala", "--owner", "", "--reason", "why & how").wants(t, exitDone, "sp_f1.g0 is changed.", "")
	c.run(t, "devices", "protect", "sp_f1.g0", "--reason", "the fridge", "--dry-run").wants(t, exitDone, "Dry run, nothing was changed: sp_f1.g0 is protected", "")
	c.run(t, "plugs", "swap", "sp_f1.g0", "AC:84:C6:59:D9:A2").wants(t, exitDone, "AC:84:C6:59:D9:A2 is at sp_f1.g0.", "")
	c.run(t, "devices", "delete", "--yes", "sp_f1.g0", "--if-revision", "3").wants(t, exitDone, "its readings stay", "")
	want := []asked{
		{Method: "GET", Path: "/api/v1/devices/sp_f1.g0"},
		{Method: "PATCH", Path: "/api/v1/devices/sp_f1.g0", Query: "reason=why+%26+how", Body: `{"label":"Sala","owner":null}`, IfMatch: `"7"`, Type: "application/json"},
		{Method: "GET", Path: "/api/v1/devices/sp_f1.g0"},
		{Method: "PATCH", Path: "/api/v1/devices/sp_f1.g0", Query: "dry_run=true&reason=the+fridge", Body: `{"protected":"the fridge"}`, IfMatch: `"7"`, Type: "application/json"},
		{Method: "PUT", Path: "/api/v1/devices/sp_f1.g0/plug", Body: `{"plug":"AC:84:C6:59:D9:A2"}`, Type: "application/json"},
		{Method: "DELETE", Path: "/api/v1/devices/sp_f1.g0", IfMatch: `"3"`},
	}
	if diff := cmp.Diff(want, c.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

func TestProblemsSayWhatToDo(t *testing.T) {
	problem := func(status int, detail string) string {
		text, _ := json.Marshal(detail) // a text
		return fmt.Sprintf(`%d {"title":"x","status":%d,"detail":%s}`, status, status, text)
	}
	for name, c := range map[string]struct {
		answer string
		code   int
		want   string
	}{
		"no token":           {problem(401, "a token is needed"), exitDenied, "give one that is in force with --token-file"},
		"a role too low":     {problem(403, "viewers look only"), exitDenied, "viewers look only"},
		"no such place":      {problem(404, "no place sp_g1"), exitNotDone, "no place sp_g1"},
		"a conflict":         {problem(409, "AC:84:C6:59:D9:A1 is at sp_g2"), exitConflict, "is at sp_g2"},
		"changed":            {problem(412, "revision 8 is in force"), exitConflict, "somebody else has changed it"},
		"too often":          {problem(429, "slower"), exitNotDone, "wait 1s"},
		"no broker":          {problem(503, "no connection to the broker"), exitAway, "`wattline doctor cloud`"},
		"mistakes":           {`400 {"status":400,"detail":"the request has 2 mistakes","errors":[{"pointer":"/label","detail":"too long"},{"parameter":"floor","detail":"no"}]}`, exitNotDone, "\n  label: too long\n  floor: no\n"},
		"a mistake twice":    {`400 {"status":400,"detail":"max_power_w: \"9\" is too much","errors":[{"pointer":"/max_power_w","detail":"\"9\" is too much"}]}`, exitNotDone, "show: max_power_w: \"9\" is too much\n"},
		"one and more":       {`400 {"status":400,"detail":"label: long (and 1 more)","errors":[{"pointer":"/label","detail":"long"},{"pointer":"/plug/mac","detail":"plug.mac: bad"}]}`, exitNotDone, "show: label: long (and 1 more)\n  plug.mac: bad\n"},
		"something else":     {"500 <html>nginx</html>", exitNotDone, "not as a Wattline server does"},
		"escapes in details": {problem(404, "no \x1b[2J"), exitNotDone, "no ?[2J"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newCloud(t, map[string]string{"GET /api/v1/devices/sp_g1": c.answer}).run(t, "devices", "show", "sp_g1")
			r.wants(t, c.code, "", c.want)
			if strings.HasPrefix(c.want, "show: ") && r.stderr != "wattline devices "+c.want {
				t.Errorf("said %q, want nothing twice: %q", r.stderr, c.want)
			}
		})
	}
}

func TestSeveralGoOnAfterOneThatFails(t *testing.T) {
	c := newCloud(t, map[string]string{
		"DELETE /api/v1/tokens/a": `404 {"status":404,"detail":"no token a"}`, "DELETE /api/v1/tokens/b": `204 `,
	})
	c.run(t, "tokens", "delete", "a", "b", "--yes").wants(t, exitNotDone, "b is let in no longer", "a: no token a")
	c.answers["DELETE /api/v1/tokens/a"] = `401 {"status":401,"detail":"no"}`
	c.asked = nil
	c.run(t, "tokens", "delete", "a", "b", "--yes").wants(t, exitDenied, "", "1 of 2 were not done")
	if got := len(c.asked); got != 1 {
		t.Errorf("asked %d times with a token that nobody takes, want once", got)
	}
}

func TestImportSendsTheFileAndTellsItsMistakes(t *testing.T) {
	const file = "device,label\nsp_f1.g0,Sala\n"
	name := filepath.Join(t.TempDir(), "places.csv")
	if err := os.WriteFile(name, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newCloud(t, map[string]string{"POST /api/v1/inventory": `200 {"added":[{"kind":"place","id":"sp_f1.g9","fields":[{"field":"label","to":"Neu"}]}],
		"changed":[{"kind":"place","id":"sp_f1.g0","fields":[{"field":"label","from":"x","to":"Sala"},{"field":"owner","from":"ana"}]}],
		"removed":[{"kind":"place","id":"sp_f1.g7"}],"unchanged":12,"notes":["left out"]}`})
	got := c.run(t, "import", name, "--dry-run", "--reason", "try")
	got.wants(t, exitDone, "- place sp_f1.g7\n~ place sp_f1.g0\n    label: x -> Sala\n    owner: ana -> (none)\n+ place sp_f1.g9\n    label: Neu\n! left out\n"+
		"Dry run, nothing was changed: 1 added, 1 changed, 1 removed, 12 unchanged.\n", "")
	want := []asked{{Method: "POST", Path: "/api/v1/inventory", Query: "dry_run=true&format=csv&reason=try", Body: file, Type: "text/csv"}}
	if diff := cmp.Diff(want, c.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	c.run(t, "import", name, "--remove").wants(t, exitUsage, "", "Take away sp_f1.g7, which "+name+" does not name. Say --yes")
	if got := c.asked[len(c.asked)-1].Query; got != "dry_run=true&format=csv&remove=true" {
		t.Errorf("before asking, %s was asked", got)
	}
	c.answers["POST /api/v1/inventory"] = `400 {"status":400,"detail":"the file has 2 mistakes, and nothing was changed","errors":[{"line":2,"field":"mac","detail":"x"},{"line":3,"detail":"y"}]}`
	c.run(t, "import", name).wants(t, exitNotDone, "", name+": the file has 2 mistakes, and nothing was changed\n  line 2, mac: x\n  line 3: y\n")
}

func TestFilesThatNoServerTakesAreNotSent(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.csv")
	if f, err := os.Create(large); err != nil || f.Truncate(100<<20) != nil || f.Close() != nil {
		t.Fatal(err)
	}
	c := newCloud(t, nil)
	c.run(t, "import", large).wants(t, exitUsage, "", "has 100.0 MiB and a server takes 3 MiB at most")
	c.run(t, "import", filepath.Join(dir, "none.csv")).wants(t, exitUsage, "", "no such file")
	c.run(t, "import", dir).wants(t, exitUsage, "", "is a directory")
	c.run(t, "import", "-").wants(t, exitUsage, "", "standard input is empty")
	if len(c.asked) > 0 {
		t.Errorf("asked %v", c.asked)
	}
	runAs(t, map[string]string{"WATTLINE_SERVER": c.URL}, "hello", "import", "-").wants(t, exitUsage, "", "cannot tell its format")
}

func TestExportReplacesAFileAsAWhole(t *testing.T) {
	c := newCloud(t, map[string]string{"GET /api/v1/inventory": "200 site:\n  default_floor: 1\n"})
	out := filepath.Join(t.TempDir(), "site.yaml")
	c.run(t, "export", "--out", out).wants(t, exitDone, "", "25 bytes")
	if text, err := os.ReadFile(out); err != nil || string(text) != "site:\n  default_floor: 1\n" {
		t.Errorf("%q, %v", text, err)
	}
	if got := c.asked[0].Query; got != "format=yaml" {
		t.Errorf("asked for %s", got)
	}
	c.run(t, "export").wants(t, exitDone, "default_floor: 1", "")
	nowhere := filepath.Join(t.TempDir(), "no", "such.csv")
	c.run(t, "export", "--out", nowhere).wants(t, exitNotDone, "", "write "+nowhere+": no such file or directory\n")
}

func TestASecretIsShownOnceOrGoesIntoAFile(t *testing.T) {
	c := newCloud(t, map[string]string{"POST /api/v1/tokens": `201 {"id":"t1","name":"ana","role":"viewer","secret":"wattline_abc"}`})
	c.run(t, "tokens", "create", "ana", "--role", "viewer", "--floors", "1, -2").wants(t, exitDone, "wattline_abc\nIts id is t1.", "")
	if got, want := c.asked[0].Body, `{"floors":[1,-2],"name":"ana","role":"viewer"}`; got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
	out := filepath.Join(t.TempDir(), "token")
	got := c.run(t, "tokens", "create", "ana", "--role", "viewer", "--out", out, "--json")
	got.wants(t, exitDone, `"id": "t1"`, "")
	if strings.Contains(got.stdout+got.stderr, "wattline_abc") {
		t.Error("the secret is shown although it goes into a file")
	}
	info, err := os.Stat(out)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file of the secret: %v, %v", info, err)
	}
	c.run(t, "tokens", "create", "ana", "--role", "viewer", "--out", out).wants(t, exitUsage, "", "file exists")
	if got := runAs(t, map[string]string{"WATTLINE_SERVER": c.URL}, "", "--token-file", out, "tokens", "create", "b", "--role", "viewer"); got.code != exitDone {
		t.Error(got)
	}
	if got, want := c.asked[len(c.asked)-1].Auth, "Bearer wattline_abc"; got != want {
		t.Errorf("the token file makes %q, want %q", got, want)
	}
}

func TestASwitchThatFailedIsNoSuccess(t *testing.T) {
	c := newCloud(t, map[string]string{"POST /api/v1/commands": `200 {"id":"1","results":[{"device":"sp_g0","outcome":"confirmed","on":false},{"device":"sp_g1","outcome":"refused","detail":"the fridge"}]}`})
	c.run(t, "switch", "off", "--floor", "-1", "--row", "2", "--reason", "home").wants(t, exitNotDone, "sp_g1  refused              the fridge", "1 of 2 were not switched")
	if got, want := c.asked[0].Body, `{"dry_run":false,"on":false,"reason":"home","select":{"floor":-1,"row":2}}`; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
	c.answers["POST /api/v1/commands"] = `200 {"id":"1","results":[{"device":"sp_g0","outcome":"dry run"}]}`
	c.run(t, "switch", "on", "sp_g0", "--dry-run").wants(t, exitDone, "dry run", "")
}

func TestAServerThatIsAway(t *testing.T) {
	c := newCloud(t, nil)
	away := c.URL
	c.Close()
	runAs(t, nil, "", "site", "show", "--server", away).wants(t, exitAway, "", "nobody listens at "+away)
	runAs(t, nil, "", "version", "--server", away).wants(t, exitDone, "wattline dev", "")
}

func TestAnInterruptEndsARequest(t *testing.T) {
	reached := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(reached)
		<-r.Context().Done()
	}))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-reached
		cancel()
	}()
	var stderr bytes.Buffer
	code := run(ctx, []string{"site", "show", "--server", server.URL}, world{stdin: strings.NewReader(""), stdout: io.Discard, stderr: &stderr, env: func(string) string { return "" }})
	if code != exitInterrupt || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("exit code %d: %s", code, &stderr)
	}
}
