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

// auditCursor is where a page ended in each of the logs: the registry's, that of
// the switches, the alerting's.
type auditCursor [3]auditPosition

// auditPosition is where a page ended in one log; the zero value is its begin.
type auditPosition struct {
	Cursor string `json:"c,omitempty"`
	Done   bool   `json:"d,omitempty"`
}

// auditPage is a page of one of the logs, newest first; Next is where it ended,
// empty at the log's end.
type auditPage struct {
	Items []contract.Audited
	Next  string
}

// auditLog asks one of the logs for its page behind a cursor.
type auditLog func(cursor string, limit int) (auditPage, error)

// audit is GET /api/v1/audit: what the logs of the registry, of the switches and
// of the alerting say, newest first.
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
	filter := q.auditFilter()
	var out auditAnswer
	// What the registry knows is told even where others are silent. What came up
	// on a later page would be out of its order, so there is none of it then.
	spared := func(what string, log auditLog) auditLog {
		return func(cursor string, limit int) (auditPage, error) {
			page, err := log(cursor, limit)
			if p := problemOf(err); err != nil && p.Status >= http.StatusInternalServerError {
				out.Warnings = append(out.Warnings, what+" are missing here: "+p.Detail)
				return auditPage{}, nil
			}
			return page, err
		}
	}
	logs := [...]auditLog{
		s.registryLog(c, filter), spared("switches", s.switchLog(filter)), spared("changes of alerts and their rules", s.alertLog(c, filter)),
	}
	entries, next, err := mergeAudit(logs, at, limit)
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

// auditFilter are the parameters that narrow a log, as they came.
func (q *query) auditFilter() map[string]string {
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
	return filter
}

// registryLog is the registry's: changes of it, and refusals.
func (s *Server) registryLog(c *fiber.Ctx, filter map[string]string) auditLog {
	return componentLog(s.askRegistry, "the registry", callerOf(c).who, filter)
}

// alertLog is the alerting's: what was hushed, and changes of rules.
func (s *Server) alertLog(c *fiber.Ctx, filter map[string]string) auditLog {
	return componentLog(s.askAlerting, "the alerting", callerOf(c).who, filter)
}

// componentLog is that of a component which takes the registry's requests.
func componentLog(ask func(family, resource string, r contract.RegistryRequest) (contract.RegistryAnswer, error), name, who string, filter map[string]string) auditLog {
	return func(cursor string, limit int) (page auditPage, err error) {
		answer, err := ask("query", "audit", contract.RegistryRequest{Verb: "list", Filter: filter, Cursor: cursor, Limit: limit, Who: who})
		if err != nil {
			return page, err
		}
		page.Next = answer.Next
		if json.Unmarshal(answer.Content, &page.Items) != nil {
			return page, fmt.Errorf("%w: %s gave no audit log", errBadAnswer, name)
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

// mergeAudit makes one page of all logs. None tells where each of its entries
// is, only where a page ends; so a log of which a page is used in part is asked
// once more for just that part.
func mergeAudit(logs [len(auditCursor{})]auditLog, at auditCursor, limit int) (entries []contract.Audited, next *auditCursor, err error) {
	var pages [len(logs)]auditPage
	var used [len(logs)]int
	until := none // behind the end of a page that has more nothing is known of that log
	for i, log := range logs {
		if at[i].Done {
			continue
		}
		if pages[i], err = log(at[i].Cursor, limit); err != nil {
			return nil, nil, err
		}
		until = max(until, horizon(pages[i]))
	}
	for len(entries) < limit {
		newest := 0
		for i := range pages {
			if head(pages[i], used[i]) > head(pages[newest], used[newest]) {
				newest = i
			}
		}
		if at := head(pages[newest], used[newest]); at < until || at == none {
			break
		}
		entries = append(entries, pages[newest].Items[used[newest]])
		used[newest]++
	}
	after, done := at, true
	for i, log := range logs {
		if after[i], err = resume(log, at[i], pages[i], used[i]); err != nil {
			return nil, nil, err
		}
		done = done && after[i].Done
	}
	if done {
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
func resume(log auditLog, at auditPosition, p auditPage, used int) (auditPosition, error) {
	switch {
	case at.Done:
		return at, nil
	case used == len(p.Items):
		return auditPosition{p.Next, p.Next == ""}, nil
	case used == 0:
		return at, nil
	}
	part, err := log(at.Cursor, used)
	return auditPosition{part.Next, part.Next == ""}, err // a log that fell silent meanwhile has ended
}
