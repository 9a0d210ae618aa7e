package tokens

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// maxPage bounds one answer.
const maxPage = 1000

// shown is a token as people see it. Secret is there once, in the answer to its
// creation.
type shown struct {
	ID      string         `json:"id"`
	Name    string         `json:"name"`
	Role    contract.Role  `json:"role"`
	Floors  []int          `json:"floors,omitempty"`
	Created device.Micros  `json:"created"`
	Expires *device.Micros `json:"expires,omitempty"`
	Expired bool           `json:"expired,omitempty"`
	Secret  string         `json:"secret,omitempty"`
}

func show(t contract.Token) shown {
	return shown{ID: t.ID, Name: t.Name, Role: t.Role, Floors: t.Floors, Created: t.Created, Expires: t.Expires, Expired: expired(t)}
}

// list gives the tokens by name; the cursor is the last name of a page.
func (s *Store) list(r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	var answer contract.RegistryAnswer
	if p := knownFilters(r.Filter); p != nil {
		return answer, p
	}
	var all []contract.Token
	err := s.db.View(func(tx *bbolt.Tx) (err error) {
		all, err = read(tx)
		return err
	})
	if err != nil {
		return answer, err
	}
	limit := maxPage
	if r.Limit > 0 {
		limit = min(limit, r.Limit)
	}
	page := []shown{}
	for _, t := range all {
		switch {
		case r.Cursor != "" && strings.ToLower(t.Name) <= strings.ToLower(r.Cursor),
			r.Filter["role"] != "" && r.Filter["role"] != string(t.Role):
		case len(page) == limit:
			answer.Next = page[limit-1].Name
			return withContent(answer, page)
		default:
			page = append(page, show(t))
		}
	}
	return withContent(answer, page)
}

func knownFilters(filter map[string]string) error {
	p := &contract.Problem{Kind: contract.Invalid, Detail: "the list of tokens cannot be narrowed so"}
	for name, value := range filter {
		switch {
		case name != "role":
			p.Mistakes = append(p.Mistakes, contract.Mistake{Field: name, Detail: "no such filter; there is role"})
		case !slices.Contains(roles, contract.Role(value)):
			p.Mistakes = append(p.Mistakes, contract.Mistake{Field: name, Detail: notRole})
		}
	}
	if len(p.Mistakes) == 0 {
		return nil
	}
	slices.SortFunc(p.Mistakes, func(a, b contract.Mistake) int { return strings.Compare(a.Field, b.Field) })
	return p
}

func withContent(answer contract.RegistryAnswer, content any) (contract.RegistryAnswer, error) {
	text, err := json.Marshal(content)
	answer.Content = text
	return answer, err
}

// errDry ends the transaction of a dry run, which would have gone well.
var errDry = errors.New("dry run")

// create makes a token and shows its secret; a dry run shows none.
func (s *Store) create(r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	wanted, problem := parse(r.Content)
	if problem != nil {
		return contract.RegistryAnswer{}, problem
	}
	var t contract.Token
	var secret config.Secret
	err := s.db.Update(func(tx *bbolt.Tx) error {
		all, err := read(tx)
		switch {
		case err != nil:
			return err
		case taken(all, wanted.Name):
			return &contract.Problem{Kind: contract.Conflict, Detail: fmt.Sprintf("there is a token called %q already; delete it first, or choose another name", wanted.Name)}
		case len(all) >= maxTokens:
			return &contract.Problem{Kind: contract.Conflict, Detail: fmt.Sprintf("there are %d tokens, which is the most; delete some that nobody uses", len(all))}
		}
		t, secret = draw(wanted)
		if r.DryRun {
			return errDry
		}
		return put(tx, t, by(r))
	})
	if err != nil && !errors.Is(err, errDry) {
		return contract.RegistryAnswer{}, err
	}
	content := show(t)
	if content.Secret = secret.Reveal(); r.DryRun {
		content.ID, content.Secret = "", ""
	}
	return withContent(contract.RegistryAnswer{}, content)
}

// remove deletes a token by its id or its name, at once: the api hears of it.
func (s *Store) remove(r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	var gone contract.Token
	err := s.db.Update(func(tx *bbolt.Tx) error {
		all, err := read(tx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(t contract.Token) bool { return t.ID == r.Key })
		if i < 0 {
			i = slices.IndexFunc(all, func(t contract.Token) bool { return strings.EqualFold(t.Name, r.Key) })
		}
		if i < 0 {
			return &contract.Problem{Kind: contract.NotFound, Detail: fmt.Sprintf("no token has the id or name %.40q; the list of tokens has them", r.Key)}
		}
		gone = all[i]
		if inForce(gone) && !slices.ContainsFunc(slices.Delete(all, i, i+1), inForce) {
			return &contract.Problem{Kind: contract.Conflict, Detail: fmt.Sprintf(
				"%q is the last admin token in force; without one nobody could change the site. Create another admin token first, and delete this one with that", gone.Name)}
		}
		if r.DryRun {
			return errDry
		}
		if err := tx.Bucket(bucket).Delete([]byte(gone.ID)); err != nil {
			return err
		}
		return tell(tx, "delete token", gone, by(r))
	})
	if err != nil && !errors.Is(err, errDry) {
		return contract.RegistryAnswer{}, err
	}
	return withContent(contract.RegistryAnswer{}, show(gone))
}

// by begins the audit entry of a request.
func by(r contract.RegistryRequest) contract.Audited {
	return contract.Audited{Who: r.Who, Reason: r.Reason, From: r.From}
}
