package metrics

import (
	"strings"
	"sync"
)

// maxLabel bounds the text of one label value, in bytes.
const maxLabel = 128

// bounded keeps the metrics of at most limit label values (or pairs of them)
// and one more for all the others.
type bounded[M any] struct {
	limit  int
	labels int // 1 or 2
	create func(values ...string) *M

	mu    sync.RWMutex // protects known and other
	known map[[2]string]*M
	other *M
}

func newBounded[M any](limit, labels int, create func(values ...string) *M) *bounded[M] {
	return &bounded[M]{limit: limit, labels: labels, create: create, known: map[[2]string]*M{}}
}

// with gives the metric of the values, cleaned of what the text format cannot
// carry. A value from outside that is itself Other is counted with the others.
func (b *bounded[M]) with(first, second string) *M {
	key := [2]string{label(first), label(second)}
	b.mu.RLock()
	m, ok := b.known[key]
	b.mu.RUnlock()
	if ok {
		return m
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch m, ok := b.known[key]; {
	case ok:
		return m
	case len(b.known) < b.limit:
		m = b.create(key[:b.labels]...)
		b.known[key] = m
		return m
	case b.other == nil:
		b.other = b.create([]string{Other, Other}[:b.labels]...)
	}
	return b.other
}

// label makes a value valid: the client panics on text that is not UTF-8.
func label(value string) string {
	if len(value) > maxLabel {
		value = value[:maxLabel]
	}
	return strings.ToValidUTF8(value, "\uFFFD")
}
