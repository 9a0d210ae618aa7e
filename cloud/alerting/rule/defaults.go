package rule

import (
	"bytes"
	_ "embed" // rules.yaml
	"fmt"

	"github.com/wattline/wattline/shared/config"
)

//go:embed rules.yaml
var defaults []byte

// Defaults are the rules with which a site starts. Each call makes them anew.
func Defaults() File {
	f, err := Read(defaults, "rules.yaml")
	if err != nil {
		panic(fmt.Sprintf("the rules that come with the program: %v", err)) // a test reads them
	}
	return f
}

// Read takes the rules of a YAML text, at most config.MaxBytes long; name is what
// errors call it. Every mistake is named, by key and line.
func Read(text []byte, name string) (File, error) {
	var f File
	if err := config.Decode(bytes.NewReader(text), name, &f); err != nil {
		return File{}, err
	}
	return f, nil
}
