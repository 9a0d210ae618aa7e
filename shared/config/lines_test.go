package config_test

import (
	"strings"
	"testing"

	"github.com/wattline/wattline/shared/config"
)

func TestLinesOfEachKeyComeBack(t *testing.T) {
	var into struct {
		Places []map[string]string `yaml:"places"`
	}
	text := "places:\n  - {a: x}\n  - a: y\n    b: z\n"
	lines, err := config.DecodeLines([]byte(text), "x", &into)
	if err != nil {
		t.Fatal(err)
	}
	if got := lines["places[0].a"]; got != 2 {
		t.Errorf("places[0].a is on line %d, want 2", got)
	}
	if got := lines["places[1].b"]; got != 4 {
		t.Errorf("places[1].b is on line %d, want 4", got)
	}
}

func TestLargeTextsDecodeWithLines(t *testing.T) {
	var into struct {
		Places []map[string]string `yaml:"places"`
	}
	text := "places:\n" + strings.Repeat("  - {a: x, b: y, c: z}\n", 60_000)
	if _, err := config.DecodeLines([]byte(text), "x", &into); err != nil || len(into.Places) != 60_000 {
		t.Errorf("%d places, %v", len(into.Places), err)
	}
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n" +
		"d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n"
	var deep struct {
		A []string         `yaml:"a"`
		B [][]string       `yaml:"b"`
		C [][][]string     `yaml:"c"`
		D [][][][]string   `yaml:"d"`
		E [][][][][]string `yaml:"e"`

		F [][][][][][]string `yaml:"f"`
	}
	if _, err := config.DecodeLines([]byte(bomb), "x", &deep); err == nil {
		t.Error("a million texts from 300 bytes were taken")
	}
}
