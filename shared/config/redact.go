package config

import (
	"bytes"
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// Redact is text, a YAML file, without its secrets, to be shown to others: the
// values of the keys that secret tells, whatever they hold, become a fixed word,
// and comments, which may hold anything, are left out. The long forms {file: ...}
// and {env: ...} of a secret stay, for they hold none. every is what becomes of
// each other text, such as one without the password of a URL.
//
// Text that is no YAML gives an error without any of it.
func Redact(text []byte, secret func(key string) bool, every func(string) string) ([]byte, error) {
	root, err := parse(bytes.NewReader(text), MaxBytes)
	if err != nil {
		return nil, err
	}
	r := redactor{secret: secret, every: every, left: maxNodes}
	if !r.node(root, 0) {
		return nil, errors.New("aliases make the file too large or too deep")
	}
	out, err := yaml.Marshal(root)
	if err != nil {
		return nil, fmt.Errorf("write the file again: %w", err)
	}
	return out, nil
}

type redactor struct {
	secret func(string) bool
	every  func(string) string
	left   int
}

// node redacts what stands at and below n; false when there is no end of it.
func (r *redactor) node(n *yaml.Node, depth int) bool {
	if r.left--; r.left < 0 || depth > maxDepth {
		return false
	}
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	switch n.Kind {
	case yaml.AliasNode: // what it stands for is redacted where it stands, or here where the key says so
		return true
	case yaml.MappingNode:
		return r.mapping(n, depth)
	case yaml.ScalarNode:
		if changed := r.every(n.Value); changed != n.Value {
			hide(n, changed)
		}
		return true
	default:
		for _, inner := range n.Content {
			if !r.node(inner, depth+1) {
				return false
			}
		}
		return true
	}
}

func (r *redactor) mapping(n *yaml.Node, depth int) bool {
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		hidden := r.secret(name.Value) && !isNull(value) && !elsewhere(value)
		if !r.node(name, depth+1) {
			return false
		}
		if !hidden {
			if !r.node(value, depth+1) {
				return false
			}
			continue
		}
		if value.Kind == yaml.AliasNode {
			*value.Alias = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: redacted, Anchor: value.Alias.Anchor}
			continue
		}
		*value = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: redacted, Anchor: value.Anchor}
	}
	return true
}

// hide makes a scalar another text.
func hide(n *yaml.Node, text string) {
	n.Kind, n.Tag, n.Value, n.Style, n.Content = yaml.ScalarNode, "!!str", text, yaml.DoubleQuotedStyle, nil
}

// elsewhere tells the long form of a secret, which names where it is.
func elsewhere(n *yaml.Node) bool {
	return n.Kind == yaml.MappingNode && len(n.Content) == 2 && (n.Content[0].Value == "file" || n.Content[0].Value == "env") &&
		n.Content[1].Kind == yaml.ScalarNode
}
