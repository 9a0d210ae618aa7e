package inventory

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

const (
	maxPoll    = 24 * time.Hour
	maxStagger = time.Minute
	maxPower   = 100_000 // W
	maxText    = 200     // bytes of a label or a reason
	maxOrdinal = 999_999 // floors, rows and columns are below a million
)

// field is one value of a record T: its name, the column of CSV and the key of
// YAML; its text; and how a text is checked and taken, "" for none.
type field[T any] struct {
	name string
	get  func(*T) string
	set  func(*T, string) error
}

var siteFields = []field[Site]{
	{"name", func(s *Site) string { return s.Name }, func(s *Site, v string) error { return setText(&s.Name, v) }},
	{"default_floor", func(s *Site) string { return strconv.Itoa(s.DefaultFloor) }, func(s *Site, v string) error { return setWhole(&s.DefaultFloor, v, -maxOrdinal) }},
	{"time_zone", func(s *Site) string { return s.TimeZone }, func(s *Site, v string) error { return setZone(&s.TimeZone, v) }},
	{"rows", func(s *Site) string { return count(s.Rows) }, func(s *Site, v string) error { return setCount(&s.Rows, v) }},
	{"columns", func(s *Site) string { return count(s.Columns) }, func(s *Site, v string) error { return setCount(&s.Columns, v) }},
}

var gatewayFields = []field[Gateway]{
	{"label", func(g *Gateway) string { return g.Label }, func(g *Gateway, v string) error { return setText(&g.Label, v) }},
	{"floor", func(g *Gateway) string { return strconv.Itoa(g.Floor) }, func(g *Gateway, v string) error { return setWhole(&g.Floor, v, -maxOrdinal) }},
	{"poll", func(g *Gateway) string { return span(g.Poll) }, func(g *Gateway, v string) error {
		return setSpan(&g.Poll, v, DefaultPoll, time.Second, maxPoll)
	}},
	{"stagger", func(g *Gateway) string { return g.Stagger.String() }, func(g *Gateway, v string) error {
		return setSpan(&g.Stagger, v, DefaultStagger, 0, maxStagger)
	}},
	{"database", func(g *Gateway) string { return g.Database }, func(g *Gateway, v string) error { return setDatabase(&g.Database, v) }},
	{"discovery", func(g *Gateway) string { return g.Discovery }, func(g *Gateway, v string) error { return setDiscovery(&g.Discovery, v) }},
}

var placeFields = []field[Place]{
	{"gateway", func(p *Place) string { return p.Gateway }, func(p *Place, v string) error { return setOwnGateway(&p.Gateway, v) }},
	{"driver", func(p *Place) string { return p.Driver }, func(p *Place, v string) error { return setDriver(&p.Driver, v) }},
	{"address", func(p *Place) string { return p.Address }, func(p *Place, v string) error { return setAddress(&p.Address, v) }},
	{"device_id", func(p *Place) string { return p.DeviceID }, func(p *Place, v string) error { return setDeviceID(&p.DeviceID, v) }},
	{"mac", func(p *Place) string { return p.MAC }, func(p *Place, v string) error { return setMAC(&p.MAC, v) }},
	{"label", func(p *Place) string { return p.Label }, func(p *Place, v string) error { return setText(&p.Label, v) }},
	{"owner", func(p *Place) string { return p.Owner }, func(p *Place, v string) error { return setText(&p.Owner, v) }},
	{"protected", func(p *Place) string { return p.Protected }, func(p *Place, v string) error { return setReason(&p.Protected, v) }},
	{"max_power", func(p *Place) string { return watts(p.MaxPower) }, func(p *Place, v string) error { return setWatts(&p.MaxPower, v) }},
	{"poll", func(p *Place) string { return span(p.Poll) }, func(p *Place, v string) error { return setSpan(&p.Poll, v, 0, time.Second, maxPoll) }},
	{"predecessor", func(p *Place) string { return p.Predecessor.String() }, func(p *Place, v string) error { return setID(&p.Predecessor, v) }},
}

var (
	databaseForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
	driverForm   = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)
	hostForm     = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)
	deviceIDForm = regexp.MustCompile(`^[0-9A-F]{40}$`)
	bareMACForm  = regexp.MustCompile(`^[0-9A-Fa-f]{12}$`)
)

func setText(to *string, v string) error {
	if len(v) > maxText || !utf8.ValidString(v) || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' }) {
		return fmt.Errorf("at most %d bytes of text in one line", maxText)
	}
	*to = v
	return nil
}

// setReason takes the reason of a protection. One word of agreement is none: a
// column filled with "no" would protect every place.
func setReason(to *string, v string) error {
	switch strings.ToLower(v) {
	case "no", "false", "0", "-", "yes", "true", "1", "x":
		return fmt.Errorf("%q is no reason: say why the place must never be switched, or leave it empty", v)
	}
	return setText(to, v)
}

