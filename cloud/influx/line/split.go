package line

// Halve cuts lines near the middle, between two lines: both halves hold whole
// lines, and together they are lines. ok is false where there is only one line.
// Line breaks inside of string fields do not count: it finds the ends of lines
// as InfluxDB does, for the output of Append.
func Halve(lines []byte) (first, second []byte, ok bool) {
	for at := 0; at < len(lines); {
		next := at + lineEnd(lines[at:])
		if next == len(lines) {
			if at == 0 {
				return lines, nil, false
			}
			return lines[:at], lines[at:], true // the last line holds the middle
		}
		if next >= len(lines)/2 {
			return lines[:next], lines[next:], true
		}
		at = next
	}
	return lines, nil, false
}

// lineEnd gives the length of the first line, its line break included. Quotes
// mean something only in the value of a field, and that is where the line has
// had more bare equals signs than commas since its first bare space.
func lineEnd(lines []byte) int {
	quoted, inFields := false, false
	open := 0 // equals signs less commas
	for i := 0; i < len(lines); i++ {
		switch lines[i] {
		case '\\':
			i++ // whatever follows is escaped
		case '\n':
			if !quoted {
				return i + 1
			}
		case '"':
			if quoted || inFields && open > 0 {
				quoted = !quoted
			}
		case ' ':
			inFields = true
		case '=':
			if inFields && !quoted {
				open++
			}
		case ',':
			if inFields && !quoted {
				open--
			}
		}
	}
	return len(lines)
}
