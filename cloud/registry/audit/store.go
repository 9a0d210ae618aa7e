package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/shared/contract"
)

// Notes that others may enter: notesBurst at once, and one more every noteEvery.
// With the longest texts that is at most 30 MB a day, of a flood that never ends.
const (
	notesBurst = 500
	noteEvery  = 10 * time.Second
)

// Store answers questions about the log, and takes notes of those who are no
// room of the registry. Safe for concurrent use.
type Store struct {
	db *bbolt.DB

	mu      sync.Mutex // protects the fields below
	room    int        // notes that may come now
	grown   time.Time  // until when room has been reckoned
	dropped int        // notes that did not fit since the last that did
}

// Open gives the log in db.
func Open(db *bbolt.DB) (*Store, error) {
	err := db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	return &Store{db: db, room: notesBurst, grown: time.Now()}, nil
}

// Answer does the verbs list, and note, which enters the request's content, a
// [contract.Audited].
func (s *Store) Answer(_ context.Context, r contract.RegistryRequest) contract.RegistryAnswer {
	switch r.Verb {
	case "list":
		return s.list(r)
	case "note":
		var e contract.Audited
		if err := json.Unmarshal(r.Content, &e); err != nil || e.What == "" || e.Who == "" {
			return refuse(contract.Invalid, "content: not an entry with at least who and what")
		}
		e.At = 0 // the registry's clock counts
		if err := s.Note(e); err != nil {
			return refuse(contract.NotNow, err.Error())
		}
		return contract.RegistryAnswer{}
	default:
		return refuse(contract.Invalid, fmt.Sprintf("no verb %.40q: audit has list and note", r.Verb))
	}
}

// Retained is nothing: the log is not on the bus.
func (*Store) Retained() (map[string][]byte, error) { return nil, nil }

// Note enters what was no change of the registry, such as a refusal. Beyond the
// rate that is kept (500 at once, one more every ten seconds) a note is counted
// only, and the next that fits says how many; that is no error.
func (s *Store) Note(e contract.Audited) error {
	dropped, ok := s.admit(time.Now())
	if !ok {
		return nil
	}
	return s.db.Update(func(tx *bbolt.Tx) error {
		if dropped > 0 {
			lost := contract.Audited{Who: "registry", What: "note", Result: Failed, Detail: fmt.Sprintf("%d notes came too fast and were only counted", dropped)}
			if err := Append(tx, lost); err != nil {
				return err
			}
		}
		return Append(tx, e)
	})
}

// admit takes a note's room, and tells how many had none since the last.
func (s *Store) admit(now time.Time) (dropped int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := int(now.Sub(s.grown) / noteEvery); n > 0 {
		s.room, s.grown = min(notesBurst, s.room+n), s.grown.Add(time.Duration(n)*noteEvery)
	}
	if s.room == 0 {
		s.dropped++
		return 0, false
	}
	s.room--
	dropped, s.dropped = s.dropped, 0
	return dropped, true
}

func (s *Store) list(r contract.RegistryRequest) (answer contract.RegistryAnswer) {
	var page []contract.Audited
	err := s.db.View(func(tx *bbolt.Tx) (err error) {
		page, answer.Next, err = List(tx, r.Filter, r.Cursor, r.Limit)
		return err
	})
	if p, ok := errors.AsType[*contract.Problem](err); ok {
		return contract.RegistryAnswer{Problem: p}
	}
	if err == nil {
		answer.Content, err = json.Marshal(page)
	}
	if err != nil {
		return refuse(contract.NotNow, err.Error())
	}
	return answer
}

func refuse(kind contract.ProblemKind, detail string) contract.RegistryAnswer {
	return contract.RegistryAnswer{Problem: &contract.Problem{Kind: kind, Detail: detail}}
}