func setWhole(to *int, v string, low int) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > maxOrdinal {
		return fmt.Errorf("%.40q is not a whole number from %d to %d", v, low, maxOrdinal)
	}
	*to = n
	return nil
}

func setCount(to *int, v string) error {
	if v == "" {
		*to = 0
		return nil
	}
	return setWhole(to, v, 0)
}

func count(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func setZone(to *string, v string) error {
	if v == "" {
		v = DefaultTimeZone
	}
	if _, err := time.LoadLocation(v); err != nil || v == "Local" {
		return fmt.Errorf("%.80q is no time zone such as Europe/Madrid", v)
	}
	*to = v
	return nil
}

// setSpan takes a duration from low to high, or the usual one for no text.
func setSpan(to *time.Duration, v string, usual, low, high time.Duration) error {
	if v == "" {
		*to = usual
		return nil
	}
	d, err := time.ParseDuration(v)
	switch {
	case err != nil && strings.Trim(v, "0123456789.") == "":
		return fmt.Errorf("%.40q has no unit; write 10s, 5m or 250ms", v)
	case err != nil:
		return fmt.Errorf("%.40q is not a duration such as 10s, 5m or 250ms", v)
	case d < low || d > high:
		return fmt.Errorf("%v is not %v to %v", d, low, high)
	}
	*to = d
	return nil
}

func span(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

func setDatabase(to *string, v string) error {
	if v == "" {
		v = DefaultDatabase
	}
	if !databaseForm.MatchString(v) || v == "wattline" {
		return fmt.Errorf("%.80q is not lower-case letters, digits and _, or is wattline, which is taken", v)
	}
	*to = v
	return nil
}

// wholeSite is the subject of alerts that are about no single gateway or place.
const wholeSite = "site"

func setGateway(to *string, v string) error {
	if !contract.IsGatewayID(v) {
		return fmt.Errorf("%.80q is not a lower-case letter and up to 62 lower-case letters, digits, _ or -, as in edge-f2", v)
	}
	if v == wholeSite {
		return fmt.Errorf("%q is what alerts call the whole site; name the gateway otherwise, as in edge-f2", v)
	}
	*to = v
	return nil
}

// setOwnGateway sets the gateway of a place, which is never taken away.
func setOwnGateway(to *string, v string) error {
	if v == "" {
		return nil
	}
	return setGateway(to, v)
}

// setDriver sets the driver of a place, which is never taken away.
func setDriver(to *string, v string) error {
	if v == "" {
		return nil
	}
	if !driverForm.MatchString(v) {
		return fmt.Errorf("%.40q is not the name of a driver such as hs110", v)
	}
	*to = v
	return nil
}

func setAddress(to *string, v string) error {
	if v != "" && !ValidAddress(v) {
		return fmt.Errorf("%.80q is not host or host:port", v)
	}
	*to = v
	return nil
}

// ValidAddress tells a host or host:port from something else.
func ValidAddress(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return hostForm.MatchString(s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return false
	}
	_, err = netip.ParseAddr(host)
	return err == nil || hostForm.MatchString(host)
}

func setDeviceID(to *string, v string) error {
	v = strings.ToUpper(v)
	if v != "" && !deviceIDForm.MatchString(v) {
		return fmt.Errorf("%.60q is not 40 hex digits", v)
	}
	*to = v
	return nil
}

func setMAC(to *string, v string) (err error) {
	if v != "" {
		v, err = NormalMAC(v)
	}
	if err == nil {
		*to = v
	}
	return err
}

// NormalMAC writes a MAC address as AA:BB:CC:DD:EE:FF, whichever of the usual
// ways it is written in.
func NormalMAC(s string) (string, error) {
	given := s
	if bareMACForm.MatchString(s) {
		s = s[:4] + "." + s[4:8] + "." + s[8:]
	}
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 {
		return "", fmt.Errorf("%.40q is not a MAC address such as AC:84:C6:59:D9:A1", given)
	}
	return strings.ToUpper(mac.String()), nil
}

func setWatts(to *device.Watts, v string) error {
	if v == "" {
		*to = 0
		return nil
	}
	f, err := strconv.ParseFloat(strings.Replace(v, ",", ".", 1), 64) // 1800,5 where commas are decimal
	if err != nil || math.IsNaN(f) || f < 0 || f > maxPower {
		return fmt.Errorf("%.40q is not a number of W from 0 to %d", v, maxPower)
	}
	*to = device.Watts(f)
	return nil
}

func watts(w device.Watts) string {
	if w == 0 {
		return ""
	}
	return strconv.FormatFloat(float64(w), 'f', -1, 64)
}

func setID(to *device.ID, v string) error {
	if v == "" {
		*to = device.ID{}
		return nil
	}
	id, err := device.Parse(v)
	if err != nil {
		return err
	}
	*to = id
	return nil
}
