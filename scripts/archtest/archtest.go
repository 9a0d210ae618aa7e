// Package archtest holds the architecture: which package may import which, who
// owns a third-party client, where things stand and how packages are named. Its
// test fails with one line for each breach, so that the rules cannot fade.
//
// A new third-party dependency, a new vocabulary package or a new program that
// joins both tiers is entered in rules.go, in the same change that needs it.
package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
)

// Package is what "go list" knows about a package of this module, its paths
// relative to the module: edge/outbox, and bare import paths for the others.
type Package struct {
	ImportPath   string
	Name         string // of the package clause
	Doc          string // first sentence of the package comment
	Dir          string
	GoFiles      []string
	Imports      []string
	TestImports  []string // of test files inside the package
	XTestImports []string // of test files in <name>_test
}

// List asks "go list" in dir for the packages of the module there.
func List(dir string) ([]Package, error) {
	module, err := run(dir, "list", "-m")
	if err != nil {
		return nil, err
	}
	root := strings.TrimSpace(string(module))
	out, err := run(dir, "list", "-json=ImportPath,Name,Doc,Dir,GoFiles,Imports,TestImports,XTestImports", "./...")
	if err != nil {
		return nil, err
	}
	var all []Package
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p Package
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the answer of go list: %w", err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, root+"/")
		for _, imports := range [][]string{p.Imports, p.TestImports, p.XTestImports} {
			for i := range imports {
				imports[i] = relative(root, imports[i])
			}
		}
		all = append(all, p)
	}
}

// own marks the paths of this module, which could else be taken for packages of
// the standard library.
const own = "./"

func relative(root, imported string) string {
	if below, ok := strings.CutPrefix(imported, root+"/"); ok {
		return own + below
	}
	return imported
}

func run(dir string, args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return out, nil
}

// edge is one import: what imports, what is imported, and whether only tests
// need it.
type edge struct {
	from Package
	to   string // relative path when local, else an import path
	// local tells packages of this module from all others.
	local bool
	test  bool
}

func (e edge) String() string {
	if e.test {
		return fmt.Sprintf("the tests of %s import %s", e.from.ImportPath, e.to)
	}
	return fmt.Sprintf("%s imports %s", e.from.ImportPath, e.to)
}

// edges lists the imports of p. Packages named as httptest is are test code
// themselves, and so is what they import.
func edges(p Package) []edge {
	var all []edge
	add := func(imports []string, test bool) {
		for _, i := range imports {
			to, local := strings.CutPrefix(i, own)
			all = append(all, edge{from: p, to: to, local: local, test: test})
		}
	}
	add(p.Imports, forTests(p.ImportPath))
	add(p.TestImports, true)
	add(p.XTestImports, true)
	return all
}

// forTests tells a package that exists for tests, as httptest does.
func forTests(importPath string) bool {
	return strings.HasSuffix(path.Base(importPath), "test")
}

// within tells whether p is dir or stands below it.
func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, dir+"/")
}

func withinAny(p string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return within(p, dir) })
}

// tier is the top-level folder of a path.
func tier(p string) string {
	first, _, _ := strings.Cut(p, "/")
	return first
}
