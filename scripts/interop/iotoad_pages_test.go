package interop_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const docs = "../../docs"

// page reads a page of the documentation.
func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(docs, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// anywhere finds files of the tree whose names begin so.
func anywhere(t *testing.T, prefixes ...string) (found []string) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == ".cache" || d.Name() == "bin" || d.Name() == "node_modules" || d.Name() == "var"):
			return filepath.SkipDir
		}
		for _, prefix := range prefixes {
			if strings.HasPrefix(d.Name(), prefix) {
				found = append(found, path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// missing skips a line that cannot hold yet, where docs/iotoad.md says so too.
func missing(t *testing.T, row, why string) {
	t.Helper()
	if !strings.Contains(page(t, "iotoad.md"), "| "+row+" |") {
		t.Errorf("docs/iotoad.md does not list %q among what is missing", row)
	}
	t.Skip(why)
}

// there fails where docs/iotoad.md still calls something missing.
func there(t *testing.T, row string) {
	t.Helper()
	if strings.Contains(page(t, "iotoad.md"), "| "+row+" |") {
		t.Errorf("docs/iotoad.md still lists %q among what is missing", row)
	}
}

func showsOpenAPI(t *testing.T, _ *former) {
	specifications := anywhere(t, "openapi")
	if len(specifications) == 0 {
		missing(t, "41 OpenAPI", "there is no OpenAPI specification yet; AsyncAPI and the JSON Schemas of docs/hooks are all there is")
	}
	there(t, "41 OpenAPI")
	for _, name := range specifications {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "/api/in/") || !strings.Contains(string(text), "/api/out/") {
			t.Errorf("%s says nothing of /api/in and /api/out", name)
		}
	}
}

func showsDocumentation(t *testing.T, _ *former) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"architecture/README.md", "iotoad.md", "migration.md", "hooks/index.md"} {
		page(t, name)
		if name != "architecture/README.md" && !strings.Contains(string(readme), "docs/"+name) {
			t.Errorf("README.md does not lead to docs/%s", name)
		}
	}
	for _, flow := range []string{"## The way of a reading", "## The way of a command"} {
		if !strings.Contains(page(t, "architecture/README.md"), flow) {
			t.Errorf("the architecture does not show %q", flow)
		}
	}
	if len(anywhere(t, ".readthedocs.y")) == 0 {
		t.Error("nothing says how Read the Docs builds the pages")
	}
	there(t, "42 Read the Docs")
}

func showsDeployment(t *testing.T, _ *former) {
	for _, name := range []string{"wattline-cloud", "wattline-edge"} {
		if _, help := runToEnd(t, name, "-h"); !strings.Contains(help, "-config") || !strings.Contains(help, "-debug") {
			t.Errorf("%s has no -config and -debug: %s", name, help)
		}
	}
	for _, name := range []string{"embedded.yaml", "services.yaml"} { // which scripts/spec looks at
		if _, err := os.Stat(filepath.Join("../../docker/compose", name)); err != nil || !strings.Contains(page(t, "compose.md"), name) {
			t.Errorf("no stack %s that docs/compose.md explains: %v", name, err)
		}
	}
	there(t, "43 docker-compose")
}
