package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

const (
	// alerter is the component that watches, and knows what fires and what did.
	alerter = "alerting"

	alertsRoute = "/api/v1/alerts"
)

// alertParameters are the filters of the list, which the alerting judges, and its
// page.
var alertParameters = []string{
	"id", "state", "rule", "severity", "device", "gateway", "floor", "from", "to", "late", "limit", "cursor",
}

// alertSeconds is a time as the bus writes it, in what the alerting answers.
var alertSeconds = regexp.MustCompile(`"(at|since|fired|ended|until|from|to|failing_since|last_sent)":(-?[0-9]+(?:\.[0-9]+)?)([,}])`)

// alertRoutes see to what is wrong. The one with the rest of the path is the
// last: ids of alerts have slashes.
func (s *Server) alertRoutes(app *fiber.App) {
	at := func(method, path string, needs access, handle fiber.Handler) {
		s.route(app, method, alertsRoute+path, needs, handle)
	}
	at(http.MethodGet, "", looks, s.alerts)
	at(http.MethodPost, "/acknowledge", switches, s.hushes("acknowledge"))
	at(http.MethodPost, "/snooze", switches, s.hushes("snooze"))
	at(http.MethodPost, "/wake", switches, s.hushes("wake"))
	at(http.MethodGet, "/statistics", looksAll, s.alertStatistics)
	at(http.MethodGet, "/rules", looksAll, s.alertRules)
	at(http.MethodPost, "/rules", changes, s.changesAlerting("rules", "create"))
	at(http.MethodGet, "/rules/:id", looksAll, s.alertRule)
	at(http.MethodPut, "/rules/:id", changes, s.changesAlerting("rules", "change"))
	at(http.MethodDelete, "/rules/:id", changes, s.changesAlerting("rules", "delete"))
	at(http.MethodGet, "/rules.yaml", looksAll, s.exportRules)
	at(http.MethodPut, "/rules.yaml", changes, s.importRules)
	at(http.MethodGet, "/maintenance", looks, s.maintenance)
	at(http.MethodPost, "/maintenance", switches, s.createMaintenance)
	at(http.MethodDelete, "/maintenance/:id", switches, s.deleteMaintenance)
	at(http.MethodGet, "/receivers", looksAll, s.alertReceivers)
	at(http.MethodPost, "/receivers/:id/test", changes, s.changesAlerting("receivers", "test"))
	at(http.MethodGet, "/audit", changes, s.alertAudit)
	at(http.MethodGet, "/*", looks, s.alert)
}

// askAlerting asks and gives the answer; a problem in it is an error.
func (s *Server) askAlerting(family, resource string, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	return s.askAs(alerter, family, resource, r, s.config.HTTP.AnswerTimeout)
}

// sendAlerting sends what the alerting has answered, with times by RFC 3339.
func sendAlerting(c *fiber.Ctx, status int, answer contract.RegistryAnswer) error {
	answer.Content = datedBy(alertSeconds, answer.Content)
	return sendAsIs(c, status, answer)
}

// alerts is GET /api/v1/alerts, newest first, as JSON or CSV; with ?id= the one.
func (s *Server) alerts(c *fiber.Ctx) error {
	q := readQuery(c)
	q.allow(alertParameters...)
	if q.values["id"] != nil {
		if len(q.order) > 1 {
			q.mistake("id", "names one alert, and so goes with no other parameter")
		}
		if err := mistaken(q.mistakes); err != nil {
			return err
		}
		return s.sendAlert(c, q.text("id"))
	}
	accept, err := negotiate(c, fiber.MIMEApplicationJSON, csvType)
	if err != nil {
		return err
	}
	r, err := s.requestOf(c, "list")
	if err != nil {
		return err
	}
	r.Limit, r.Cursor = q.paging()
	r.Filter = q.alertFilter()
	if err := s.ownAlerts(c, q.numbers("floor"), r.Filter); err != nil {
		return err
	}
	if err := mistaken(q.mistakes); err != nil {
		return err
	}
	answer, err := s.askAlerting("query", "alerts", r)
	if err != nil {
		return err
	}
	items, err := s.ownOnly(callerOf(c), answer.Content)
	if err != nil {
		return err
	}
	if accept == csvType {
		return sendAlertsCSV(c, q, items, answer.Next)
	}
	return sendPage(c, datedBy(alertSeconds, items), answer.Next)
}

// alertFilter are the parameters that narrow a list, with times as the bus has
// them.
func (q *query) alertFilter() map[string]string {
	filter := map[string]string{}
	for _, name := range q.order {
		switch name {
		case "limit", "cursor":
		case "from", "to":
			filter[name] = q.moment(name)
		default:
			filter[name] = q.text(name)
		}
	}
	return filter
}

