package interop_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/bus/bustest"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

// feature is one thing that IoToad did, and what shows that Wattline does it.
type feature struct {
	number int
	words  string
	shown  func(t *testing.T, f *former)
	// core is shown on Mosquitto too; the rest does not depend on the broker.
	core bool
}

// lastFeature is the number of the last of IoToad's features; those behind it were
// required of it and never made.
const lastFeature = 45

var features = []feature{
	{1, "every plug is polled for power", showsPower, true},
	{2, "every plug is polled for its relay, and that is stored", showsStatus, true},
	{3, "plugs are found in a range of addresses", showsScan, false},
	{4, "the map of MACs to ids says which plug is where", showsMACs, false},
	{5, "the last address of a plug is known to collector and controller", showsAddresses, false},
	{6, "unknown addresses are asked less often than known plugs", showsPace, false},
	{7, "both firmware spellings", showsSpellings, true},
	{8, "the protocol of port 9999", showsProtocol, false},
	{9, "readings are SenML on data/source/influx_data/sp", showsReadings, true},
	{10, "readings go to several databases", showsCopies, false},
	{11, "SenML of any source is stored", showsSources, true},
	{12, "the database is the topic's fourth level", showsDatabases, true},
	{13, "points have the tags id, unit, type, row, column and the field value", showsPoints, true},
	{14, "other handlers take the same message, or their own", showsHandlers, true},
	{15, "ids with type, row and column, open to new types", showsIDs, false},
	{16, "workplaces, group rooms and printers", showsTypes, false},
	{17, "the map of ids to users", showsOwners, false},
	{18, "switching one plug by its id", showsOne, true},
	{19, "switching a row", showsRow, true},
	{20, "switching a column", showsColumn, true},
	{21, "switching many mixed targets in one request", showsMixed, true},
	{22, "plugs are switched at once, with a time-out over all", showsConcurrency, false},
	{23, "success and failure are told for each target", showsFates, true},
	{24, "no response topic, no reply", showsSilence, true},
	{25, "PUT api in agent subpath", showsIn, true},
	{26, "GET api out component subpath with parameters", showsOut, true},
	{27, "a new agent or component needs no change of the api", showsRelay, true},
	{28, "request and answer over MQTT with unique response topics", showsResponses, true},
	{29, "a module that does not answer in time", showsTimeouts, false},
	{30, "the body of a request is validated", showsBodies, false},
	{31, "a query by database and measurement", showsQueries, true},
	{32, "seventeen operations", showsOperations, false},
	{33, "filters id, type, row and column", showsFilters, false},
	{34, "from and to, POSIX seconds or RFC 3339", showsTimes, false},
	{35, "every field of a query is validated, all mistakes are told", showsMistakes, false},
	{36, "status is queried as power is", showsStatusQueries, true},
	{37, "results are SenML", showsResults, true},
	{38, "replies have an error", showsErrors, true},
	{39, "devices, calls and frameworks are added by MQTT topics", showsExtensions, true},
	{40, "adding a plug", showsAdding, false},
	{41, "OpenAPI specifications, shown in the documentation", showsOpenAPI, false},
	{42, "documentation with architecture and flows", showsDocumentation, false},
	{43, "one deployment by docker-compose, a configuration per module, a verbose flag", showsDeployment, false},
	{44, "after the broker was away all subscribe again", showsReconnect, true},
	{45, "a mock plug for tests", showsMock, false},
}

// former is a site as somebody has it who comes from IoToad: ids without floors, a
// dump of ETCD, and programs that know IoToad's documentation only.
type former struct {
	*site
	mosquitto *bustest.Mosquitto // nil where the embedded broker runs
	plugs     office
	watts     map[string]float64 // of each place
	bare      map[string]*barePlug
	block     string // three bytes of a network that is scanned
	ranged    map[string]*hs110test.Plug
	agent     *bus.Link
	hasty     *process // a second api that waits for a second only, once there is one
}

// Places whose plugs are in the scanned range, and were known to ETCD by MAC.
const (
	scanned  = "sp_g8"      // no address is known
	cached   = "sp_w.r5.c5" // ip_cache had it
	newcomer = "newcomer"   // in the range, and in nobody's list
)

// TestIoToadsFeatures shows every one of IoToad's features, by its number.
func TestIoToadsFeatures(t *testing.T) {
	t.Parallel()
	numbers := map[int]bool{}
	for _, f := range features {
		if numbers[f.number] {
			t.Errorf("number %d is there twice", f.number)
		}
		numbers[f.number] = true
	}
	for n := range lastFeature {
		if !numbers[n+1] {
			t.Errorf("nothing shows number %d", n+1)
		}
	}
	t.Run("embedded broker", func(t *testing.T) {
		t.Parallel()
		f := newFormer(t, nil)
		for _, feature := range features {
			t.Run(fmt.Sprintf("%02d %s", feature.number, feature.words), func(t *testing.T) { feature.shown(t, f) })
		}
	})
	t.Run("Mosquitto", func(t *testing.T) {
		t.Parallel()
		f := newFormer(t, bustest.Start(t))
		for _, feature := range features {
			if feature.core {
				t.Run(fmt.Sprintf("%02d %s", feature.number, feature.words), func(t *testing.T) { feature.shown(t, f) })
			}
		}
		t.Run("differences", func(t *testing.T) { showsDifferences(t, f) })
	})
}

