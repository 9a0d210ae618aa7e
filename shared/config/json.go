package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// errDeep is a document that nests deeper than anybody writes by hand, or that
// has an alias inside what it stands for.
var errDeep = errors.New("nested too deep")

const maxNesting = 100

// JSON writes a YAML document as JSON, its members in the order that they have.
// Aliases stand for what they name; the members of << come behind those that are
// written, which count. It is for documents of our own: what strangers send,
// [Decode] reads.
func JSON(text []byte) ([]byte, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("write as JSON: %w", err)
	}
	if len(root.Content) == 0 {
		return []byte("null"), nil
	}
	var out bytes.Buffer
	if err := writeJSON(&out, root.Content[0], maxNesting); err != nil {
		return nil, fmt.Errorf("write as JSON: %w", err)
	}
	return out.Bytes(), nil
}

func writeJSON(out *bytes.Buffer, n *yaml.Node, depth int) error {
	if depth == 0 {
		return fmt.Errorf("line %d: %w", n.Line, errDeep)
	}
	switch n.Kind {
	case yaml.AliasNode:
		return writeJSON(out, n.Alias, depth-1)
	case yaml.SequenceNode:
		out.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				out.WriteByte(',')
			}
			if err := writeJSON(out, item, depth-1); err != nil {
				return err
			}
		}
		out.WriteByte(']')
		return nil
	case yaml.MappingNode:
		return writeMembers(out, n, depth)
	default:
		return writeScalar(out, n)
	}
}

func writeMembers(out *bytes.Buffer, n *yaml.Node, depth int) error {
	pairs, err := membersOf(n, depth)
	if err != nil {
		return err
	}
	out.WriteByte('{')
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			out.WriteByte(',')
		}
		name, err := json.Marshal(pairs[i].Value)
		if err != nil {
			return err
		}
		out.Write(name)
		out.WriteByte(':')
		if err := writeJSON(out, pairs[i+1], depth-1); err != nil {
			return err
		}
	}
	out.WriteByte('}')
	return nil
}

// membersOf lists names and values, those of << at the end.
func membersOf(n *yaml.Node, depth int) (pairs []*yaml.Node, err error) {
	if depth == 0 {
		return nil, fmt.Errorf("line %d: %w", n.Line, errDeep)
	}
	var merged []*yaml.Node
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		if name.Tag == "!!merge" {
			merged = append(merged, value)
			continue
		}
		if seen[name.Value] {
			return nil, fmt.Errorf("line %d: %q is written twice", name.Line, name.Value)
		}
		seen[name.Value] = true
		pairs = append(pairs, name, value)
	}
	for _, from := range merged {
		for from.Kind == yaml.AliasNode {
			from = from.Alias
		}
		if from.Kind != yaml.MappingNode {
			return nil, fmt.Errorf("line %d: << takes members from one mapping", from.Line)
		}
		more, err := membersOf(from, depth-1)
		if err != nil {
			return nil, err
		}
		for i := 0; i < len(more); i += 2 {
			if !seen[more[i].Value] {
				seen[more[i].Value] = true
				pairs = append(pairs, more[i], more[i+1])
			}
		}
	}
	return pairs, nil
}

func writeScalar(out *bytes.Buffer, n *yaml.Node) error {
	var value any = n.Value
	if n.Tag != "!!str" && n.Tag != "!!timestamp" { // JSON has no times
		if err := n.Decode(&value); err != nil {
			return fmt.Errorf("line %d: %w", n.Line, err)
		}
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	out.Write(text)
	return nil
}
