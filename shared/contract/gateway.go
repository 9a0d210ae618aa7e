package contract

import (
	"regexp"

	"github.com/wattline/wattline/shared/device"
)

var gatewayID = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

// IsGatewayID reports whether s has the form of a gateway's id: a lower-case
// letter, then up to 62 lower-case letters, digits, _ or -. It is one topic level
// and fits into a client identifier.
func IsGatewayID(s string) bool { return gatewayID.MatchString(s) }

// GatewayConfig is what a gateway needs to know of its floor, retained on
// gateways/<gateway>/config. Version grows with each change.
type GatewayConfig struct {
	Version  uint64 `json:"version"`
	Gateway  string `json:"gateway"`
	Floor    int    `json:"floor"`
	Database string `json:"database"` // where its readings are stored, usually "sp"
	// PollSeconds is the time between two polls of a plug, at least 1.
	PollSeconds float64 `json:"poll_seconds"`
	// StaggerMillis is the pause between two plugs that one command switches on.
	StaggerMillis int    `json:"stagger_ms"`
	Plugs         []Plug `json:"plugs"`
	// Discovery says where to look for plugs.
	Discovery Discovery `json:"discovery,omitzero"`
}

// Plug is the hardware at a place, as the gateway reaches it.
type Plug struct {
	Device  device.ID `json:"device"`
	Driver  string    `json:"driver"`  // package of the plug's generation, "hs110"
	Address string    `json:"address"` // host or host:port; empty: to be found by its identity
	// DeviceID and MAC are the plug's identity; a plug that answers with
	// another one is not read. Empty means not known yet.
	DeviceID string `json:"device_id,omitempty"`
	MAC      string `json:"mac,omitempty"`
	// Protected is the reason why this place must never be switched; empty
	// means that it may.
	Protected string `json:"protected,omitempty"`
	// MaxPower is the plausible maximum in W; 0 means the driver's.
	MaxPower device.Watts `json:"max_power_w,omitempty"`
	// PollSeconds overrides the gateway's when not 0.
	PollSeconds float64 `json:"poll_seconds,omitempty"`
}

// Status is a gateway's heartbeat, retained on gateways/<gateway>/status every
// ten seconds. The will is a Status with Online false and the epoch only.
type Status struct {
	Gateway string `json:"gateway"`
	Online  bool   `json:"online"`
	Epoch   Epoch  `json:"epoch"`
	// Previous is the epoch before and its last sequence; nil when none.
	Previous *BatchID `json:"previous"`
	// Sequence is that of the last batch committed in this epoch, 0 when none.
	Sequence      uint64 `json:"sequence"`
	Version       string `json:"version"`
	ConfigVersion uint64 `json:"config_version"`
	// ConfigRefused is a configuration that the gateway was given and does not
	// run; nil when it runs the newest.
	ConfigRefused *ConfigRefused `json:"config_refused,omitempty"`
	Time          device.Micros  `json:"time"`
	// BootID and Monotonic (seconds since boot) are the clock in which commands
	// have their deadline.
	BootID    string       `json:"boot_id"`
	Monotonic float64      `json:"monotonic"`
	Clock     ClockStatus  `json:"clock"`
	Outbox    OutboxStatus `json:"outbox"`
	Plugs     PlugsStatus  `json:"plugs"`
}

// ConfigRefused is a configuration that a gateway does not run, and why: mistakes
// in it, or it was tried and made the floor worse.
type ConfigRefused struct {
	Version uint64 `json:"version"` // 0 where it could not be read
	Reason  string `json:"reason"`
}

// ClockStatus tells of the gateway's clock.
type ClockStatus struct {
	Set     bool `json:"set"`
	Rebased int  `json:"rebased"` // steps of more than a second noticed
}

