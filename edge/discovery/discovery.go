package discovery

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110"
	"github.com/wattline/wattline/shared/metrics"
)

// How often is looked; see [Options].
const (
	Every     = time.Minute
	ScanEvery = time.Hour

	// soonest is the least time between two rounds, and between two scans that
	// somebody asks for. Scans for lost plugs leave a network alone for a minute,
	// and for another one with each soonestPer addresses.
	soonest    = 10 * time.Second
	soonestPer = 1024
	// telling is how often the list goes out although only times have changed.
	telling = time.Hour
)

// Known is a plug that the configuration gives a place, as the poller sees it.
type Known struct {
	Device device.ID
	// DeviceID and MAC are which plug it is; one is enough, and a plug with
	// neither can't be followed.
	DeviceID, MAC string
	Address       string // where it is asked, host or host:port; empty where nobody knows
	Home          string // the same by the configuration
	// Reason is why the last poll came to nothing, in the words of
	// [contract.PlugProblem]; empty when it did not. Offline says that several did.
	Reason  string
	Offline bool
	// Told is what it last told of itself, at Seen; nil if it never did.
	Told *hs110.Info
	Seen time.Time
}

// lost reports whether the plug is to be looked for elsewhere.
func (k *Known) lost() bool { return k.Address == "" || k.Reason != "" }

// sought reports whether that is worth a round of its own: healthy plugs fail
// now and then.
func (k *Known) sought() bool {
	return k.Address == "" || k.Offline || k.Reason == hs110.ReasonWrongPlug
}

// is reports whether somebody is this plug.
func (k *Known) is(i *hs110.Info) bool {
	return (k.DeviceID != "" || k.MAC != "") && i.Identify(k.DeviceID, k.MAC) == nil
}

// Options are what a Discovery works with.
type Options struct {
	Gateway string
	// Clock dates what is found; see the collector's.
	Clock func() (at device.Micros, set bool)
	// Moved is told that a plug, which is lost where it is asked, answers at
	// another address. It is called from Run and returns soon.
	Moved func(id device.ID, address string)
	// Changed is told that [Discovery.Found] has something new. The same holds.
	Changed func()
	Metrics *metrics.Registry // may be nil

	// Those below are for tests; their defaults are right for real plugs.

	Port       int           // default [hs110.Port]
	LockedPort int           // default [hs110.LockedPort]
	Every      time.Duration // between two rounds of broadcasts, default Every
	ScanEvery  time.Duration // between two scans, default ScanEvery
	Spread     time.Duration // between the datagrams of a round, default 2.5 s
	Networks   func() []Network
}

// Network is one that can be asked by broadcast.
type Network struct {
	Local     netip.Addr // the machine's own address in it
	Broadcast netip.Addr
}

// Discovery looks for plugs. Its methods are safe for concurrent use.
type Discovery struct {
	o     Options
	log   *slog.Logger
	count counts
	wake  chan struct{}

	mu      sync.Mutex // protects what follows
	known   []Known
	byID    map[string]*Known // by deviceId, upper case
	byMAC   map[string]*Known
	where   contract.Discovery
	ranges  []contract.AddressRange
	asked   bool // somebody wants a look
	restart bool // the ranges are new
	table   table
	chased  map[device.ID]time.Time // when a lost plug was last looked for at an address
	sought  map[device.ID]looks     // lost ones that a look was begun for

	found    contract.Found // as it was told last
	looked   time.Time      // when the last look ended, zero before the first
	said     time.Time      // when Changed was last called
	quiet    int            // log lines that this look may still write
	withheld int            // and those that it did not
}

// looks are the kinds of looks that were begun.
type looks struct{ round, scan bool }

type counts struct {
	rounds, scans, answers, ignored, moved, firmware, asks *metrics.Counter
}

