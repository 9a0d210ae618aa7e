package spec_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/wattline/wattline/cloud/server"
	"github.com/wattline/wattline/shared/config"
)

// stack is what our compose files use of the Compose specification; what is not
// here is a mistake until it is added.
type stack struct {
	Name     string             `yaml:"name"`
	Hardened service            `yaml:"x-hardened"`
	Services map[string]service `yaml:"services"`
	Volumes  map[string]struct{}
	Secrets  map[string]struct {
		File string `yaml:"file"`
	} `yaml:"secrets"`
}

type service struct {
	Image       string            `yaml:"image"`
	Build       map[string]string `yaml:"build"`
	User        string            `yaml:"user"`
	Command     []string          `yaml:"command"`
	Environment map[string]string `yaml:"environment"`
	Restart     string            `yaml:"restart"`
	Grace       string            `yaml:"stop_grace_period"`
	ReadOnly    bool              `yaml:"read_only"`
	CapDrop     []string          `yaml:"cap_drop"`
	Security    []string          `yaml:"security_opt"`
	Tmpfs       []string          `yaml:"tmpfs"`
	Volumes     []string          `yaml:"volumes"`
	Ports       []string          `yaml:"ports"`
	Secrets     []string          `yaml:"secrets"`
	Healthcheck map[string]any    `yaml:"healthcheck"`
	DependsOn   map[string]struct {
		Condition string `yaml:"condition"`
	} `yaml:"depends_on"`
}

const composeDir = root + "/docker/compose"

// The stacks cannot be run by a test, so this looks for what would stop them or
// leave them open: names that lead nowhere, and containers that may too much.
func TestComposeFilesHoldTogether(t *testing.T) {
	dockerfile := read(t, root+"/docker/Dockerfile")
	for _, name := range []string{"embedded.yaml", "services.yaml"} {
		t.Run(name, func(t *testing.T) {
			var s stack
			decoder := yaml.NewDecoder(strings.NewReader(read(t, filepath.Join(composeDir, name))))
			decoder.KnownFields(true)
			if err := decoder.Decode(&s); err != nil {
				t.Fatal(err)
			}
			if len(s.Services) == 0 {
				t.Fatal("no services")
			}
			for who, is := range s.Services {
				if !is.ReadOnly || !slices.Equal(is.CapDrop, []string{"ALL"}) || len(is.Security) == 0 || is.Restart == "" {
					t.Errorf("%s may too much, or does not come back", who)
				}
				if is.Build == nil && is.User == "" {
					t.Errorf("%s runs as root", who)
				}
				if is.Build != nil {
					if _, err := os.Stat(filepath.Join(composeDir, is.Build["context"], is.Build["dockerfile"])); err != nil {
						t.Error(err)
					}
					if !strings.Contains(dockerfile, "AS "+is.Build["target"]+"\n") {
						t.Errorf("%s: the Dockerfile has no target %s", who, is.Build["target"])
					}
				} else if is.Healthcheck == nil { // ours is in the image
					t.Errorf("%s has no health check", who)
				}
				for _, volume := range is.Volumes {
					from, _, _ := strings.Cut(volume, ":")
					if strings.HasPrefix(from, ".") {
						if _, err := os.Stat(filepath.Join(composeDir, from)); err != nil {
							t.Error(err)
						}
					} else if _, declared := s.Volumes[from]; !declared {
						t.Errorf("%s: no volume %s", who, from)
					}
				}
				for _, secret := range is.Secrets {
					if s.Secrets[secret].File == "" {
						t.Errorf("%s: no secret %s", who, secret)
					}
				}
				for other := range maps.Keys(is.DependsOn) {
					if _, there := s.Services[other]; !there {
						t.Errorf("%s depends on %s, which there is not", who, other)
					}
				}
			}
		})
	}
}

func TestTheCloudOfAComposeFileHasNoMistake(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("token"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"embedded.cloud.yaml", "services.cloud.yaml"} {
		text := bytes.ReplaceAll([]byte(read(t, filepath.Join(composeDir, name))), []byte("/run/secrets/influx_token"), []byte(secret))
		cfg := server.DefaultConfig()
		if err := config.Decode(bytes.NewReader(text), name, &cfg); err != nil {
			t.Error(err)
		}
		if !cfg.Secure() || cfg.HTTP.Loopback() {
			t.Errorf("%s: nobody can reach it safely", name)
		}
	}
}
