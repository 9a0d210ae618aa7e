package contract

import "github.com/wattline/wattline/shared/device"

// Added is an entry as the ledger's change feed gives it: what was entered, and
// where it stands. Instance, the run of a storing hook, and At name it: the times
// of one instance grow.
type Added struct {
	Entry

	Instance string
	At       device.Micros // when it was entered, by the hook's clock
}
