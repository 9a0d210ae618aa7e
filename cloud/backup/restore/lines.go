package restore

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// maxLine bounds one point, in bytes: InfluxDB takes strings of 64 KB.
const maxLine = 16 << 20

// lines reads line protocol point by point; a text may have line breaks in it.
type lines struct {
	r    *bufio.Reader
	line []byte
}

func newLines(r io.Reader) *lines { return &lines{r: bufio.NewReaderSize(r, 256<<10)} }

// next gives a point with its line break, until the next call; io.EOF at the end.
func (l *lines) next() ([]byte, error) {
	l.line = l.line[:0]
	for {
		piece, err := l.r.ReadSlice('\n')
		l.line = append(l.line, piece...)
		switch {
		case len(l.line) > maxLine:
			return nil, fmt.Errorf("a point of more than %d bytes", maxLine)
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(l.line) > 0:
			return nil, fmt.Errorf("the last point is cut off: %.80q", l.line)
		case err != nil:
			return nil, err
		case isWhole(l.line):
			return l.line, nil
		}
	}
}

// isWhole tells whether the line break at the end is not one of a text: quotes
// count in fields only, which begin at the first space that is not escaped.
func isWhole(line []byte) bool {
	i := 0
	for ; i < len(line) && line[i] != ' '; i++ {
		if line[i] == '\\' {
			i++
		}
	}
	if i >= len(line) {
		return true
	}
	quoted := false
	for rest := line[i:]; ; {
		at := bytes.IndexAny(rest, `"\`)
		if at < 0 {
			return !quoted
		}
		if rest[at] == '"' {
			quoted = !quoted
		} else {
			at = min(at+1, len(rest)-1)
		}
		rest = rest[at+1:]
	}
}

// within tells whether the time of a point is in a range; zero bounds are none.
func within(line []byte, from, to time.Time) (bool, error) {
	if from.IsZero() && to.IsZero() {
		return true, nil
	}
	text := bytes.TrimSuffix(line, []byte("\n"))
	at, err := strconv.ParseInt(string(text[bytes.LastIndexByte(text, ' ')+1:]), 10, 64)
	if err != nil {
		return false, fmt.Errorf("a point without a time: %.80q", line)
	}
	return (from.IsZero() || at >= from.UnixNano()) && (to.IsZero() || at < to.UnixNano()), nil
}
