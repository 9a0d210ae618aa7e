// Package duty is the role backup: it makes a backup when it is time or when it is
// asked to, deletes what is not kept, restores one for trial now and then, and tells
// how all that went. It does one thing at a time. What it tells outlives it.
package duty
