package rule

import (
	"bytes"
	_ "embed" // rules.yaml
	"encoding/json"
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

// Load reads a YAML file of rules.
func Load(name string) (File, error) {
	var f File
	if err := config.Load(name, &f); err != nil {
		return File{}, err
	}
	return f, nil
}

// Write gives the YAML that Read reads.
func Write(f File) ([]byte, error) {
	text, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	return config.YAML(text)
}
