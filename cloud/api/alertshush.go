package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// hushFilters are what many alerts may be named by; all must hold.
var hushFilters = []string{"rule", "severity", "device", "gateway", "floor"}

// hushedAnswer is what became of the alerts that were meant.
type hushedAnswer struct {
	// Changed counts them, Items are they as they are now, where the alerting told.
	Changed int             `json:"changed"`
	Items   json.RawMessage `json:"items,omitempty"`
}

// hushes is POST of acknowledge, snooze and wake: of one alert by its id, or of
// all that fire and fit a filter.
func (s *Server) hushes(verb string) fiber.Handler {
	return func(c *fiber.Ctx) error {
		r, err := s.requestOf(c, verb)
		if err != nil {
			return err
		}
		q := readQuery(c)
		q.allow("reason", "dry_run")
		q.common(&r)
		if err := mistaken(q.mistakes); err != nil {
			return err
		}
		b, err := readBody(c)
		if err != nil {
			return err
		}
		if err := s.hushRequest(c, b, verb, &r); err != nil {
			return err
		}
		answer, err := s.askAlerting("command", "alerts", r)
		if err != nil {
			return err
		}
		told, err := s.hushedOf(callerOf(c), answer.Content, r.Key != "")
		if err != nil {
			return err
		}
		return c.JSON(told)
	}
}

// hushRequest reads which alerts are meant, and until when.
func (s *Server) hushRequest(c *fiber.Ctx, b *body, verb string, r *contract.RegistryRequest) error {
	members := []string{"id", "filter", "reason"}
	content := struct {
		Until *device.Micros `json:"until,omitempty"`
	}{}
	if verb == "snooze" {
		members = append(members, "until")
		if content.Until = b.moment("until"); !b.has("until") {
			b.mistake("until", "required: when it may notify again, by RFC 3339 or in POSIX seconds")
		}
	}
	if r.Key = b.text("id"); b.has("reason") {
		r.Reason = b.text("reason")
	}
	var floors []int
	switch {
	case b.has("id") == b.has("filter"):
		b.mistake("id", "want either id, of one alert, or filter, of all that fire and fit: {\"rule\": ..., \"floor\": ..., \"gateway\": ...}")
	case b.has("filter"):
		r.Filter, floors = b.hushFilter()
	case r.Key == "":
		b.mistake("id", "empty")
	}
	b.known(members...)
	if err := mistaken(b.mistakes); err != nil {
		return err
	}
	if r.Key != "" {
		if _, err := s.ownAlert(c, r.Key); err != nil {
			return err
		}
	} else if err := s.ownAlerts(c, floors, r.Filter); err != nil {
		return err
	}
	var err error
	r.Content, err = json.Marshal(content)
	return err
}

// ownAlert makes sure that an alert is the caller's to hush; for callers who have
// no floors it asks nobody.
func (s *Server) ownAlert(c *fiber.Ctx, id string) (contract.RegistryAnswer, error) {
	if callerOf(c).floors == nil {
		return contract.RegistryAnswer{}, nil
	}
	return s.knownAlert(c, id)
}

// hushFilter reads texts, numbers and lists of them. One that names nothing would
// be the whole site.
func (b *body) hushFilter() (filter map[string]string, floors []int) {
	filter = map[string]string{}
	inner := &body{}
	if json.Unmarshal(b.members["filter"], &inner.members) != nil || inner.members == nil {
		b.mistake("filter", "not an object")
		return filter, nil
	}
	q := &query{values: map[string][]string{}}
	for _, name := range hushFilters {
		if !inner.has(name) {
			continue
		}
		text, ok := wordsOf(inner.members[name])
		if !ok {
			inner.mistake(name, "want a text, a number or a list of them")
			continue
		}
		filter[name], q.values[name] = text, []string{text}
	}
	floors = q.numbers("floor")
	for _, m := range q.mistakes {
		inner.mistake(m.Parameter, m.Detail)
	}
	inner.known(hushFilters...)
	if len(inner.members) == 0 {
		inner.mistake("", "it names nothing: give "+strings.Join(hushFilters, ", "))
	}
	for _, m := range inner.mistakes {
		b.mistake(trimSlash("filter"+m.Pointer), m.Detail)
	}
	return filter, floors
}

