package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/api"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
)

// pageOf gives a page of a log, newest first, of which it looks at 60 entries at
// most; the cursor is a position.
func pageOf(log []contract.Audited, cursor string, limit int) (page []contract.Audited, next string) {
	begin := 0
	if cursor != "" {
		begin, _ = strconv.Atoi(cursor)
	}
	end := min(begin+min(limit, 60), len(log))
	page = append([]contract.Audited{}, log[begin:end]...)
	if end < len(log) {
		next = strconv.Itoa(end)
	}
	return page, next
}

func TestTheAuditLogsAreOneNewestFirst(t *testing.T) {
	s := start(t)
	var changes, switches, hushes []contract.Audited
	random := rand.New(rand.NewPCG(1, 2))
	for n := 200; n > 0; n-- {
		e := contract.Audited{At: device.Micros(n/2) * 1e6, Who: "ana", What: fmt.Sprint(n), Result: "done"} // pairs of one time
		switch random.IntN(5) {
		case 0:
			changes = append(changes, e)
		case 1:
			hushes = append(hushes, e)
		default:
			switches = append(switches, e)
		}
	}
	s.registry(func(r registered) contract.RegistryAnswer {
		page, next := pageOf(changes, r.Cursor, r.Limit)
		content, _ := json.Marshal(page)
		return contract.RegistryAnswer{Content: content, Next: next}
	})
	s.component(hook.Queries, "ledger_query", func(_ context.Context, r hook.Request, w *hook.Answer) error {
		var asked map[string]string
		if err := json.Unmarshal(r.Data, &asked); err != nil || r.Subpath != "switches" {
			return fmt.Errorf("%s %s %w", r.Subpath, r.Data, err)
		}
		limit, _ := strconv.Atoi(asked["limit"])
		page, next := pageOf(switches, asked["cursor"], limit)
		data, err := json.Marshal(map[string]any{"items": page, "next": next})
		w.Send(data, nil)
		return err
	})
	s.alerting(func(r registered) contract.RegistryAnswer {
		page, next := pageOf(hushes, r.Cursor, r.Limit)
		return contract.RegistryAnswer{Content: content(t, page), Next: next}
	})
	for _, limit := range []int{1, 7, 50, 1000} {
		var got []string
		last := time.Now()
		cursor := ""
		for range 300 {
			var page struct {
				Items []struct {
					At   time.Time
					What string
				}
				Next     *string
				Warnings []string
			}
			path := fmt.Sprintf("/api/v1/audit?limit=%d", limit)
			if cursor != "" {
				path += "&cursor=" + cursor
			}
			s.get(path).json(&page)
			if len(page.Items) > limit || page.Warnings != nil {
				t.Fatalf("%d entries, %v", len(page.Items), page.Warnings)
			}
			for _, e := range page.Items {
				if e.At.After(last) {
					t.Errorf("limit %d: %s at %v comes after %v", limit, e.What, e.At, last)
				}
				last = e.At
				got = append(got, e.What)
			}
			if page.Next == nil {
				break
			}
			cursor = *page.Next
		}
		slices.Sort(got)
		if n := len(slices.Compact(got)); n != 200 || len(got) != 200 {
			t.Errorf("limit %d: %d entries, %d different", limit, len(got), n)
		}
	}
}

func TestTheAuditLogDoesWithoutTheOthers(t *testing.T) {
	s := start(t, func(c *api.Config) { c.HTTP.AnswerTimeout = 100 * time.Millisecond })
	heard := s.registry(func(registered) contract.RegistryAnswer {
		return contract.RegistryAnswer{Content: json.RawMessage(`[{"at":1,"who":"ana","what":"change site","result":"done"}]`)}
	})
	r := s.get("/api/v1/audit?who=ana&what=change*&from=2026-01-01T00:00:00+02:00")
	r.is(http.StatusOK, "")
	for _, words := range []string{`"at":"1970-01-01T00:00:01Z"`, `"next":null`, "switches are missing", "ledger_query", "changes of alerts and their rules are missing", "alerting"} {
		if !strings.Contains(string(r.body), words) {
			t.Errorf("%s has no %s", r.body, words)
		}
	}
	if got := (<-heard).Filter; got["who"] != "ana" || got["what"] != "change*" || got["from"] != "2026-01-01T00:00:00+02:00" {
		t.Errorf("asked with %v", got)
	}
}
