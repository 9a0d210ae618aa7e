package api

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// auditFilters are those that both logs understand: who, what, object and
// result exactly, or what they begin with before a *; from <= at < to.
var auditFilters = []string{"who", "what", "object", "result", "from", "to", "limit", "cursor"}

// auditView is an entry as clients see it.
type auditView struct {
	At     stamp  `json:"at"`
	Who    string `json:"who"`
	What   string `json:"what"`
	Object string `json:"object,omitempty"`
	Reason string `json:"reason,omitempty"`
	Result string `json:"result"`
	Detail string `json:"detail,omitempty"`
	From   string `json:"from,omitempty"`
}

// auditAnswer is a page of the audit log, and what is not in it.
type auditAnswer struct {
	page[auditView]

	Warnings []string `json:"warnings,omitempty"`
}

// auditCursor is where a page ended in each of the two logs.
type auditCursor struct {
	Registry, Switches         string
	RegistryDone, SwitchesDone bool
}

// auditPage is a page of one of the logs, newest first; Next is where it ended,
// empty at the log's end.
type auditPage struct {
	Items []contract.Audited
	Next  string
}

// auditLog asks one of the logs for its page behind a cursor.
type auditLog func(cursor string, limit int) (auditPage, error)

// audit is GET /api/v1/audit: what the registry's log and that of the switches
// say, newest first.
func (s *Server) audit(c *fiber.Ctx) error {
	q := readQuery(c)
	q.allow(auditFilters...)
	limit, text := q.paging()
	var at auditCursor
	if text != "" && json.Unmarshal([]byte(text), &at) != nil {
		q.mistake("cursor", "no cursor of this list")
	}
	if err := mistaken(q.mistakes); err != nil {
		return err
	}
	filter := map[string]string{}
	for _, name := range q.order {
		if name != "limit" && name != "cursor" {
			filter[name] = q.text(name)
		}
	}
	for _, name := range []string{"from", "to"} {
		if v, given := filter[name]; given {
			filter[name] = lostPlus.ReplaceAllString(v, "$1+$2")
		}
	}
	var out auditAnswer
	switched := func(cursor string, limit int) (auditPage, error) {
		page, err := s.switchLog(filter)(cursor, limit)
		if p := problemOf(err); err != nil && p.Status >= http.StatusInternalServerError {
			// What the registry knows is told all the same. A switch that came up on
			// a later page would be out of its order, so there are none in this list.
			out.Warnings = []string{"switches are missing here: " + p.Detail}
			return auditPage{}, nil
		}
		return page, err
	}
	entries, next, err := mergeAudit(s.registryLog(c, filter), switched, at, limit)
	if err != nil {
		return err
	}
	out.Items = make([]auditView, 0, len(entries))
	for _, e := range entries {
		out.Items = append(out.Items, auditView{stamp(e.At), e.Who, e.What, e.Object, e.Reason, e.Result, e.Detail, e.From})
	}
	if next != nil {
		text, err := json.Marshal(next)
		if err != nil {
			return err
		}
		cursor := base64.RawURLEncoding.EncodeToString(text)
		out.Next = &cursor
	}
	return c.JSON(out)
}

// registryLog is the registry's: changes of it, and refusals.
func (s *Server) registryLog(c *fiber.Ctx, filter map[string]string) auditLog {
	who := callerOf(c).who
	return func(cursor string, limit int) (page auditPage, err error) {
		answer, err := s.askRegistry("query", "audit", contract.RegistryRequest{Verb: "list", Filter: filter, Cursor: cursor, Limit: limit, Who: who})
		if err != nil {
			return page, err
		}
		page.Next = answer.Next
		if json.Unmarshal(answer.Content, &page.Items) != nil {
			return page, fmt.Errorf("%w: the registry gave no audit log", errBadAnswer)
		}
		return page, nil
	}
}

// switchLog is that of the switches, which the storage holds.
func (s *Server) switchLog(filter map[string]string) auditLog {
	return func(cursor string, limit int) (page auditPage, err error) {
		asked := map[string]string{"limit": fmt.Sprint(limit), "cursor": cursor}
		maps.Copy(asked, filter)
		data, err := json.Marshal(asked)
		if err != nil {
			return page, err
		}
		topic, err := bus.Query(keeper, switchesPath)
		if err != nil {
			return page, err
		}
		answer, err := s.ask(question{topic: topic, data: data, wait: s.config.HTTP.AnswerTimeout})
		if err != nil {
			return page, err
		}
		if err := componentProblem(keeper, answer); err != nil {
			return page, err
		}
		if json.Unmarshal(answer.Data, &page) != nil {
			return page, fmt.Errorf("%w: %s gave no audit log", errBadAnswer, keeper)
		}
		return page, nil
	}
}

// switchesPath is where ledger_query tells who switched what.
const switchesPath = "switches"

// mergeAudit makes one page of both logs. Neither tells where each of its
// entries is, only where a page ends; so a log of which a page is used in part
// is asked once more for just that part.
func mergeAudit(registry, switched auditLog, at auditCursor, limit int) (entries []contract.Audited, next *auditCursor, err error) {
	read := func(log auditLog, cursor string, done bool, limit int) (auditPage, error) {
		if done {
			return auditPage{}, nil
		}
		return log(cursor, limit)
	}
	changes, err := read(registry, at.Registry, at.RegistryDone, limit)
	if err != nil {
		return nil, nil, err
	}
	acts, err := read(switched, at.Switches, at.SwitchesDone, limit)
	if err != nil {
		return nil, nil, err
	}
	// Behind the end of a page that has more nothing is known of that log.
	until := max(horizon(changes), horizon(acts))
	i, k := 0, 0
	for len(entries) < limit {
		a, b := head(changes, i), head(acts, k)
		if max(a, b) < until || max(a, b) == none {
			break
		}
		if a >= b {
			entries = append(entries, changes.Items[i])
			i++
		} else {
			entries = append(entries, acts.Items[k])
			k++
		}
	}
	after := at
	if after.Registry, after.RegistryDone, err = resume(registry, at.Registry, at.RegistryDone, changes, i); err != nil {
		return nil, nil, err
	}
	if after.Switches, after.SwitchesDone, err = resume(switched, at.Switches, at.SwitchesDone, acts, k); err != nil {
		return nil, nil, err
	}
	if after.RegistryDone && after.SwitchesDone {
		return entries, nil, nil
	}
	return entries, &after, nil
}

const none = device.Micros(-1 << 62)

func head(p auditPage, i int) device.Micros {
	if i < len(p.Items) {
		return p.Items[i].At
	}
	return none
}

// horizon is the time of the last entry of a page that others follow; of a page
// that has none, for a log may stop looking, nothing is known at all.
func horizon(p auditPage) device.Micros {
	switch {
	case p.Next == "":
		return none
	case len(p.Items) == 0:
		return -none
	}
	return slices.MinFunc(p.Items, func(a, b contract.Audited) int { return cmp.Compare(a.At, b.At) }).At
}

// resume is where the next page begins in a log of whose page the first used
// entries were used.
func resume(log auditLog, cursor string, done bool, p auditPage, used int) (string, bool, error) {
	switch {
	case done:
		return cursor, true, nil
	case used == len(p.Items):
		return p.Next, p.Next == "", nil
	case used == 0:
		return cursor, false, nil
	}
	part, err := log(cursor, used)
	return part.Next, false, err
}