// New returns a Discovery that knows no plug and looks nowhere.
func New(o Options, log *slog.Logger) *Discovery {
	const spread = 2500 * time.Millisecond
	o.Port, o.LockedPort = cmp.Or(o.Port, hs110.Port), cmp.Or(o.LockedPort, hs110.LockedPort)
	o.Every, o.ScanEvery, o.Spread = cmp.Or(o.Every, Every), cmp.Or(o.ScanEvery, ScanEvery), cmp.Or(o.Spread, spread)
	r := o.Metrics
	d := &Discovery{
		o: o, log: log, wake: make(chan struct{}, 1), table: newTable(),
		chased: map[device.ID]time.Time{}, sought: map[device.ID]looks{},
		count: counts{
			rounds:   r.Counter("wattline_discovery_rounds_total", "Rounds of broadcasts."),
			scans:    r.Counter("wattline_discovery_scans_total", "Scans of the address ranges."),
			answers:  r.Counter("wattline_discovery_answers_total", "Datagrams that came back."),
			ignored:  r.Counter("wattline_discovery_ignored_total", "Datagrams that no plug sends, and those beyond the bounds."),
			asks:     r.Counter("wattline_discovery_asked_total", "Addresses asked by TCP."),
			moved:    r.Counter("wattline_discovery_moved_total", "Plugs of the configuration found at another address."),
			firmware: r.Counter("wattline_discovery_firmware_changes_total", "Plugs whose firmware changed."),
		},
	}
	if o.Networks == nil {
		d.o.Networks = d.networks
	}
	number := func(name, help string, counts func(contract.FoundPlug) bool) {
		r.GaugeFunc(name, help, func() float64 { return float64(d.number(counts)) })
	}
	number("wattline_discovery_plugs_found", "Plugs around, those of places included.", func(contract.FoundPlug) bool { return true })
	number("wattline_discovery_plugs_unknown", "Plugs found that no place has.", func(p contract.FoundPlug) bool { return p.Device == "" })
	for _, problem := range []string{locked, unsupported, vanished} {
		number("wattline_discovery_plugs_"+problem, "Plugs found that are "+problem+".", func(p contract.FoundPlug) bool { return p.Problem == problem })
	}
	return d
}

// Configure says where to look. What is no range is left out: the configuration
// was checked.
func (d *Discovery) Configure(where contract.Discovery) {
	ranges, err := where.Addresses()
	if err != nil {
		d.log.Error("address ranges not understood: they are not scanned", slog.Any("err", err))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.Equal(d.ranges, ranges) && d.where.Broadcast == where.Broadcast {
		return
	}
	d.where, d.ranges, d.restart = where, ranges, true
	d.poke()
}

// Know says which plugs have a place and how they are; it is to be called when
// that changes, and every few seconds.
func (d *Discovery) Know(plugs []Known) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known, d.byID, d.byMAC = plugs, make(map[string]*Known, len(plugs)), make(map[string]*Known, len(plugs))
	for i := range plugs {
		k := &plugs[i]
		if id := canonicalID(k.DeviceID); id != "" {
			d.byID[id] = k
		}
		if mac, ok := hs110.CanonicalMAC(k.MAC); ok {
			d.byMAC[mac] = k
		}
		if k.Told != nil && !k.Seen.IsZero() {
			d.sighted(k.Told, k.Address, k.Seen, byPoll)
		}
	}
	d.poke()
}

// Look asks for a look soon, a scan included.
func (d *Discovery) Look() {
	d.mu.Lock()
	d.asked = true
	d.mu.Unlock()
	d.poke()
}

// Found is the plugs around, as far as known; false before the first look has
// ended.
func (d *Discovery) Found() (contract.Found, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.found, !d.looked.IsZero()
}

func (d *Discovery) number(counts func(contract.FoundPlug) bool) (n int) {
	found, _ := d.Found()
	for _, p := range found.Plugs {
		if counts(p) {
			n++
		}
	}
	return n
}

func (d *Discovery) poke() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// owner is the place that somebody belongs to, nil where none; the caller holds
// the lock.
func (d *Discovery) owner(i *hs110.Info) *Known {
	for _, k := range []*Known{d.byID[canonicalID(i.DeviceID)], d.byMAC[i.MAC]} {
		if k != nil && k.is(i) {
			return k
		}
	}
	return nil
}

// Run looks until ctx ends.
func (d *Discovery) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	l := &looker{Discovery: d, begun: time.Now()}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-d.wake:
		}
		timer.Reset(l.step(ctx))
	}
}