// ownAlerts keeps a question to the caller's floors: others are refused, and who
// names none means his own.
func (s *Server) ownAlerts(c *fiber.Ctx, floors []int, filter map[string]string) error {
	who := callerOf(c)
	switch {
	case who.floors == nil:
		return nil
	case filter["floor"] != "":
		return s.ownFloors(c, floors)
	}
	own := make([]string, len(who.floors))
	for i, f := range who.floors {
		own[i] = fmt.Sprint(f)
	}
	filter["floor"] = strings.Join(own, ",")
	return nil
}

// seesAlert tells whether an alert is on a floor of the caller's. What is about
// the whole site is on none.
func (w caller) seesAlert(alert json.RawMessage) bool {
	var where struct{ Floor *int }
	return w.floors == nil || json.Unmarshal(alert, &where) == nil && where.Floor != nil && w.may(*where.Floor)
}

// ownOnly takes what is on other floors out of a list, whatever was asked for: the
// alerting knows nothing of who may see what.
func (s *Server) ownOnly(who caller, list json.RawMessage) (json.RawMessage, error) {
	if !isArray(list) {
		return nil, fmt.Errorf("%w: the alerting gave no list", errBadAnswer)
	}
	if who.floors == nil {
		return list, nil
	}
	var all []json.RawMessage
	if json.Unmarshal(list, &all) != nil {
		return nil, fmt.Errorf("%w: the alerting gave no list", errBadAnswer)
	}
	all = slices.DeleteFunc(all, func(one json.RawMessage) bool { return !who.seesAlert(one) })
	for i := range all {
		all[i] = s.ownCovers(who, all[i])
	}
	return json.Marshal(all)
}

// ownCovers takes what is on other floors out of what an alert covers: a gateway may
// serve several.
func (s *Server) ownCovers(who caller, alert json.RawMessage) json.RawMessage {
	const covers = "covers"
	var members map[string]json.RawMessage
	var subjects []string
	if who.floors == nil || json.Unmarshal(alert, &members) != nil || members[covers] == nil || json.Unmarshal(members[covers], &subjects) != nil {
		return alert
	}
	own := slices.DeleteFunc(subjects, func(subject string) bool { return !s.seesSubject(who, subject) })
	delete(members, covers)
	if len(own) > 0 {
		members[covers], _ = json.Marshal(own) // texts
	}
	cut, err := json.Marshal(members)
	if err != nil {
		return alert
	}
	return cut
}

// seesSubject tells whether a device or a gateway is on a floor of the caller's.
func (s *Server) seesSubject(who caller, subject string) bool {
	if g, ok := s.house.Gateway(subject); ok && g.Info != nil {
		return who.may(g.Info.Floor)
	}
	id, err := device.Parse(subject)
	if err != nil {
		return false
	}
	site, _ := s.house.Site()
	floor, _ := id.On(site.DefaultFloor).Floor()
	return who.may(floor)
}

// alert is GET /api/v1/alerts/<id>, the slashes of the id escaped or not.
func (s *Server) alert(c *fiber.Ctx) error {
	if err := noParameters(c); err != nil {
		return err
	}
	id, err := url.PathUnescape(c.Params("*"))
	if err != nil || !utf8.ValidString(id) {
		return mistaken([]mistake{{Parameter: "id", Detail: "not well escaped"}})
	}
	return s.sendAlert(c, id)
}

func (s *Server) sendAlert(c *fiber.Ctx, id string) error {
	answer, err := s.knownAlert(c, id)
	if err != nil {
		return err
	}
	return sendAlerting(c, http.StatusOK, answer)
}

// knownAlert asks for one alert. To whom it is invisible it is as unknown as one
// that never was.
func (s *Server) knownAlert(c *fiber.Ctx, id string) (contract.RegistryAnswer, error) {
	r, err := s.requestOf(c, "get")
	if err != nil {
		return contract.RegistryAnswer{}, err
	}
	r.Key = id
	answer, err := s.askAlerting("query", "alerts", r)
	who := callerOf(c)
	if who.floors == nil {
		return answer, err
	}
	answer.Content = s.ownCovers(who, answer.Content)
	p, refused := errors.AsType[*problem](err)
	if err == nil && !who.seesAlert(answer.Content) || refused && p.Status == http.StatusNotFound {
		return contract.RegistryAnswer{}, newProblem(http.StatusNotFound, fmt.Sprintf("there is no alert %.300s on %s, to which the token %q is limited", id, floorsText(who.floors), who.who))
	}
	return answer, err
}
