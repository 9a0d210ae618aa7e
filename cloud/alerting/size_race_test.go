//go:build race

package alerting_test

// perFloor is less where the race detector makes each reading ten times as dear:
// make test plays the week with all plugs without it.
const perFloor = 10

const crowd = 300
