package enrolment

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/pki"
)

const (
	// joinLife is how long a join token may lie unused: a card is flashed today
	// and put into its box next week.
	joinLife    = 30 * 24 * time.Hour
	maxJoinLife = 365 * 24 * time.Hour
	maxPage     = 1000
	// joinPrefix makes a token recognizable to people and programs.
	joinPrefix = "wattline_join_"
)

func hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// list gives the enrolments by gateway; the cursor is the last of a page, the
// filter trust keeps those that are so far.
func (s *Store) list(r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	for name := range r.Filter {
		if name != "trust" {
			return contract.RegistryAnswer{}, problem(contract.Invalid, "no filter %.40q; there is trust", name)
		}
	}
	limit, now := maxPage, micros(s.options.Clock())
	if r.Limit > 0 {
		limit = min(limit, r.Limit)
	}
	page, next := []contract.Enrolment{}, ""
	err := s.each(func(gateway string, record record) error {
		switch {
		case next != "" || gateway <= r.Cursor || r.Filter["trust"] != "" && r.Filter["trust"] != string(record.Trust):
		case len(page) == limit:
			next = page[limit-1].Gateway
		default:
			page = append(page, record.view(gateway, now))
		}
		return nil
	})
	if err != nil {
		return contract.RegistryAnswer{}, err
	}
	text, err := json.Marshal(page)
	return contract.RegistryAnswer{Content: text, Next: next}, err
}

func (s *Store) get(r contract.RegistryRequest) (any, error) {
	var e contract.Enrolment
	err := s.db.View(func(tx *bbolt.Tx) error {
		if err := s.check(tx, r.Key); err != nil {
			return err
		}
		record, err := read(tx, r.Key)
		e = record.view(r.Key, micros(s.options.Clock()))
		return err
	})
	return e, err
}

// join draws a token for a box; one that nobody has used is void from here on.
func (s *Store) join(r contract.RegistryRequest) (any, error) {
	life, err := joinSpan(r.Content)
	if err != nil {
		return nil, err
	}
	var bits [32]byte
	_, _ = rand.Read(bits[:]) // never fails (crypto/rand, Go 1.24)
	made := contract.Join{
		Gateway: r.Key, Token: joinPrefix + base64.RawURLEncoding.EncodeToString(bits[:]), Expires: micros(s.options.Clock().Add(life)),
	}
	if s.authority == nil { // told now, not when the box waits for its certificate
		return nil, problem(contract.NotNow, "%v", pki.ErrNoAuthority)
	}
	err = s.change(r.Key, func(record *record) (*contract.Audited, error) {
		if len(record.InForce) == 0 {
			record.Trust = contract.Expected
		}
		record.Join, record.Asked = &join{Hash: hash(made.Token), Expires: made.Expires}, nil
		entry := by(r, r.Key, "join token")
		entry.Detail = "until " + made.Expires.Time().UTC().Format(time.RFC3339)
		return dry(r, entry), nil
	})
	if r.DryRun {
		made.Token = ""
	}
	return made, err
}

// dry gives no entry for a dry run, so that nothing is kept.
func dry(r contract.RegistryRequest, entry contract.Audited) *contract.Audited {
	if r.DryRun {
		return nil
	}
	return &entry
}

// joinSpan is how long the asker wants the token to live: {"days": n}.
func joinSpan(content json.RawMessage) (time.Duration, error) {
	var wanted struct {
		Days *float64 `json:"days"`
	}
	if len(content) == 0 || string(content) == "null" {
		return joinLife, nil
	}
	if err := json.Unmarshal(content, &wanted); err != nil {
		return 0, problem(contract.Invalid, "content: not an object such as {\"days\": 30}")
	}
	if wanted.Days == nil {
		return joinLife, nil
	}
	days := *wanted.Days
	if !(days > 0 && days <= maxJoinLife.Hours()/24) {
		return 0, problem(contract.Invalid, "days: %v is not more than 0 and at most %v", days, maxJoinLife.Hours()/24)
	}
	return time.Duration(days * 24 * float64(time.Hour)), nil
}

