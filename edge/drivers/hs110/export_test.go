package hs110

import "context"

// Queue opens the queue to a test of a race that the network hardly ever loses.
type Queue struct{ queue }

// Acquire waits for a turn among polls.
func (q *Queue) Acquire(ctx context.Context) error { return q.acquire(ctx, poll) }

// Release ends the turn.
func (q *Queue) Release() { q.release() }
