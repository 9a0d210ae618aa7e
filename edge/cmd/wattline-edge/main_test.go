package main // run is not exported: a command has no interface for others

import (
	"io"
	"strings"
	"testing"
)

func TestAMistakenFlagIsToldOnce(t *testing.T) {
	var stderr strings.Builder
	err := run(t.Context(), []string{"-nonsense"}, io.Discard, &stderr)
	if err == nil || strings.Contains(stderr.String(), err.Error()) || !strings.Contains(stderr.String(), "-config") {
		t.Errorf("error %v, and before it\n%s", err, stderr.String())
	}
	stderr.Reset()
	if err := run(t.Context(), []string{"-help"}, io.Discard, &stderr); err != nil || !strings.Contains(stderr.String(), "Usage: wattline-edge") {
		t.Errorf("error %v, help\n%s", err, stderr.String())
	}
}
