package spec_test

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// several are the parameters that stand for any number of levels; those marked
// true may be missing.
var several = map[string]bool{"subpath": true, "target": true, "asker": false, "resource": false}

// form is an address as a pattern of topics.
func form(address string) *regexp.Regexp {
	var b strings.Builder
	for level := range strings.SplitSeq(address, "/") {
		name := strings.Trim(level, "{}")
		missing, many := several[name]
		switch {
		case many && missing:
			b.WriteString(`(?:/.+)?`)
		case many:
			b.WriteString(`/.+`)
		case strings.HasPrefix(level, "{"):
			b.WriteString(`/[^/]+`)
		default:
			b.WriteString("/" + regexp.QuoteMeta(level))
		}
	}
	return regexp.MustCompile("^" + strings.TrimPrefix(b.String(), "/") + "$")
}

// channelsOf are the messages that a topic may carry: those of the channels that
// it fits, of the most particular one if they differ in that.
func channelsOf(d document, topic string) []string {
	particular := func(c channel) int { return len(parameter.ReplaceAllString(c.Address, "")) }
	byDegree := slices.SortedFunc(maps.Values(d.Channels), func(x, y channel) int { return cmp.Compare(particular(y), particular(x)) })
	degree := -1
	var messages []string
	for _, c := range byDegree {
		if !form(c.Address).MatchString(topic) || degree > particular(c) {
			continue
		}
		degree = particular(c)
		messages = append(messages, slices.Sorted(maps.Keys(c.Messages))...)
	}
	return messages
}