// newFormer starts the site, hands in the dump of ETCD, and lets an agent of
// IoToad's publish.
func newFormer(t *testing.T, m *bustest.Mosquitto) *former {
	t.Helper()
	f := &former{mosquitto: m, plugs: office{}, bare: map[string]*barePlug{}, ranged: map[string]*hs110test.Plug{}, watts: map[string]float64{}}
	generate := func(watts float64) func(uint64, time.Time) hs110test.Values {
		return func(uint64, time.Time) hs110test.Values {
			return hs110test.Values{Power: device.Watts(watts), Voltage: 230, Current: 0.5, Energy: 3}
		}
	}
	for i, id := range []string{"sp_w.r0.c0", "sp_w.r0.c1", "sp_w.r1.c0", "sp_w.r1.c1", "sp_g3", "sp_p0"} {
		f.watts[id] = 10.125 + float64(i)
		f.plugs[id] = hs110test.New(t, hs110test.Options{Hardware: [...]hs110test.Hardware{hs110test.HW1, hs110test.HW2, hs110test.HW4}[i%3], Generate: generate(f.watts[id])})
	}
	places := f.plugs.places()
	for i, id := range []string{"sp_w.r2.c0", "sp_w.r2.c1"} {
		f.watts[id] = 40.5 + float64(i)
		f.bare[id] = newBarePlug(t, fmt.Sprintf("50:C7:BF:00:00:%02X", i+1), f.watts[id], i == 1)
		places += fmt.Sprintf("  - {device: %s, gateway: %s, address: %q}\n", id, gatewayName, f.bare[id].address())
	}
	l := layout{
		places: places, edge: "outbox: {compression: none}\n", limits: "password: for two processes",
		cloud: "copies: {sp: [other]}\nsp_command: {deadline: 3s}\n",
	}
	if m != nil {
		l.broker = m.URL
	}
	f.site = newSite(t, l)
	f.startRange(t, generate)
	f.storeAgentData(t)
	f.agent = f.client("former-agent", nil)
	return f
}

// startRange starts plugs in a network of its own at the real port, tells the
// gateway to look there, and the registry what ETCD knew.
func (f *former) startRange(t *testing.T, generate func(float64) func(uint64, time.Time) hs110test.Values) {
	t.Helper()
	for len(f.ranged) < 3 {
		f.block = fmt.Sprintf("127.%d.%d.", 120+rand.IntN(7), rand.IntN(256))
		clear(f.ranged)
		for i, name := range []string{scanned, cached, newcomer} {
			f.watts[name] = 60.25 + float64(i)
			p, err := hs110test.Start(fmt.Sprintf("%s%d:9999", f.block, i+1), hs110test.Options{Generate: generate(f.watts[name])})
			if err != nil {
				break // somebody else has the network
			}
			t.Cleanup(func() { _ = p.Close() })
			f.ranged[name] = p
		}
	}
	f.write("etcd.json", etcdDump(f.ranged[scanned], f.ranged[cached], "g8", cached)) // the first without sp_, as the oldest have it
	f.wattline(t, "gateways", "change", gatewayName, "--scan", f.block+"0/29", "--broadcast=false")
	f.wattline(t, "import", f.file("etcd.json"), "--format", "etcd")
}

// etcdDump is what ETCD answered for all keys of IoToad: two plugs, the address and
// the user of the second.
func etcdDump(first, second *hs110test.Plug, firstID, secondID string) string {
	_, mac := hs110test.Identity(first.Address())
	_, other := hs110test.Identity(second.Address())
	address, _, _ := strings.Cut(second.Address(), ":")
	node := func(key, value string) string {
		return fmt.Sprintf(`{"key":"/smartplugs/%s","value":%q,"modifiedIndex":7,"createdIndex":7}`, key, value)
	}
	folder := func(name string, nodes ...string) string {
		return fmt.Sprintf(`{"key":"/smartplugs/%s","dir":true,"nodes":[%s],"modifiedIndex":4,"createdIndex":4}`, name, strings.Join(nodes, ","))
	}
	return `{"action":"get","node":{"key":"/smartplugs","dir":true,"nodes":[` + strings.Join([]string{
		folder("mac_to_id", node("mac_to_id/"+mac, firstID), node("mac_to_id/"+other, secondID)),
		folder("id_to_userid", node("id_to_userid/"+secondID, "42")),
		folder("ip_cache", node("ip_cache/"+secondID, address)),
	}, ",") + `],"modifiedIndex":3,"createdIndex":3}}`
}

// wattline runs the command for people and gives what it printed.
func (s *site) wattline(t testing.TB, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, program("wattline"), args...)
	cmd.Env = append(os.Environ(), "WATTLINE_SERVER=http://"+s.ip+":8080", "HOME="+s.dir)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("wattline %s: %v\n%s", strings.Join(args, " "), err, out.String())
	}
	return out.String()
}

// last is the newest value of a measurement of a place, as IoToad's route gives it.
func (s *site) last(measurement, id string) (value float64, ok bool) {
	a := s.rest("/api/out/influx_query/sp/" + measurement + "?operation=last&id=" + id)
	var records []record
	if a.status != http.StatusOK || json.Unmarshal([]byte(a.body), &records) != nil || len(records) != 2 || records[1].V == nil {
		return 0, false
	}
	return *records[1].V, true
}

// polled waits until the newest value of a place is the one.
func (s *site) polled(t *testing.T, measurement, id string, want float64) {
	t.Helper()
	eventually(t, 30*time.Second, fmt.Sprintf("%s of %s is %v", measurement, id, want), func() bool {
		got, ok := s.last(measurement, id)
		return ok && got == want
	})
}

func (f *former) ids() []string { return slices.Sorted(maps.Keys(f.plugs)) }
