package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestTablesFitIntoATerminal(t *testing.T) {
	rows := [][]string{
		{"ID", "LABEL", "DETAIL"},
		{"sp_f1.g0", strings.Repeat("ñandú ", 10), strings.Repeat("long ", 30)},
		{"sp_f1.g1", "", "short"},
	}
	for _, width := range []int{0, 200, 80, 40, 20, 1} {
		var b bytes.Buffer
		if err := writeRows(&b, rows, width); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); width >= 40 && n > width {
				t.Errorf("in %d characters a line has %d: %s", width, n, line)
			}
		}
		if width == 0 && !strings.Contains(b.String(), strings.Repeat("long ", 29)+"long") {
			t.Errorf("without a terminal something is cut:\n%s", &b)
		}
		if width == 80 && !strings.Contains(b.String(), "…") {
			t.Errorf("what is cut does not show it:\n%s", &b)
		}
	}
}

func TestABarIsDrawnNowAndThen(t *testing.T) {
	var b bytes.Buffer
	now := time.Unix(1000, 0)
	bar := &bar{w: &b, title: "sending", total: 200, now: func() time.Time { return now }}
	for n := range int64(200) {
		bar.at(n)
	}
	bar.at(200)
	if got := strings.Count(b.String(), "\r"); got != 2 {
		t.Errorf("drawn %d times within a moment, want twice: the beginning and the end", got)
	}
	if got := b.String(); !strings.HasSuffix(got, "] 100 %") {
		t.Errorf("got %q", got)
	}
	bar.end()
}

func TestNoBarWithoutATerminal(t *testing.T) {
	var out bytes.Buffer
	s := &session{world: world{stderr: &out}}
	b := s.progress("sending", 10)
	b.at(5)
	b.end()
	if out.Len() > 0 {
		t.Errorf("drawn: %q", &out)
	}
}
