package tokens

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

const (
	maxName    = 64 // characters
	maxFloors  = 1000
	maxOrdinal = 999_999 // floors are below a million either way
	maxExpires = 9_000_000_000 * device.Micros(1e6)
)

var (
	roles   = []contract.Role{contract.Viewer, contract.Operator, contract.Admin}
	members = []string{"name", "role", "floors", "expires"}

	nameForm = regexp.MustCompile(`^[\pL\pN][\pL\pN ._@-]*$`)
	// reserved are what the audit log calls those who have no token.
	reserved = []string{"api", "iotoad", "mqtt", "registry", "address", "wattline-cloud", "gateway", "box", "schedule"}
)

const notRole = "not viewer (looks), operator (switches too) or admin (changes the site too)"

// parser reads the content of a create, noting every mistake.
type parser struct {
	values   map[string]json.RawMessage
	mistakes []contract.Mistake
}

// parse gives the token that is wanted, or a problem with all mistakes.
func parse(content json.RawMessage) (contract.Token, error) {
	var t contract.Token
	p := &parser{values: make(map[string]json.RawMessage)}
	if err := p.object(content); err != nil {
		return t, &contract.Problem{Kind: contract.Invalid, Detail: "a token is described by an object with name and role: " + err.Error()}
	}
	t.Name, t.Role = p.name(), p.role()
	t.Floors, t.Expires = p.floors(), p.expires()
	if t.Role == contract.Admin && len(t.Floors) > 0 {
		p.wrong("floors", "an admin changes the whole site; floors go with viewer and operator")
	}
	if len(p.mistakes) > 0 {
		return t, &contract.Problem{Kind: contract.Invalid, Detail: "the token is not made", Mistakes: p.mistakes}
	}
	return t, nil
}

func (p *parser) wrong(field, detail string) {
	p.mistakes = append(p.mistakes, contract.Mistake{Field: field, Detail: detail})
}

// object takes the members apart; one that is given twice is a mistake, for
// nobody knows which was meant.
func (p *parser) object(content json.RawMessage) error {
	d := json.NewDecoder(bytes.NewReader(content))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return errors.New("this is none")
	}
	for d.More() {
		token, err := d.Token()
		name, ok := token.(string)
		var value json.RawMessage
		if err != nil || !ok || d.Decode(&value) != nil {
			return errors.New("this is no JSON")
		}
		_, twice := p.values[name]
		switch {
		case !slices.Contains(members, name):
			p.wrong(clip(name), "no such member; there are "+strings.Join(members, ", "))
		case twice:
			p.wrong(name, "given twice")
		default:
			p.values[name] = value
		}
	}
	return nil
}

func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxName)], "?") }

func (p *parser) has(name string) bool {
	v, ok := p.values[name]
	return ok && string(v) != "null"
}

func (p *parser) name() (name string) {
	switch {
	case !p.has("name"):
		p.wrong("name", "required: whom or what the token is for")
	case json.Unmarshal(p.values["name"], &name) != nil:
		p.wrong("name", "not a text")
	default:
		if err := CheckName(name); err != nil {
			p.wrong("name", err.Error())
		}
	}
	return name
}

// CheckName says what is wrong with a name; nil when nothing is.
func CheckName(name string) error {
	switch {
	case !nameForm.MatchString(name) || len([]rune(name)) > maxName || strings.HasSuffix(name, " "):
		return fmt.Errorf("%.80q is not letters, digits, spaces and . _ @ -, at most %d, the first a letter or a digit", name, maxName)
	case slices.Contains(reserved, strings.ToLower(strings.Fields(name)[0])):
		return fmt.Errorf("%.80q begins with a word by which the audit log calls others", name)
	}
	return nil
}

func (p *parser) role() (role contract.Role) {
	if !p.has("role") {
		p.wrong("role", "required: viewer, operator or admin")
	} else if json.Unmarshal(p.values["role"], &role) != nil || !slices.Contains(roles, role) {
		p.wrong("role", notRole)
	}
	return role
}

// floors are sorted, each once; nil means all.
func (p *parser) floors() (floors []int) {
	const form = "not a list of whole numbers such as [1, 2]; leave it out for all floors"
	if !p.has("floors") {
		return nil
	}
	if json.Unmarshal(p.values["floors"], &floors) != nil || len(floors) == 0 || len(floors) > maxFloors {
		p.wrong("floors", form)
		return nil
	}
	slices.Sort(floors)
	floors = slices.Compact(floors)
	if floors[0] < -maxOrdinal || floors[len(floors)-1] > maxOrdinal {
		p.wrong("floors", fmt.Sprintf("floors are from %d to %d", -maxOrdinal, maxOrdinal))
	}
	return floors
}

// expires reads RFC 3339 or POSIX seconds.
func (p *parser) expires() *device.Micros {
	if !p.has("expires") {
		return nil
	}
	var at device.Micros
	var text string
	if json.Unmarshal(p.values["expires"], &text) == nil {
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			p.wrong("expires", fmt.Sprintf("%.40q is not a time such as 2027-12-31T00:00:00Z", text))
			return nil
		}
		at = device.MicrosOf(t)
	} else if at.UnmarshalJSON(p.values["expires"]) != nil {
		p.wrong("expires", "not a time such as \"2027-12-31T00:00:00Z\"")
		return nil
	}
	switch {
	case at > maxExpires:
		p.wrong("expires", "later than the year 2255; leave it out for a token without end")
	case at <= device.MicrosOf(time.Now()):
		p.wrong("expires", "in the past")
	}
	return &at
}
