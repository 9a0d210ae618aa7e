package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"

	"go.yaml.in/yaml/v3"
)

// redacted is what every way of printing a Secret prints.
const redacted = "[secret]"

// maxSecret bounds the file of a secret, in bytes.
const maxSecret = 64 << 10

// Secret is a password, token or key. In the file it is text, or one of
//
//	{file: /path}   the file's content without one last line break
//	{env: NAME}     the environment variable's value
//
// which must not be empty; paths are relative to the working directory. The
// zero value means that there is none. However it is printed, logged or
// marshalled it shows a fixed word; Reveal gives the text. Two things it cannot
// help: fmt sees through it in an unexported field of a struct, and
// encoding/json where it is the key of a map.
type Secret string

// Reveal gives the text of the secret, for the one place that needs it.
func (s Secret) Reveal() string { return string(s) }

// String implements fmt.Stringer and redacts.
func (Secret) String() string { return redacted }

// GoString implements fmt.GoStringer and redacts.
func (Secret) GoString() string { return redacted }

// Format implements fmt.Formatter and redacts: the verbs that String does not
// serve, such as %d, would show the text in their complaint.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue implements slog.LogValuer and redacts.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler and redacts.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON implements json.Marshaler and redacts.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// secretSource is the long form of a secret in the file.
type secretSource struct {
	File string `yaml:"file"`
	Env  string `yaml:"env"`
}

// read fetches the secret from where it is kept.
func (s secretSource) read() (string, error) {
	switch {
	case s.File != "" && s.Env != "":
		return "", errors.New("want file or env, got both")
	case s.File != "":
		return readSecret(s.File)
	case s.Env != "":
		text := os.Getenv(s.Env)
		if text == "" {
			return "", fmt.Errorf("environment variable %s is empty or not set", s.Env)
		}
		return text, nil
	default:
		return "", errors.New("want file or env, got neither")
	}
}

func readSecret(filename string) (string, error) {
	f, err := os.Open(filename)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxSecret {
		return "", fmt.Errorf("%s is larger than 64 KiB", filename)
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	if len(text) == 0 {
		return "", fmt.Errorf("%s is empty", filename)
	}
	return string(text), nil
}

func (d *decoder) secret(key string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		if text, ok := d.plain(key, n); ok {
			v.SetString(text)
		}
		return
	}
	var source secretSource
	before := len(d.mistakes)
	d.structure(key, n, reflect.ValueOf(&source).Elem())
	if len(d.mistakes) > before {
		return
	}
	text, err := source.read()
	if err != nil {
		d.add(key, n, "%w", err)
		return
	}
	v.SetString(text)
}
