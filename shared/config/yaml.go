package config

import (
	"bytes"
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// YAML writes a JSON text as YAML, its members in the order that they have. What
// has the same names in both, [Decode] reads back.
func YAML(text []byte) ([]byte, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil { // every JSON text is YAML
		return nil, fmt.Errorf("write as YAML: %w", err)
	}
	open(&root)
	var out bytes.Buffer
	w := yaml.NewEncoder(&out)
	w.SetIndent(2) // as the pages write it, so that what they show fits in
	if err := errors.Join(w.Encode(&root), w.Close()); err != nil {
		return nil, fmt.Errorf("write as YAML: %w", err)
	}
	return out.Bytes(), nil
}

// open writes a node over several lines, strings only quoted where they must be.
func open(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		open(child)
	}
}
