package alertmanager

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wattline/wattline/cloud/alerting/wording"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// wire is one alert as POST /api/v2/alerts takes it (openapi.yaml, postableAlert).
// Its labels are its identity.
type wire struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations,omitempty"`
	StartsAt    time.Time         `json:"startsAt"`
	EndsAt      time.Time         `json:"endsAt"`
	Generator   string            `json:"generatorURL,omitempty"`
}

// Limits in characters.
const (
	maxLabel      = 200
	maxAnnotation = 1000
	maxNamed      = 10 // covered subjects
)

// encode says until when an alert counts if nobody says more: now + valid.
func encode(a contract.Alert, site, link string, now time.Time, valid time.Duration) wire {
	w := wire{
		Labels: said(maxLabel, map[string]string{
			"alertname": a.Rule, "severity": string(a.Severity), "subject": a.Subject, "device": place(a.Device),
			"gateway": a.Gateway, "floor": number(a.Floor), "site": site,
		}),
		Annotations: said(maxAnnotation, map[string]string{
			"summary": a.Summary, "advice": a.Advice, "value": wording.Value(a), "place": a.Label, "covers": covered(a),
			"hushed": hushed(a.Hushed), "flapping": flapping(a.Flapping),
		}),
		Generator: link,
	}
	// Of measurement time and the time at which it was noticed the earlier one: a
	// source whose clock is ahead begins nothing in the future. Both stay as they are
	// while the alert fires, and so does this.
	begin := a.Since
	if a.Fired != 0 {
		begin = min(begin, a.Fired)
	}
	w.StartsAt = begin.Time()
	if a.Ended != 0 {
		w.EndsAt = earlier(a.Ended.Time(), now)
	} else {
		w.EndsAt = now.Add(valid).UTC()
	}
	if w.EndsAt.Before(w.StartsAt) { // Alertmanager refuses that
		w.EndsAt = w.StartsAt
	}
	return w
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b.UTC()
	}
	return a
}

func place(id device.ID) string {
	if id == (device.ID{}) {
		return ""
	}
	return id.String()
}

func number(floor *int) string {
	if floor == nil {
		return ""
	}
	return strconv.Itoa(*floor)
}

func flapping(yes bool) string {
	if yes {
		return "comes and goes"
	}
	return ""
}

func hushed(h *contract.Hushed) string {
	switch {
	case h == nil:
		return ""
	case h.Until == 0:
		return fmt.Sprintf("acknowledged by %s: %s", h.Who, cmp.Or(h.Reason, "no reason given"))
	default:
		return fmt.Sprintf("until %s by %s: %s", h.Until.Time().Format(time.RFC3339), h.Who, cmp.Or(h.Reason, "no reason given"))
	}
}

func covered(a contract.Alert) string {
	named := a.Covers[:min(len(a.Covers), maxNamed)]
	list := strings.Join(named, ", ")
	if more := len(a.Covers) - len(named) + a.CoversMore; more > 0 && list != "" {
		list += fmt.Sprintf(" and %d more", more)
	}
	return list
}

// said makes lines of the texts and leaves out what is empty.
func said(most int, texts map[string]string) map[string]string {
	for key, text := range texts {
		texts[key] = wording.Shorten(wording.Line(text), most)
	}
	maps.DeleteFunc(texts, func(_, text string) bool { return text == "" })
	return texts
}

// current picks what is pushed: of alerts with one identity only the newest, since
// an older one that is over would resolve one that fires again. What was learned
// too late to raise an alarm is none.
func current(alerts []contract.Alert, from contract.Severity) []contract.Alert {
	type identity struct{ rule, subject string }
	newest := make(map[identity]contract.Alert, len(alerts))
	for _, a := range alerts {
		if a.Late || wording.Rank(a.Severity) > wording.Rank(from) {
			continue
		}
		key := identity{a.Rule, a.Subject}
		if old, there := newest[key]; !there || newer(a, old) {
			newest[key] = a
		}
	}
	return slices.SortedFunc(maps.Values(newest), func(a, b contract.Alert) int {
		return cmp.Or(cmp.Compare(a.Since, b.Since), cmp.Compare(a.ID, b.ID))
	})
}

func newer(a, b contract.Alert) bool {
	if (a.Ended == 0) != (b.Ended == 0) {
		return a.Ended == 0
	}
	return a.Since > b.Since
}
