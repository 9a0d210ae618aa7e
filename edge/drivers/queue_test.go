package drivers_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/wattline/wattline/edge/drivers"
)

// A turn that comes at the moment its owner gives up goes to the next.
func TestTheTurnIsPassedOn(t *testing.T) {
	for range 50 { // either may be seen first
		synctest.Test(t, func(t *testing.T) {
			var q drivers.Queue
			if err := q.Acquire(t.Context(), drivers.Poll); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				if q.Acquire(ctx, drivers.Poll) == nil {
					q.Release()
				}
			}()
			synctest.Wait()
			next := make(chan struct{})
			go func() {
				if err := q.Acquire(t.Context(), drivers.Poll); err != nil {
					t.Error(err)
				}
				close(next)
			}()
			synctest.Wait()
			cancel()
			q.Release()
			synctest.Wait()
			select {
			case <-next:
			default:
				t.Fatal("the turn was lost")
			}
		})
	}
}
