// Command restlint writes the OpenAPI document of the REST API, as the server
// shows it, so that a linter can read it: make openapi-lint.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/wattline/wattline/cloud/api"
)

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "restlint:", err)
		os.Exit(1)
	}
}

func run(to io.Writer) error {
	text, err := api.OpenAPI()
	if err != nil {
		return err
	}
	_, err = to.Write(text)
	return err
}
