package spec_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/wattline/wattline/shared/bus"
)

// record is everything that was said on the bus.
type record struct {
	mu       sync.Mutex // protects messages
	messages []bus.Message
}

func newRecord() *record { return &record{} }

func (r *record) add(m bus.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, m)
}

func (r *record) all() []bus.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.messages)
}

// on gives the messages of a topic, in which + is any level. What was cleared is
// left out.
func (r *record) on(topic string) (found []bus.Message) {
	pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(topic), `\+`, `[^/]+`) + "$")
	for _, m := range r.all() {
		if len(m.Payload) > 0 && pattern.MatchString(m.Topic) {
			found = append(found, m)
		}
	}
	return found
}

// breaches are the messages that are on no channel, or against each schema of
// their channel. deliberate tells those that are meant to be wrong.
func (r *record) breaches(d document, compiled map[string]*jsonschema.Schema, deliberate func(bus.Message) bool) (seen map[string]int, wrong []string) {
	seen = map[string]int{}
	for _, m := range r.all() {
		messages := channelsOf(d, m.Topic)
		if len(messages) == 0 {
			wrong = append(wrong, m.Topic+" is no channel")
		}
		if len(m.Payload) == 0 || deliberate(m) || len(messages) == 0 {
			continue
		}
		text, err := bus.Inflate(m.Payload)
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", m.Topic, err))
			continue
		}
		fits := false
		var why error
		for _, name := range messages {
			message := d.Components.Messages[name]
			if err := valid(compiled[message.schema()], message.content(text)); err != nil {
				why = err
				continue
			}
			fits = true
			seen[name]++
		}
		for _, general := range []string{"query", "command"} {
			if !strings.HasPrefix(m.Topic, general+"/") {
				continue
			}
			seen[general]++
			if err := valid(compiled[general+".json"], text); err != nil {
				wrong = append(wrong, fmt.Sprintf("%s is no %s: %v", m.Topic, general, err))
			}
		}
		if !fits {
			wrong = append(wrong, fmt.Sprintf("%s: %.300s: %v", m.Topic, text, why))
		}
	}
	return seen, wrong
}

// sameShape tells how what was heard is unlike an example: a member of the
// example that is not there, or is of another type. Of arrays the first elements
// are compared.
func sameShape(example, heard any, path string) []string {
	switch e := example.(type) {
	case map[string]any:
		h, ok := heard.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s: %T, the example has an object", path, heard)}
		}
		var unlike []string
		for key, child := range e {
			if _, there := h[key]; !there {
				unlike = append(unlike, path+"/"+key+" is not there")
				continue
			}
			unlike = append(unlike, sameShape(child, h[key], path+"/"+key)...)
		}
		return unlike
	case []any:
		h, ok := heard.([]any)
		if !ok || len(e) > 0 && len(h) == 0 {
			return []string{fmt.Sprintf("%s: %v, the example has an array of %d", path, heard, len(e))}
		}
		if len(e) > 0 {
			return sameShape(e[0], h[0], path+"/0")
		}
		return nil
	}
	if fmt.Sprintf("%T", example) != fmt.Sprintf("%T", heard) {
		return []string{fmt.Sprintf("%s: %T, the example has %T", path, heard, example)}
	}
	return nil
}

// without leaves out what an example says varies, by JSON pointer.
func without(v any, pointers []string) any {
	for _, p := range pointers {
		steps := strings.Split(strings.TrimPrefix(p, "/"), "/")
		cut(v, steps)
	}
	return v
}

func cut(v any, steps []string) {
	switch n := v.(type) {
	case map[string]any:
		if len(steps) == 1 {
			delete(n, steps[0])
			return
		}
		cut(n[steps[0]], steps[1:])
	case []any:
		var i int
		if _, err := fmt.Sscan(steps[0], &i); err == nil && i < len(n) && len(steps) > 1 {
			cut(n[i], steps[1:])
		}
	}
}
