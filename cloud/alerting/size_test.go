//go:build !race

package alerting_test

// perFloor is how many plugs a floor has: a room, a printer, workplaces.
const perFloor = 100

// crowd is how many plugs fail at once.
const crowd = 1000
