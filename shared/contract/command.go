package contract

import "github.com/wattline/wattline/shared/device"

// Deadline is a time in the clock of the gateway that obeys: seconds since its
// boot. In another boot, or later, a command is not carried out.
type Deadline struct {
	BootID    string  `json:"boot_id"`
	Monotonic float64 `json:"monotonic"`
}

// GatewayCommand is the data of a command to one gateway, on
// gateways/<gateway>/command. Each device is answered in a [Results] of its own
// or with others, as they become known.
type GatewayCommand struct {
	ID     string `json:"id"`
	Who    string `json:"who"`
	Reason string `json:"reason"`
	// ConfigVersion is the configuration that the command was made under; a
	// gateway that runs an older one answers stale.
	ConfigVersion uint64   `json:"config_version"`
	Deadline      Deadline `json:"deadline"`
	Switches      []Switch `json:"switches"`
	// Look asks the gateway to look for plugs now; what it finds is on its topic
	// for that soon after.
	Look bool `json:"look,omitempty"`
}

// Switch asks for the absolute state of one relay.
type Switch struct {
	Device device.ID `json:"device"`
	On     bool      `json:"on"`
}

// Outcome is how a switch ended.
type Outcome string

// The outcomes. Confirmed was read back from the relay; Unknown means that it
// may have happened and nobody answered in time; DryRun that nothing was asked.
const (
	Confirmed   Outcome = "confirmed"
	Refused     Outcome = "refused"     // the place is protected
	Expired     Outcome = "expired"     // its deadline passed before it could be carried out
	Stale       Outcome = "stale"       // the gateway's configuration is older than the command's
	Superseded  Outcome = "superseded"  // a later command for the device overtook it
	Unreachable Outcome = "unreachable" // plug or gateway, Detail names it
	Mismatch    Outcome = "mismatch"    // the relay read back is not what was asked
	Unknown     Outcome = "unknown"
	NoSuchPlace Outcome = "no such place"
	DryRun      Outcome = "dry run"
)

// Result is the outcome for one device.
type Result struct {
	Device  device.ID `json:"device"`
	Outcome Outcome   `json:"outcome"`
	Detail  string    `json:"detail,omitempty"`
	On      *bool     `json:"on,omitempty"` // the relay as read back
	Gateway string    `json:"gateway,omitempty"`
}

// Results is a gateway's answer to a [GatewayCommand], or a part of it.
type Results struct {
	Results []Result `json:"results"`
}

// Switched is the text of the record <device id>/switched, a gateway's own
// account of a command it carried out.
type Switched struct {
	Command string  `json:"command"`
	Who     string  `json:"who"`
	Reason  string  `json:"reason"`
	On      bool    `json:"on"`
	Outcome Outcome `json:"outcome"`
	Detail  string  `json:"detail,omitempty"`
}

// SwitchRequest is what the api asks of sp_command on its own paths; the same
// component understands IoToad's payloads too.
type SwitchRequest struct {
	On bool `json:"on"`
	// Select chooses the places where the topic's subpath is "select".
	Select *Select `json:"select,omitempty"`
	Who    string  `json:"who,omitempty"`
	Reason string  `json:"reason,omitempty"`
	// DeadlineSeconds is the time allowed, 0 for the component's default.
	DeadlineSeconds float64 `json:"deadline_s,omitempty"`
	DryRun          bool    `json:"dry_run,omitempty"`
}

// SwitchAnswer is sp_command's answer to the api: one result per device.
type SwitchAnswer struct {
	ID      string   `json:"id"`
	Results []Result `json:"results"`
}

// Select chooses places for a switch of many; what is set must all hold. Row
// and Column mean workplaces.
type Select struct {
	IDs    []string `json:"ids,omitempty"`
	Floor  *int     `json:"floor,omitempty"`
	Row    *int     `json:"row,omitempty"`
	Column *int     `json:"column,omitempty"`
	Type   string   `json:"type,omitempty"`
}
