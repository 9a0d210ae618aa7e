package tokens

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/cloud/registry/audit"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

const (
	maxTokens = 1000
	// prefix makes a secret recognizable to people and to programs that look for
	// secrets in places where none should be.
	prefix = "wattline_"
)

var bucket = []byte("tokens")

// Store keeps the tokens in the registry's file. Safe for concurrent use.
type Store struct{ db *bbolt.DB }

// Open makes the room in the file if need be.
func Open(db *bbolt.DB) (*Store, error) {
	err := db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open the tokens: %w", err)
	}
	return &Store{db: db}, nil
}

// Answer does what is asked: list, create or delete. What is wrong is in the
// answer's Problem.
func (s *Store) Answer(_ context.Context, r contract.RegistryRequest) contract.RegistryAnswer {
	var answer contract.RegistryAnswer
	var err error
	switch r.Verb {
	case "list":
		answer, err = s.list(r)
	case "create":
		answer, err = s.create(r)
	case "delete":
		answer, err = s.remove(r)
	default:
		err = &contract.Problem{Kind: contract.Invalid, Detail: fmt.Sprintf("tokens have no %.40q; there are list, create and delete", r.Verb)}
	}
	if p, ok := errors.AsType[*contract.Problem](err); ok {
		return contract.RegistryAnswer{Problem: p}
	}
	if err != nil {
		return contract.RegistryAnswer{Problem: &contract.Problem{Kind: contract.NotNow, Detail: "the registry could not " + r.Verb + " tokens: " + err.Error()}}
	}
	return answer
}

// Retained is what must be on the bus, by topic.
func (s *Store) Retained() (map[string][]byte, error) {
	topics := make(map[string][]byte)
	err := s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(id, text []byte) error {
			topics[bus.TokensPrefix+string(id)] = bytes.Clone(text)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read the tokens: %w", err)
	}
	return topics, nil
}

// EnsureAdmin makes an admin token when none is in force, called name or, if
// that is taken, name and a number. keep gets the secret before the token is in
// force: when it fails, there is no token.
func (s *Store) EnsureAdmin(name string, keep func(config.Secret) error) (made bool, err error) {
	err = s.db.Update(func(tx *bbolt.Tx) error {
		all, err := read(tx)
		if err != nil || slices.ContainsFunc(all, inForce) {
			return err
		}
		unique := name
		for n := 2; taken(all, unique); n++ {
			unique = fmt.Sprintf("%s-%d", name, n)
		}
		t, secret := draw(contract.Token{Name: unique, Role: contract.Admin})
		made = true
		if err := put(tx, t, contract.Audited{Who: "wattline-cloud", Reason: "the site had no admin token in force"}); err != nil {
			return err
		}
		return keep(secret)
	})
	if err != nil {
		return false, fmt.Errorf("make the first admin token: %w", err)
	}
	return made, nil
}

// Hash is how a secret is kept: hex digits of its SHA-256.
func Hash(secret config.Secret) string {
	sum := sha256.Sum256([]byte(secret.Reveal()))
	return hex.EncodeToString(sum[:])
}

// draw gives a token its id and its secret.
func draw(t contract.Token) (contract.Token, config.Secret) {
	var id [8]byte
	var bits [32]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand, Go 1.24)
	_, _ = rand.Read(bits[:])
	secret := config.Secret(prefix + base64.RawURLEncoding.EncodeToString(bits[:]))
	t.ID, t.Hash, t.Created = hex.EncodeToString(id[:]), Hash(secret), device.MicrosOf(time.Now())
	return t, secret
}

// inForce tells an admin token that opens the door now.
func inForce(t contract.Token) bool { return t.Role == contract.Admin && !expired(t) }

func expired(t contract.Token) bool {
	return t.Expires != nil && *t.Expires <= device.MicrosOf(time.Now())
}

func taken(all []contract.Token, name string) bool {
	return slices.ContainsFunc(all, func(t contract.Token) bool { return strings.EqualFold(t.Name, name) })
}

// read gives all tokens, by name.
func read(tx *bbolt.Tx) ([]contract.Token, error) {
	var all []contract.Token
	err := tx.Bucket(bucket).ForEach(func(id, text []byte) error {
		var t contract.Token
		if err := json.Unmarshal(text, &t); err != nil {
			return fmt.Errorf("token %s in the file: %w", id, err)
		}
		all = append(all, t)
		return nil
	})
	slices.SortFunc(all, func(a, b contract.Token) int {
		return cmp.Or(strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), strings.Compare(a.ID, b.ID))
	})
	return all, err
}

// put keeps a token and tells the audit log.
func put(tx *bbolt.Tx, t contract.Token, e contract.Audited) error {
	text, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := tx.Bucket(bucket).Put([]byte(t.ID), text); err != nil {
		return err
	}
	return tell(tx, "create token", t, e)
}

// tell writes who did what to a token into the audit log.
func tell(tx *bbolt.Tx, what string, t contract.Token, e contract.Audited) error {
	e.At, e.What, e.Object, e.Result = device.MicrosOf(time.Now()), what, t.Name, "done"
	e.Detail = describe(t)
	return audit.Append(tx, e)
}

// describe says in words what a token may.
func describe(t contract.Token) string {
	text := fmt.Sprintf("role %s, id %s", t.Role, t.ID)
	if len(t.Floors) > 0 {
		text += fmt.Sprintf(", floors %v", t.Floors)
	}
	if t.Expires != nil {
		text += ", until " + t.Expires.Time().Format(time.RFC3339)
	}
	return text
}
