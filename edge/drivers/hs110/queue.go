package hs110

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// queue lets one question at a time through to a plug, commands before polls
// and otherwise in order of arrival.
type queue struct {
	mu      sync.Mutex // protects what follows
	busy    bool
	waiting [2][]chan struct{} // by rank; closed when it is their turn
}

// The ranks in a queue, the first one first.
const (
	command = iota
	poll
)

// acquire waits for its turn. Who got nil must release.
func (q *queue) acquire(ctx context.Context, rank int) error {
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
		q.release()
	}
	return fmt.Errorf("wait for the plug: %w", context.Cause(ctx))
}

// release hands the turn to the next in line.
func (q *queue) release() {
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

// lengths are how many wait.
func (q *queue) lengths() (commands, polls int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting[command]), len(q.waiting[poll])
}
