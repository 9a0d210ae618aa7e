package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// Signatures gives a line for each exported declaration of p that shows a type
// of a third-party client: whoever calls it would depend on the client too. The
// rooms of a client's owner may show it.
func Signatures(p Package) ([]string, error) {
	var found []string
	for _, name := range p.GoFiles {
		file := filepath.Join(p.Dir, name)
		src, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		found = append(found, inFile(p, src)...)
	}
	return found, nil
}

func inFile(p Package, file *ast.File) []string {
	clients := clientNames(file)
	if len(clients) == 0 || p.Name == "main" {
		return nil
	}
	var found []string
	for _, decl := range file.Decls {
		for name, shown := range exported(decl) {
			for client := range mentions(shown, clients) {
				if slices.Contains(rooms[client], p.ImportPath) {
					continue
				}
				found = append(found, fmt.Sprintf("%s.%s shows a type of %s", p.ImportPath, name, client))
			}
		}
	}
	return found
}

var majorVersion = regexp.MustCompile(`^v[0-9]+$`)

// clauses are the package clauses that differ from the last folder of the path.
var clauses = map[string]string{
	"github.com/eclipse/paho.mqtt.golang":         "mqtt",
	"github.com/mochi-mqtt/server/v2":             "mqtt",
	"github.com/influxdata/influxdb-client-go/v2": "influxdb2",
}

// clientNames maps the names under which a file imports owned clients to their
// paths.
func clientNames(file *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil || !withinAny(imported, slices.Collect(maps.Keys(owners))) {
			continue
		}
		name := path.Base(imported)
		if majorVersion.MatchString(name) {
			name = path.Base(path.Dir(imported))
		}
		if clause, ok := clauses[imported]; ok {
			name = clause
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = imported
	}
	return names
}

// exported gives the exported names of a declaration, each with the syntax that
// a caller sees: signatures, exported fields, types of variables.
func exported(decl ast.Decl) map[string][]ast.Node {
	shown := map[string][]ast.Node{}
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && exportedReceiver(d) {
			shown[d.Name.Name] = []ast.Node{d.Type}
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() {
					shown[s.Name.Name] = visible(s.Type)
				}
			case *ast.ValueSpec:
				for _, name := range s.Names {
					if name.IsExported() && s.Type != nil {
						shown[name.Name] = []ast.Node{s.Type}
					}
				}
			}
		}
	}
	return shown
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return true
	}
	name := ""
	ast.Inspect(d.Recv.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && name == "" {
			name = id.Name
		}
		return true
	})
	return ast.IsExported(name)
}

// visible leaves out the unexported fields of a struct and the unexported
// methods of an interface.
func visible(t ast.Expr) []ast.Node {
	var list *ast.FieldList
	switch t := t.(type) {
	case *ast.StructType:
		list = t.Fields
	case *ast.InterfaceType:
		list = t.Methods
	default:
		return []ast.Node{t}
	}
	var shown []ast.Node
	for _, f := range list.List {
		if len(f.Names) == 0 || slices.ContainsFunc(f.Names, (*ast.Ident).IsExported) {
			shown = append(shown, f.Type)
		}
	}
	return shown
}

// mentions gives the clients whose names appear in the syntax.
func mentions(nodes []ast.Node, clients map[string]string) map[string]bool {
	found := map[string]bool{}
	for _, node := range nodes {
		ast.Inspect(node, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := sel.X.(*ast.Ident); ok && clients[pkg.Name] != "" {
				found[clients[pkg.Name]] = true
			}
			return true
		})
	}
	return found
}
