package contract

import (
	"encoding/json"

	"github.com/wattline/wattline/shared/device"
)

// RegistryRequest is the data of a query or command to the registry, on
// query/registry/<resource> and command/registry/<resource>.
type RegistryRequest struct {
	// Verb says what to do: list and get are queries; create, change, delete and
	// those of single resources are commands.
	Verb string `json:"verb"`
	// Key names one of the resource, as its id.
	Key string `json:"key,omitempty"`
	// Filter narrows a list; Cursor and Limit are its page.
	Filter map[string]string `json:"filter,omitempty"`
	Cursor string            `json:"cursor,omitempty"`
	Limit  int               `json:"limit,omitempty"`
	// Revision is what the asker has seen last: when another one is in force the
	// command is refused as changed. 0 asks for none.
	Revision uint64 `json:"revision,omitempty"`
	// DryRun reports what would happen, and changes nothing.
	DryRun bool `json:"dry_run,omitempty"`
	// Who asks, and why, and from which address: for the audit log.
	Who    string `json:"who,omitempty"`
	Reason string `json:"reason,omitempty"`
	From   string `json:"from,omitempty"`
	// Content is what to create or change; of a change only the members that it
	// has count, and null takes a value away (RFC 7396).
	Content json.RawMessage `json:"content,omitempty"`
}

// RegistryAnswer answers a [RegistryRequest].
type RegistryAnswer struct {
	Content json.RawMessage `json:"content,omitempty"`
	// Revision is that of Content, for the next change of it.
	Revision uint64 `json:"revision,omitempty"`
	// Next is the cursor of the page that follows, empty on the last.
	Next string `json:"next,omitempty"`
	// Problem says why nothing was done; nil when it was.
	Problem *Problem `json:"problem,omitempty"`
}

// ProblemKind is the class of a [Problem].
type ProblemKind string

// The kinds of problems, and the HTTP status that each means.
const (
	Invalid  ProblemKind = "invalid"   // 400: the request, each of its mistakes named
	NotFound ProblemKind = "not found" // 404
	Conflict ProblemKind = "conflict"  // 409: with something else that is registered
	Changed  ProblemKind = "changed"   // 412: since the asker looked
	Denied   ProblemKind = "denied"    // 403
	NotNow   ProblemKind = "not now"   // 503: a full disk, a file that is not there
)

// Problem is why the registry did not do what it was asked.
type Problem struct { //nolint:errname // the word of RFC 9457, which it becomes
	Kind   ProblemKind `json:"kind"`
	Detail string      `json:"detail"`
	// Mistakes are all that were found, each of one field or line.
	Mistakes []Mistake `json:"mistakes,omitempty"`
}

func (p *Problem) Error() string { return p.Detail }

// Mistake is one thing wrong in a request or a file.
type Mistake struct {
	// Line counts from 1; 0 where there are no lines.
	Line int `json:"line,omitempty"`
	// Field is the member or column, empty when the whole is meant.
	Field  string `json:"field,omitempty"`
	Detail string `json:"detail"`
}

// Found is retained on gateways/<gateway>/found: the plugs that a gateway sees,
// sorted by identity, at most MaxFound of them.
type Found struct {
	Gateway string        `json:"gateway"`
	At      device.Micros `json:"at"` // when the last look round ended
	Plugs   []FoundPlug   `json:"plugs"`
	// More counts the plugs beyond MaxFound.
	More int `json:"more,omitempty"`
}

// MaxFound bounds what one gateway tells of.
const MaxFound = 2048

// FoundPlug is a plug that answered, or did so lately.
type FoundPlug struct {
	DeviceID string `json:"device_id"` // 40 hex digits
	MAC      string `json:"mac"`       // AA:BB:CC:DD:EE:FF
	Driver   string `json:"driver,omitempty"`
	Model    string `json:"model"`
	Hardware string `json:"hardware"`
	Firmware string `json:"firmware"`
	// FirmwareBefore is the firmware that the plug had before, where it has changed
	// since the gateway started.
	FirmwareBefore string `json:"firmware_before,omitempty"`
	Alias          string `json:"alias,omitempty"`
	Address        string `json:"address"` // host or host:port
	// Device is the place that the configuration gives it, empty when it has none.
	Device string `json:"device,omitempty"`
	// Problem is one word: locked, unsupported, vanished; empty when it is well.
	Problem string        `json:"problem,omitempty"`
	Seen    device.Micros `json:"seen"`
}

// Audited is one entry of the audit log, for ever: who changed, asked for or was
// refused what, when, why and how it ended.
type Audited struct {
	At     device.Micros `json:"at"`
	Who    string        `json:"who"`
	What   string        `json:"what"`             // such as "change place"
	Object string        `json:"object,omitempty"` // such as sp_f1.g0
	Reason string        `json:"reason,omitempty"`
	Result string        `json:"result"` // done, refused, failed
	Detail string        `json:"detail,omitempty"`
	From   string        `json:"from,omitempty"` // address of the client
}

// Role is what somebody may do over REST; each may all that the one before may.
type Role string

// The roles.
const (
	Viewer   Role = "viewer"   // look
	Operator Role = "operator" // switch
	Admin    Role = "admin"    // change the registry, tokens and gateways
)

// Token is retained on registry/tokens/<id>: what the api needs to know of one.
// The secret itself is shown once and kept nowhere.
type Token struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Role Role   `json:"role"`
	// Floors limits the token to these; empty means all.
	Floors []int `json:"floors,omitempty"`
	// Hash is the SHA-256 of the secret, hex digits. The secret is 256 random
	// bits, so nothing slower is needed.
	Hash    string         `json:"hash"`
	Created device.Micros  `json:"created"`
	Expires *device.Micros `json:"expires,omitempty"`
}

// Trust is how far a gateway's enrolment has come.
type Trust string

// The steps of enrolment. Expected has a join token or nothing yet; Pending has
// asked with it; Trusted has a certificate; Revoked must not connect any more.
const (
	Expected Trust = "expected"
	Pending  Trust = "pending"
	Trusted  Trust = "trusted"
	Revoked  Trust = "revoked"
)
