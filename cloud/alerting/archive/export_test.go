package archive

// Bound lets Prune keep less, and do less at once.
func Bound(most, atOnce int) (undo func()) {
	before, beforeAtOnce := keepMost, pruneAtOnce
	keepMost, pruneAtOnce = most, atOnce
	return func() { keepMost, pruneAtOnce = before, beforeAtOnce }
}
