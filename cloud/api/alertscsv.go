package api

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

var alertColumns = []string{
	"id", "rule", "severity", "state", "device", "gateway", "floor", "label", "since", "fired", "ended", "value", "unit", "flapping", "late",
	"hushed_by", "hushed_until", "summary", "advice",
}

// alertNumbers are the columns in which what begins with - is a number.
var alertNumbers = []string{"floor", "value"}

// sendAlertsCSV sends a page as lines (RFC 4180). Where the next one is stands in
// the header Link (RFC 8288).
func sendAlertsCSV(c *fiber.Ctx, q *query, items json.RawMessage, next string) error {
	var all []contract.Alert
	if json.Unmarshal(items, &all) != nil {
		return fmt.Errorf("%w: the alerting gave no alerts", errBadAnswer)
	}
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.UseCRLF = true
	_ = w.Write(alertColumns) // a buffer takes everything
	for _, a := range all {
		_ = w.Write(cellsOf(a))
	}
	w.Flush()
	if next != "" {
		more := url.Values{"cursor": {*cursorOf(next)}}
		for _, name := range q.order {
			if name != "cursor" {
				more.Set(name, q.text(name))
			}
		}
		c.Set(fiber.HeaderLink, "<"+alertsRoute+"?"+more.Encode()+`>; rel="next"`)
	}
	c.Set(fiber.HeaderContentType, csvType+"; charset=utf-8; header=present")
	return c.Send(b.Bytes())
}

func cellsOf(a contract.Alert) []string {
	at := func(m device.Micros) string {
		if m == 0 {
			return ""
		}
		return string(appendTime(nil, m, m.Time().Location()))
	}
	place, floor, value, by, until := "", "", "", "", ""
	if !a.Device.IsZero() {
		place = a.Device.String()
	}
	if a.Floor != nil {
		floor = strconv.Itoa(*a.Floor)
	}
	if a.Value != nil {
		value = strconv.FormatFloat(*a.Value, 'g', -1, 64)
	}
	if a.Hushed != nil {
		by, until = a.Hushed.Who, at(a.Hushed.Until)
	}
	cells := []string{
		a.ID, a.Rule, string(a.Severity), string(a.State), place, a.Gateway, floor, a.Label, at(a.Since), at(a.Fired), at(a.Ended), value, a.Unit,
		strconv.FormatBool(a.Flapping), strconv.FormatBool(a.Late), by, until, a.Summary, a.Advice,
	}
	for i := range cells {
		if !slices.Contains(alertNumbers, alertColumns[i]) {
			cells[i] = harmless(cells[i])
		}
	}
	return cells
}

// harmless keeps a spreadsheet from taking what somebody has called a place for a
// formula, as OWASP advises (CSV Injection); numbers and times stay as they are.
func harmless(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r\n", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}
