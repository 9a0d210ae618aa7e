// Package device is the vocabulary of Wattline: what is measured, where, and in
// which unit.
//
// An [ID] names a place in a building and owns the history measured there; the
// plug that happens to sit in the place is somebody else's concern. A [Reading]
// is what one poll of a place measured at one time. The package imports the
// standard library only, keeps no state, and is the only one that looks inside
// an identifier.
package device
