package api_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/wattline/wattline/cloud/api"
	"github.com/wattline/wattline/cloud/api/apitest"
)

// book is the OpenAPI document. Whatever the tests of this package ask and are
// answered is held against it.
var book = mustBook()

func mustBook() *apitest.Document {
	d, err := apitest.New()
	if err != nil {
		panic(err)
	}
	return d
}

// described fails the test where the document does not allow an exchange.
func (s *site) described(e apitest.Exchange) {
	s.t.Helper()
	e.Invented = e.Invented || s.invented
	if err := book.Check(e); err != nil {
		s.t.Errorf("against the document: %v", err)
	}
}

// invents says that the fakes of a test answer what no component would, so that
// the bodies are not looked at.
func (s *site) invents() *site {
	s.invented = true
	return s
}

// complete is the whole of the tests. When all of them ran and went well, every
// answer of every operation must have been seen.
type complete struct{ m *testing.M }

// unreachable are answers that no test brings about: for the first two the broker
// would have to go after one topic of a request was answered and before the next
// was, for the others the registry has a whole minute.
var unreachable = []string{
	"sendToAgent 503 application/json", "sendBelowAgent 503 application/json",
	"exportInventory 504 application/problem+json", "importInventory 504 application/problem+json",
}

func (c complete) Run() int {
	code := c.m.Run()
	chosen := slices.ContainsFunc([]string{"test.run", "test.skip", "test.list", "test.fuzz", "test.bench"}, func(name string) bool {
		f := flag.Lookup(name)
		return f != nil && f.Value.String() != ""
	})
	if code != 0 || chosen || testing.Short() {
		return code
	}
	missing := slices.DeleteFunc(book.Unreached(), func(answer string) bool { return slices.Contains(unreachable, answer) })
	if len(missing) > 0 {
		fmt.Fprintf(os.Stderr, "FAIL: %d answers of the OpenAPI document were given to no test:\n  %s\n", len(missing), strings.Join(missing, "\n  "))
		return 1
	}
	return code
}

func TestTheDocumentHasTheRoutesThatThereAre(t *testing.T) {
	served := map[string]bool{}
	for _, route := range api.New(api.DefaultConfig(), api.Options{}, quiet).Routes() {
		method, path, _ := strings.Cut(route, " ")
		if method == "HEAD" { // every GET, as the document says
			continue
		}
		served[method+" "+path] = true
		if method == "GET" && !slices.Contains(api.New(api.DefaultConfig(), api.Options{}, quiet).Routes(), "HEAD "+path) {
			t.Errorf("%s is not there as HEAD", path)
		}
	}
	// The rest of a path is, in OpenAPI, one parameter more or none.
	wild := strings.NewReplacer(
		"/api/in/{agent}/{subpath}", "/api/in/*", "/api/in/{agent}", "/api/in/*", "/api/out/{component}/{subpath}", "/api/out/*",
		"/api/out/{component}", "/api/out/*", "/api/v1/alerts/{id}", "/api/v1/alerts/*", "{id}", ":id",
	)
	documented := map[string]bool{}
	for _, operation := range book.Operations() {
		route := wild.Replace(operation)
		documented[route] = true
		if !served[route] {
			t.Errorf("the document has %s, and the api has no %s", operation, route)
		}
	}
	for route := range served {
		if !documented[route] {
			t.Errorf("the document does not have %s", route)
		}
	}
}

func TestTheDocumentsExamplesAreAsItsSchemasSay(t *testing.T) {
	if err := book.CheckExamples(); err != nil {
		t.Error(err)
	}
	ids := book.IDs()
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); n != len(book.IDs()) {
		t.Errorf("%d operations have %d different ids", len(book.IDs()), n)
	}
}
