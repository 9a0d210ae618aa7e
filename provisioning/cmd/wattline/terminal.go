package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// isTerminal tells whether a person sits at the other end.
func isTerminal(v any) bool {
	_, ok := window(v)
	return ok
}

// window is the width of a terminal in characters.
func window(v any) (width int, ok bool) {
	f, isFile := v.(*os.File)
	if !isFile {
		return 0, false
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, false
	}
	if size.Col == 0 {
		return 80, true
	}
	return int(size.Col), true
}

// clean takes out what a terminal would obey: labels and names of plugs come
// from outside. Line breaks stay where they are meant.
func clean(text string, lines bool) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' && lines || !unicode.IsControl(r) && !unicode.Is(unicode.Cf, r) {
			return r
		}
		return '?'
	}, text)
}

// cleanLine is clean for a text that is one line.
func cleanLine(text string) string { return clean(text, false) }

// barEvery is how often a bar is drawn at most.
const barEvery = 100 * time.Millisecond

// bar shows how far a long thing has come, on a terminal only.
type bar struct {
	w     io.Writer // nil where nobody looks
	title string
	total int64
	drawn time.Time
	now   func() time.Time
}

// progress begins a bar on stderr; total is in any unit, 0 where nobody knows.
func (s *session) progress(title string, total int64) *bar {
	b := &bar{title: title, total: total, now: time.Now}
	if isTerminal(s.stderr) && !s.json {
		b.w = s.stderr
	}
	return b
}

// at draws the bar when n of the total are done.
func (b *bar) at(n int64) {
	if b.w == nil || b.now().Sub(b.drawn) < barEvery && n < b.total {
		return
	}
	b.drawn = b.now()
	const width = 30
	if b.total <= 0 {
		fmt.Fprintf(b.w, "\r%s %d", b.title, n)
		return
	}
	n = min(n, b.total)
	full := int(width * n / b.total)
	fmt.Fprintf(b.w, "\r%s [%s%s] %3d %%", b.title, strings.Repeat("#", full), strings.Repeat(".", width-full), 100*n/b.total)
}

// end takes the bar away.
func (b *bar) end() {
	if b.w != nil {
		fmt.Fprintf(b.w, "\r%s\r", strings.Repeat(" ", len(b.title)+45))
	}
}
