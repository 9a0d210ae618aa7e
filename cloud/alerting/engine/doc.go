// Package engine decides what fires. It takes samples and the time as they are
// handed to it, and gives back what changed: it has no clock, no goroutine, no
// network and no file, so that a test plays a week in a second and the same
// samples always make the same alerts.
//
// What counts is when something was measured, not when it came. A condition holds
// from the first bad sample to the last; a sample that is late extends that, but
// raises no alarm by itself. An alarm is raised by a bad sample that is not late,
// and says since when it really is so. What was bad and over before anybody
// could know is history, marked late. What is dated ahead of the cloud's clock counts
// as of now.
//
// A place counts from its own gateway only. What else there may be is made by whoever
// publishes, so it is bounded for each source and for all, and forgotten when it is
// silent for a day.
//
//	       bad sample            held for long enough, in time
//	quiet ------------> pending ------------------------------> firing
//	  ^   <------------           (late: waits for one in time)    |
//	  |    good, gap, out of hours                                 |
//	  +------------------------------------------------------------+
//	       good sample; when it flaps: good for settleAfter
//
// A rule that is covered by another says nothing of its own while that one is
// pending or firing for the same gateway or the site, and has to hold anew when
// that is over.
package engine