// approve issues the certificate that a box waits for. With {"key": ...} in the
// content, or its first digits, only if that is the box's.
func (s *Store) approve(r contract.RegistryRequest) (any, error) {
	var seen struct {
		Key string `json:"key"`
	}
	if len(r.Content) > 0 && json.Unmarshal(r.Content, &seen) != nil {
		return nil, problem(contract.Invalid, "content: not an object such as {\"key\": \"<fingerprint>\"}")
	}
	var e contract.Enrolment
	err := s.change(r.Key, func(record *record) (*contract.Audited, error) {
		switch a := record.Asked; {
		case a == nil:
			return nil, problem(contract.Conflict, "no box asks to be %s: start the box with its join token, and approve then", r.Key)
		case !strings.HasPrefix(a.Key, strings.ToLower(seen.Key)):
			return nil, problem(contract.Conflict, "the box that asks to be %s has the key %s, not %.64s: refuse it, if it is not yours", r.Key, a.Key, seen.Key)
		}
		fresh, err := s.issue(r.Key, record.Asked.Public)
		if err != nil {
			return nil, err
		}
		record.admit(fresh, fresh.Issued)
		record.Trust, record.Asked = contract.Trusted, nil
		e = record.view(r.Key, fresh.Issued)
		entry := by(r, r.Key, "approve gateway")
		entry.Detail = "key " + fresh.Key + ", certificate " + fresh.Serial
		return dry(r, entry), nil
	})
	if err == nil && !r.DryRun {
		s.log.Info("gateway approved", slog.String("gateway", r.Key))
	}
	return e, err
}

// refuse sends the box away that asks; its join token is spent.
func (s *Store) refuse(r contract.RegistryRequest) (any, error) {
	var e contract.Enrolment
	err := s.change(r.Key, func(record *record) (*contract.Audited, error) {
		if record.Asked == nil {
			return nil, problem(contract.Conflict, "no box asks to be %s", r.Key)
		}
		entry := by(r, r.Key, "refuse gateway")
		entry.Detail = "key " + record.Asked.Key
		record.Asked, record.Join = nil, nil
		if record.Trust == contract.Pending {
			record.Trust = contract.Expected
		}
		e = record.view(r.Key, micros(s.options.Clock()))
		return dry(r, entry), nil
	})
	return e, err
}

// revoke takes a gateway's certificates out of force: all, with its join token
// and request, or with {"serial": ...} in the content that one.
func (s *Store) revoke(r contract.RegistryRequest) (any, error) {
	var only struct {
		Serial string `json:"serial"`
	}
	if len(r.Content) > 0 && json.Unmarshal(r.Content, &only) != nil {
		return nil, problem(contract.Invalid, "content: not an object such as {\"serial\": \"<hex digits>\"}")
	}
	var e contract.Enrolment
	err := s.change(r.Key, func(record *record) (*contract.Audited, error) {
		var gone []string
		if only.Serial == "" {
			gone = s.revokeAll(record)
		} else {
			gone = record.outlaw(micros(s.options.Clock()), func(i issued) bool { return i.Serial == strings.ToLower(only.Serial) })
			if len(gone) == 0 {
				return nil, problem(contract.NotFound, "%s has no certificate %.40q in force", r.Key, only.Serial)
			}
			if len(record.InForce) == 0 {
				record.Trust = contract.Revoked
			}
		}
		e = record.view(r.Key, micros(s.options.Clock()))
		entry := by(r, r.Key, "revoke gateway")
		entry.Detail = fmt.Sprintf("%d certificates: %s", len(gone), strings.Join(gone, ", "))
		return dry(r, entry), nil
	})
	if err != nil || r.DryRun {
		return e, err
	}
	s.log.Warn("gateway revoked", slog.String("gateway", r.Key))
	return e, s.writeList() // the revocation stands; the asker learns that the file does not say so yet
}

func (s *Store) revokeAll(r *record) (serials []string) {
	serials = r.outlaw(micros(s.options.Clock()), func(issued) bool { return true })
	r.Trust, r.Join, r.Asked = contract.Revoked, nil, nil
	return serials
}

// Pending lists the gateways whose boxes wait for approval.
func (s *Store) Pending() (gateways []string, err error) {
	err = s.each(func(gateway string, r record) error {
		if r.Asked != nil {
			gateways = append(gateways, gateway)
		}
		return nil
	})
	slices.Sort(gateways)
	return gateways, err
}