// OutboxStatus tells what waits at a gateway. Everything is counted at once, by
// the same rules as the ledger.
type OutboxStatus struct {
	Readings int            `json:"readings"` // waiting, unclocked ones included
	Batches  int            `json:"batches"`
	Bytes    int64          `json:"bytes"`      // of the waiting batches
	File     int64          `json:"file_bytes"` // of the file that holds them
	Limit    int64          `json:"limit_bytes"`
	Oldest   *device.Micros `json:"oldest,omitempty"`
	OldestID *BatchID       `json:"oldest_id,omitempty"`
	// Unclocked readings wait for the clock to be set.
	Unclocked int       `json:"unclocked,omitempty"`
	SetAside  []BatchID `json:"set_aside,omitempty"`
	// Behind is the earliest time of waiting readings that were accepted after
	// readings of later times (the clock went back), whose time is not known yet
	// and may be this early, or that a waiting tombstone tells of; nil when there
	// are none.
	Behind *device.Micros `json:"behind,omitempty"`
	// Tombstoned names dropped batches whose tombstones wait.
	Tombstoned []Range `json:"tombstoned,omitempty"`
	// Earlier are the newest runs before this one, newest first, at most
	// EarlierRuns.
	Earlier []Run `json:"earlier,omitempty"`
	Dropped int   `json:"dropped,omitempty"` // readings, told by tombstones
	Refused int   `json:"refused,omitempty"` // readings not committed
	// Damaged names a file that was moved aside because it could not be read.
	Damaged string `json:"damaged,omitempty"`
	// Unanswered counts errors and receipts that released nothing.
	Unanswered int `json:"unanswered,omitempty"`
}

// EarlierRuns is how many of its runs a gateway remembers of which nothing waits.
const EarlierRuns = 64

// Run is a run of a gateway that has ended, and the sequence of its last batch,
// 0 when it committed none.
type Run struct {
	Epoch Epoch  `json:"epoch"`
	Last  uint64 `json:"last"`
}

// PlugsStatus tells how the plugs of a floor are.
type PlugsStatus struct {
	Configured int           `json:"configured"`
	Reachable  int           `json:"reachable"`
	Problems   []PlugProblem `json:"problems,omitempty"`
	// Suspects counts implausible fields by device.
	Suspects map[device.ID]int `json:"suspects,omitempty"`
}

// PlugProblem is a plug that is not read now, and why.
type PlugProblem struct {
	Device device.ID `json:"device"`
	// Reason is one word: offline, locked, unsupported, wrong plug, refused,
	// silent, garbage.
	Reason string         `json:"reason"`
	Detail string         `json:"detail,omitempty"`
	Since  device.Micros  `json:"since"`
	Last   *device.Micros `json:"last_success,omitempty"`
}

// Site is retained on registry/site.
type Site struct {
	Name         string `json:"name"`
	DefaultFloor int    `json:"default_floor"`
	TimeZone     string `json:"time_zone"` // IANA name
	// Rows and Columns are the most workplaces of a floor either way, 0 where there
	// are none.
	Rows    int `json:"rows,omitempty"`
	Columns int `json:"columns,omitempty"`
	// Revision grows with each change.
	Revision uint64 `json:"revision,omitempty"`
}

// GatewayInfo is retained on registry/gateways/<gateway>.
type GatewayInfo struct {
	Gateway       string `json:"gateway"`
	Label         string `json:"label,omitempty"`
	Floor         int    `json:"floor"`
	ConfigVersion uint64 `json:"config_version"`
	// StaggerMillis is the pause between two plugs that one command switches on.
	StaggerMillis int `json:"stagger_ms,omitempty"`
	// Revision grows with each change of what the registry has of the gateway.
	Revision uint64 `json:"revision,omitempty"`
	// Trust is how far the enrolment has come; empty where nobody enrols.
	Trust Trust `json:"trust,omitempty"`
	// Certificates are those in force: the broker lets the gateway in with these
	// only, and believes nobody else that he is a gateway that has any.
	Certificates []Certificate `json:"certificates,omitempty"`
}

// Place is retained on registry/places/<device id>; an empty payload deletes it.
type Place struct {
	Device  device.ID `json:"device"`
	Gateway string    `json:"gateway"`
	Label   string    `json:"label,omitempty"`
	Owner   string    `json:"owner,omitempty"`
	// Protected is the reason why the place is never switched; empty when it may.
	Protected string       `json:"protected,omitempty"`
	MaxPower  device.Watts `json:"max_power_w,omitempty"`
	Driver    string       `json:"driver"`
	Address   string       `json:"address"` // empty where no plug is known, or where it is
	DeviceID  string       `json:"device_id,omitempty"`
	MAC       string       `json:"mac,omitempty"`
	// PollSeconds overrides the gateway's when not 0.
	PollSeconds float64 `json:"poll_seconds,omitempty"`
	// Predecessor is the place that was here before under another id; zero for
	// none.
	Predecessor device.ID `json:"predecessor,omitzero"`
	// Revision grows with each change.
	Revision uint64 `json:"revision,omitempty"`
}
