package enrolment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/pki"
)

// Options are what the registry passes.
type Options struct {
	// Dir holds the site's authority and gets the list of revoked certificates.
	Dir string
	// Known tells whether a gateway is registered; nil takes every name.
	Known func(tx *bbolt.Tx, gateway string) bool
	// Note enters a refusal into the audit log, at a bounded rate; may be nil.
	Note func(contract.Audited) error
	// Clock is the machine's when nil.
	Clock func() time.Time
}

// Store keeps the enrolments in the registry's file. Safe for concurrent use.
type Store struct {
	db        *bbolt.DB
	options   Options
	authority *pki.Authority // nil while the site has none
	log       *slog.Logger

	listing sync.Mutex // held while the list of revoked certificates is written
}

// Open makes the room in the file if need be, and reads the site's authority. A
// site without one can do everything but issue certificates.
func Open(db *bbolt.DB, o Options, log *slog.Logger) (*Store, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	s := &Store{db: db, options: o, log: log}
	authority, err := pki.LoadAuthority(o.Dir, o.Clock())
	if err != nil && !errors.Is(err, pki.ErrNoAuthority) {
		return nil, err
	}
	if err == nil {
		s.authority = authority
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open the enrolments: %w", err)
	}
	if err := s.writeList(); err != nil {
		return nil, err
	}
	return s, nil
}

// verbs are what the room can be asked.
var verbs = map[string]func(*Store, contract.RegistryRequest) (any, error){
	"get":     (*Store).get,
	"join":    (*Store).join,
	"request": (*Store).request,
	"approve": (*Store).approve,
	"refuse":  (*Store).refuse,
	"revoke":  (*Store).revoke,
	"renew":   (*Store).renew,
}

// Answer does what is asked: list and get; join (a [contract.Join], shown once),
// approve, refuse and revoke of the gateway in Key; request and renew with a
// [contract.EnrolmentRequest], answered with a [contract.EnrolmentAnswer]. What
// is wrong is in the answer's Problem.
func (s *Store) Answer(_ context.Context, r contract.RegistryRequest) contract.RegistryAnswer {
	if r.Verb == "list" {
		return answer(s.list(r))
	}
	do, ok := verbs[r.Verb]
	if !ok {
		return answer(contract.RegistryAnswer{}, problem(contract.Invalid, "enrolment has no %.40q; there are list, get, join, request, approve, refuse, revoke and renew", r.Verb))
	}
	content, err := do(s, r)
	if err != nil {
		return answer(contract.RegistryAnswer{}, err)
	}
	text, err := json.Marshal(content)
	return answer(contract.RegistryAnswer{Content: text}, err)
}

func answer(a contract.RegistryAnswer, err error) contract.RegistryAnswer {
	if p, ok := errors.AsType[*contract.Problem](err); ok {
		return contract.RegistryAnswer{Problem: p}
	}
	if err != nil {
		return contract.RegistryAnswer{Problem: &contract.Problem{Kind: contract.NotNow, Detail: "the registry could not see to the enrolment: " + err.Error()}}
	}
	return a
}

func problem(kind contract.ProblemKind, format string, args ...any) error {
	return &contract.Problem{Kind: kind, Detail: fmt.Sprintf(format, args...)}
}

// Retained is nothing of its own: [Describe] adds to what the registry says of
// each gateway.
func (*Store) Retained() (map[string][]byte, error) { return nil, nil }

// Describe adds to a gateway what the broker and people must know of its trust:
// how far it is and which certificates are in force.
func (s *Store) Describe(tx *bbolt.Tx, info *contract.GatewayInfo) error {
	r, err := read(tx, info.Gateway)
	if err != nil {
		return err
	}
	r.expire(micros(s.options.Clock()))
	info.Trust, info.Certificates = r.Trust, r.certificates()
	return nil
}

// Retire takes all trust from a gateway that is deleted, in the transaction that
// deletes it. Its record stays, for its certificates stay revoked.
func (s *Store) Retire(tx *bbolt.Tx, gateway string, request contract.RegistryRequest) error {
	r, err := read(tx, gateway)
	if err != nil || r.Trust == "" || r.Trust == contract.Revoked {
		return err
	}
	request.Reason = "the gateway is deleted"
	s.revokeAll(&r)
	return put(tx, gateway, r, by(request, gateway, "revoke gateway"))
}

// Listed writes the list of revoked certificates anew, after [Store.Retire].
func (s *Store) Listed() error { return s.writeList() }

// reserved names are roles' at brokers that know clients by the common name only.
var reserved = map[string]bool{"wattline": true}

// check says what is wrong with a gateway's name.
func (s *Store) check(tx *bbolt.Tx, gateway string) error {
	switch {
	case !contract.IsGatewayID(gateway) || reserved[gateway]:
		return problem(contract.Invalid, "%.80q is not the id of a gateway: a lower-case letter, then up to 62 lower-case letters, digits, _ or -, and not wattline", gateway)
	case s.options.Known != nil && !s.options.Known(tx, gateway):
		return problem(contract.NotFound, "there is no gateway %s: register it first", gateway)
	}
	return nil
}

// change runs do on the record of a gateway and keeps what it makes of it; when
// do gives no entry for the audit log, nothing is kept.
func (s *Store) change(gateway string, do func(r *record) (*contract.Audited, error)) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		if err := s.check(tx, gateway); err != nil {
			return err
		}
		r, err := read(tx, gateway)
		if err != nil {
			return err
		}
		r.expire(micros(s.options.Clock()))
		entry, err := do(&r)
		if err != nil || entry == nil {
			return err
		}
		return put(tx, gateway, r, *entry)
	})
}

// by begins the audit entry of a request.
func by(r contract.RegistryRequest, gateway, what string) contract.Audited {
	who := r.Who
	if who == "" {
		who = "somebody"
	}
	return contract.Audited{Who: who, What: what, Object: gateway, Reason: r.Reason, From: r.From}
}

// writeList signs the list of all revoked certificates anew, for brokers that
// read it from a file.
func (s *Store) writeList() error {
	if s.authority == nil {
		return nil
	}
	s.listing.Lock()
	defer s.listing.Unlock()
	var revoked []pki.Revoked
	now := s.options.Clock()
	err := s.each(func(_ string, r record) error {
		r.expire(micros(now))
		for _, o := range r.Outlawed {
			revoked = append(revoked, pki.Revoked{Serial: o.Serial, At: o.At.Time()})
		}
		return nil
	})
	if err != nil {
		return err
	}
	text, err := s.authority.Revoke(revoked, now)
	if err != nil {
		return err
	}
	return pki.WriteFile(filepath.Join(s.options.Dir, pki.RevocationList), text, 0o644)
}

// each gives all records, by gateway.
func (s *Store) each(do func(gateway string, r record) error) error {
	return s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(key, text []byte) error {
			var r record
			if err := json.Unmarshal(text, &r); err != nil {
				return fmt.Errorf("enrolment of %s in the file: %w", key, err)
			}
			return do(string(key), r)
		})
	})
}