// wordsOf is a text, a number, or a list of them with commas between.
func wordsOf(text json.RawMessage) (string, bool) {
	var list []json.RawMessage
	if json.Unmarshal(text, &list) != nil {
		list = []json.RawMessage{text}
	}
	words := make([]string, 0, len(list))
	for _, one := range list {
		var word string
		var number json.Number
		switch {
		case json.Unmarshal(one, &word) == nil && word != "":
		case json.Unmarshal(one, &number) == nil && number != "":
			word = number.String()
		default:
			return "", false
		}
		words = append(words, word)
	}
	return strings.Join(words, ","), len(words) > 0
}

// hushedOf reads the alerting's answer: an alert, a list of them, or nothing.
func (s *Server) hushedOf(who caller, content json.RawMessage, one bool) (hushedAnswer, error) {
	list := content
	switch {
	case len(content) == 0 || string(content) == "null":
		if one {
			return hushedAnswer{Changed: 1}, nil
		}
		return hushedAnswer{}, nil
	case !isArray(content):
		list = slices.Concat(json.RawMessage("["), content, json.RawMessage("]"))
	}
	list, err := s.ownOnly(who, list)
	if err != nil {
		return hushedAnswer{}, err
	}
	var all []json.RawMessage
	if json.Unmarshal(list, &all) != nil {
		return hushedAnswer{}, fmt.Errorf("%w: the alerting gave no alerts", errBadAnswer)
	}
	return hushedAnswer{Changed: len(all), Items: datedBy(alertSeconds, list)}, nil
}

// secondsForm is what counts as POSIX seconds where a text is.
var secondsForm = regexp.MustCompile(`^[0-9]{1,11}(\.[0-9]+)?$`)

const notMoment = "%.60q is neither POSIX seconds nor a time such as 2026-11-01T08:00:00Z"

// momentOf reads a time as clients write it.
func momentOf(text string) (at device.Micros, err error) {
	text = lostPlus.ReplaceAllString(text, "$1+$2")
	if t, err := time.Parse(time.RFC3339, text); err == nil && t.Year() >= 1970 {
		return device.MicrosOf(t), nil
	}
	if !secondsForm.MatchString(text) || at.UnmarshalJSON([]byte(text)) != nil {
		return 0, fmt.Errorf(notMoment, text)
	}
	return at, nil
}

// moment is a time as the bus writes it; "" when it is none.
func (q *query) moment(name string) string {
	at, err := momentOf(q.text(name))
	if err != nil {
		q.mistake(name, err.Error())
		return ""
	}
	return string(at.AppendSeconds(nil))
}

// moment is a time by RFC 3339, or POSIX seconds as a number or a text; nil when
// there is none.
func (b *body) moment(name string) *device.Micros {
	if !b.has(name) {
		return nil
	}
	text, _ := wordsOf(b.members[name])
	at, err := momentOf(text)
	if err != nil {
		b.mistake(name, err.Error())
		return nil
	}
	return &at
}

// changesAlerting is a command about a rule or a receiver. Created things are 201,
// and their answer says where they are.
func (s *Server) changesAlerting(resource, verb string) fiber.Handler {
	return func(c *fiber.Ctx) error {
		r, err := s.beginCommand(c, verb)
		if err != nil {
			return err
		}
		if verb == "create" || verb == "change" {
			b, err := readBody(c)
			if err != nil {
				return err
			}
			if r.Content, err = json.Marshal(b.members); err != nil {
				return err
			}
		}
		return s.commandAlerting(c, resource, r)
	}
}

// commandAlerting does it and answers.
func (s *Server) commandAlerting(c *fiber.Ctx, resource string, r contract.RegistryRequest) error {
	answer, err := s.askAlerting("command", resource, r)
	if err != nil {
		return err
	}
	var names struct{ ID, Name string }
	_ = json.Unmarshal(answer.Content, &names) // empty names are nobody's
	if r.Verb == "create" && r.Key == "" {
		r.Key = names.Name + names.ID // of a rule, of a maintenance window
	}
	status := http.StatusOK
	if r.Verb == "create" && !r.DryRun {
		status = http.StatusCreated
		if topicLevel.MatchString(r.Key) {
			c.Set(fiber.HeaderLocation, alertsRoute+"/"+resource+"/"+r.Key)
		}
	}
	return sendAlerting(c, status, answer)
}
