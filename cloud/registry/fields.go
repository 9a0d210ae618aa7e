package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wattline/wattline/cloud/registry/inventory"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// member is a member of a request's content: how its JSON is taken into a
// record. null has come as no text.
type member[T any] struct {
	number bool   // else a text
	field  string // of the inventory
	unit   string // that a number gets for the inventory
	set    func(record *T, field, text string) error
}

var siteMembers = map[string]member[inventory.Site]{
	"name":          {field: "name", set: (*inventory.Site).Set},
	"time_zone":     {field: "time_zone", set: (*inventory.Site).Set},
	"default_floor": {number: true, field: "default_floor", set: (*inventory.Site).Set},
	"rows":          {number: true, field: "rows", set: (*inventory.Site).Set},
	"columns":       {number: true, field: "columns", set: (*inventory.Site).Set},
}

var gatewayMembers = map[string]member[inventory.Gateway]{
	"label":        {field: "label", set: (*inventory.Gateway).Set},
	"floor":        {number: true, field: "floor", set: (*inventory.Gateway).Set},
	"poll_seconds": {number: true, field: "poll", unit: "s", set: (*inventory.Gateway).Set},
	"stagger_ms":   {number: true, field: "stagger", unit: "ms", set: (*inventory.Gateway).Set},
	"database":     {field: "database", set: (*inventory.Gateway).Set},
}

var placeMembers = map[string]member[inventory.Place]{
	"gateway":      {field: "gateway", set: setGatewayOf},
	"driver":       {field: "driver", set: setDriverOf},
	"address":      {field: "address", set: (*inventory.Place).Set},
	"device_id":    {field: "device_id", set: (*inventory.Place).Set},
	"mac":          {field: "mac", set: (*inventory.Place).Set},
	"label":        {field: "label", set: (*inventory.Place).Set},
	"owner":        {field: "owner", set: (*inventory.Place).Set},
	"protected":    {field: "protected", set: (*inventory.Place).Set},
	"max_power_w":  {number: true, field: "max_power", set: (*inventory.Place).Set},
	"poll_seconds": {number: true, field: "poll", unit: "s", set: (*inventory.Place).Set},
	"predecessor":  {field: "predecessor", set: (*inventory.Place).Set},
}

// setGatewayOf takes no gateway for the only one on the floor.
func setGatewayOf(p *inventory.Place, field, text string) error {
	if text == "" {
		p.Gateway = ""
		return nil
	}
	return p.Set(field, text)
}

func setDriverOf(p *inventory.Place, field, text string) error {
	if text == "" {
		text = inventory.DefaultDriver
	}
	return p.Set(field, text)
}

// object reads a request's content, which must be a JSON object.
func object(content json.RawMessage) (map[string]json.RawMessage, *contract.Problem) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(content, &members); err != nil || members == nil {
		return nil, &contract.Problem{Kind: contract.Invalid, Detail: "the content must be a JSON object with what to set"}
	}
	return members, nil
}

// merge applies a JSON merge patch (RFC 7396) to a record: members that are not
// there stay as they are, null takes a value away. fixed are members that a
// record shows and nobody sets: they may come back as they are. Mistakes are all
// named.
func merge[T any](record *T, patch map[string]json.RawMessage, members map[string]member[T], fixed map[string]string) (mistakes []contract.Mistake) {
	for _, name := range slices.Sorted(maps.Keys(patch)) {
		m, known := members[name]
		if value, shown := fixed[name]; shown {
			if value != "" && string(bytes.TrimSpace(patch[name])) != value {
				mistakes = append(mistakes, contract.Mistake{Field: name, Detail: fmt.Sprintf("it is %s and is never changed", value)})
			}
			continue
		}
		if !known {
			mistakes = append(mistakes, contract.Mistake{Field: name, Detail: fmt.Sprintf("no such member; there are %s", strings.Join(slices.Sorted(maps.Keys(members)), ", "))})
			continue
		}
		text, err := textOf(patch[name], m.number)
		if err == nil {
			if text != "" {
				text += m.unit
			}
			err = m.set(record, m.field, text)
		}
		if err != nil {
			mistakes = append(mistakes, contract.Mistake{Field: name, Detail: err.Error()})
		}
	}
	return mistakes
}

// textOf is the text of a JSON string or number; "" of null.
func textOf(value json.RawMessage, number bool) (string, error) {
	if string(bytes.TrimSpace(value)) == "null" {
		return "", nil
	}
	if number {
		var f float64
		if err := json.Unmarshal(value, &f); err != nil {
			return "", fmt.Errorf("%.40s is not a number", value)
		}
		return strconv.FormatFloat(f, 'f', -1, 64), nil
	}
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return "", fmt.Errorf("%.40s is not a text", value)
	}
	return strings.TrimSpace(s), nil
}

// The records of the inventory and those of the registry.

func toSite(s *contract.Site) inventory.Site {
	return inventory.Site{Name: s.Name, DefaultFloor: s.DefaultFloor, TimeZone: s.TimeZone, Rows: s.Rows, Columns: s.Columns}
}

func fromSite(s inventory.Site) contract.Site {
	return contract.Site{Name: s.Name, DefaultFloor: s.DefaultFloor, TimeZone: s.TimeZone, Rows: s.Rows, Columns: s.Columns}
}

func toGateway(g *gateway) inventory.Gateway {
	return inventory.Gateway{
		ID: g.Gateway, Label: g.Label, Floor: g.Floor, Poll: seconds(g.PollSeconds),
		Stagger: time.Duration(g.StaggerMillis) * time.Millisecond, Database: g.Database, Discovery: inventory.DiscoveryText(g.Discovery),
	}
}

func fromGateway(g inventory.Gateway, before *gateway) gateway {
	r := gateway{
		Gateway: g.ID, Label: g.Label, Floor: g.Floor, PollSeconds: g.Poll.Seconds(),
		StaggerMillis: int(g.Stagger.Milliseconds()), Database: g.Database,
	}
	if before != nil && inventory.DiscoveryText(before.Discovery) == g.Discovery {
		r.Discovery = before.Discovery
	} else if d, err := inventory.ParseDiscovery(g.Discovery); err == nil { // the inventory has checked it
		r.Discovery = d
	}
	return r
}

func toPlace(p *contract.Place) inventory.Place {
	return inventory.Place{
		Device: p.Device, Gateway: p.Gateway, Driver: p.Driver, Address: p.Address, DeviceID: p.DeviceID, MAC: p.MAC, Label: p.Label,
		Owner: p.Owner, Protected: p.Protected, MaxPower: p.MaxPower, Poll: seconds(p.PollSeconds), Predecessor: p.Predecessor,
	}
}

func fromPlace(p inventory.Place) contract.Place {
	return contract.Place{
		Device: p.Device, Gateway: p.Gateway, Driver: p.Driver, Address: p.Address, DeviceID: p.DeviceID, MAC: p.MAC, Label: p.Label,
		Owner: p.Owner, Protected: p.Protected, MaxPower: p.MaxPower, PollSeconds: p.Poll.Seconds(), Predecessor: p.Predecessor,
	}
}

func seconds(s float64) time.Duration { return time.Duration(math.Round(s * float64(time.Second))) }

// newPlace and newGateway are records of which nothing is said yet.
func newPlace(id device.ID) inventory.Place {
	return inventory.Place{Device: id, Driver: inventory.DefaultDriver}
}

func newGateway(id string) inventory.Gateway {
	return inventory.Gateway{ID: id, Poll: inventory.DefaultPoll, Stagger: inventory.DefaultStagger, Database: inventory.DefaultDatabase}
}
