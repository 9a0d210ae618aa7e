package drivers

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// Queue lets one question at a time through to a plug, commands before polls
// and otherwise in order of arrival. The zero value is ready; it is safe for
// concurrent use and not to be copied. How many wait is bounded by its callers:
// collector and controller ask a plug once at a time each.
type Queue struct {
	mu      sync.Mutex // protects what follows
	busy    bool
	waiting [2][]chan struct{} // by rank; closed when it is their turn
}

// Rank is the place of a question in a [Queue], the first one first.
type Rank int

// The ranks.
const (
	Command Rank = iota
	Poll
)

// Acquire waits for its turn, at most until ctx ends: then it gives an error that
// wraps the cause. Who got nil must call [Queue.Release].
func (q *Queue) Acquire(ctx context.Context, rank Rank) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("wait for the plug: %w", context.Cause(ctx))
	}
	q.mu.Lock()
	if !q.busy {
		q.busy = true
		q.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	q.waiting[rank] = append(q.waiting[rank], turn)
	q.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	i := slices.Index(q.waiting[rank], turn)
	if i >= 0 {
		q.waiting[rank] = slices.Delete(q.waiting[rank], i, i+1)
	}
	q.mu.Unlock()
	if i < 0 { // the turn came at the same moment: pass it on
		q.Release()
	}
	return fmt.Errorf("wait for the plug: %w", context.Cause(ctx))
}

// Release hands the turn to the next in line.
func (q *Queue) Release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for rank, w := range q.waiting {
		if len(w) > 0 {
			close(w[0])
			q.waiting[rank] = slices.Delete(w, 0, 1)
			return
		}
	}
	q.busy = false
}

// Lengths are how many wait.
func (q *Queue) Lengths() (commands, polls int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting[Command]), len(q.waiting[Poll])
}
