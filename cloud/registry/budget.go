package registry

import (
	"time"

	"github.com/wattline/wattline/shared/contract"
)

// What one gateway may cause to be written: all its plugs at once, and then one
// change every five seconds.
const (
	changesBurst = contract.MaxFound
	changeEvery  = 5 * time.Second
)

// budget bounds the changes that one gateway causes.
type budget struct {
	left  int
	grown time.Time
}

func (b *budget) take(now time.Time) bool {
	if n := int(now.Sub(b.grown) / changeEvery); n > 0 {
		b.left, b.grown = min(changesBurst, b.left+n), now
	}
	if b.left == 0 {
		return false
	}
	b.left--
	return true
}

func (s *Store) budgetOf(gateway string) *budget {
	b := s.budgets[gateway]
	if b == nil {
		b = &budget{changesBurst, time.Now()}
		s.budgets[gateway] = b
	}
	return b
}
