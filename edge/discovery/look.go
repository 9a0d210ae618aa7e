package discovery

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hs110"
)

const (
	// chaseEvery is how often a lost plug is asked for at the same addresses.
	chaseEvery = 15 * time.Second
	// fresh is how long it counts that a plug answered somewhere by UDP.
	fresh = 3 * time.Minute
	// patience is for a plug that is asked where it was seen.
	patience = 3 * time.Second
	// maxLines bounds what one look writes to the log about plugs.
	maxLines = 10
)

// looker is what Run alone knows.
type looker struct {
	*Discovery

	begun       time.Time
	round, scan time.Time // when the last of each ended
	lines       time.Time // when [maxLines] began to count
}

// nowhere reports whether there is nowhere to look: then the list is what the
// poller tells. The caller holds the lock.
func (d *Discovery) nowhere() bool { return !d.where.Broadcast && len(d.ranges) == 0 }

// step does what is due, and tells how long it is until something is again.
func (l *looker) step(ctx context.Context) time.Duration {
	l.chase(ctx)
	round, scan, ranges := l.due(time.Now())
	if round {
		l.broadcast(ctx)
		l.round = time.Now()
	}
	if scan && ctx.Err() == nil {
		l.scanAll(ctx, ranges)
		l.scan = time.Now()
	}
	if ctx.Err() != nil {
		return time.Hour
	}
	if round || scan {
		l.verify(ctx)
		l.chase(ctx)
	}
	l.tell(round || scan)
	return l.o.Every/4 + time.Millisecond
}

// due decides what is to be done now. A look out of turn is for a plug that was
// not lost before, for somebody who asks, and for ranges that are new.
func (l *looker) due(now time.Time) (round, scan bool, ranges []contract.AddressRange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	extra := looks{l.asked, l.asked}
	for i := range l.known {
		switch k := &l.known[i]; {
		case k.sought():
			begun := l.sought[k.Device]
			extra.round, extra.scan = extra.round || !begun.round, extra.scan || !begun.scan
		case k.Reason == "":
			delete(l.sought, k.Device)
		}
	}
	since := func(last time.Time, extra bool, least, usual time.Duration) bool {
		return last.IsZero() || now.Sub(last) >= usual || extra && now.Sub(last) >= min(least, usual)
	}
	least := soonest
	if !l.asked {
		addresses := 0
		for _, r := range l.ranges {
			addresses += r.Len()
		}
		least = time.Duration(1+addresses/soonestPer) * time.Minute
	}
	round = l.where.Broadcast && since(l.round, extra.round, soonest, l.o.Every)
	scan = len(l.ranges) > 0 && (l.restart || since(l.scan, extra.scan, least, l.o.ScanEvery))
	for i := range l.known {
		if k := &l.known[i]; k.sought() {
			begun := l.sought[k.Device]
			l.sought[k.Device] = looks{begun.round || round, begun.scan || scan}
		}
	}
	if (round || !l.where.Broadcast) && (scan || len(l.ranges) == 0) {
		l.asked = false
	}
	if scan {
		l.restart = false
	}
	if round || scan || now.Sub(l.lines) >= l.o.Every {
		if l.withheld > 0 {
			l.log.Info("more was found out about plugs than is logged: see the status", slog.Int("plugs", l.withheld))
		}
		l.quiet, l.withheld, l.lines = maxLines, 0, now
	}
	return round, scan, slices.Clone(l.ranges)
}

// chase asks for lost plugs where they may be: where they answered by UDP lately,
// and at the address of the configuration.
func (l *looker) chase(ctx context.Context) {
	l.mu.Lock()
	now := time.Now()
	var targets []string
	for i := range l.known {
		k := &l.known[i]
		if !k.lost() || k.DeviceID == "" && k.MAC == "" || now.Sub(l.chased[k.Device]) < chaseEvery {
			continue
		}
		e := l.table.find(&hs110.Info{DeviceID: k.DeviceID, MAC: canonicalMAC(k.MAC)})
		var candidates []string
		if e != nil && e.other != "" && now.Sub(e.otherSeen) < fresh {
			candidates = append(candidates, e.other)
		}
		if e != nil && now.Sub(e.seen) < fresh {
			candidates = append(candidates, e.address)
		}
		if k.Home != "" {
			candidates = append(candidates, l.full(k.Home))
		}
		for _, address := range candidates {
			if address != l.full(k.Address) {
				l.chased[k.Device] = now
				targets = append(targets, address)
			}
		}
	}
	l.mu.Unlock()
	slices.Sort(targets)
	l.ask(ctx, slices.Compact(targets), patience, byPoll, nil)
}

func canonicalMAC(s string) string {
	mac, _ := hs110.CanonicalMAC(s)
	return mac
}

// arrived enters what told of itself by TCP at an address, and reports a lost
// plug of the configuration that has moved there.
func (d *Discovery) arrived(told *hs110.Info, address string, how way) {
	d.mu.Lock()
	now := time.Now()
	k := d.owner(told)
	if k != nil && !k.lost() && d.full(k.Address) != address {
		// Read well elsewhere: two that claim to be the same, or it has moved just now.
		if e := d.table.find(told); e != nil {
			e.other, e.otherSeen = address, now
		}
		d.mu.Unlock()
		return
	}
	d.sighted(told, address, now, how)
	moved := k != nil && k.lost() && d.full(k.Address) != address
	if !moved {
		d.mu.Unlock()
		return
	}
	k.Address, k.Reason, k.Offline = address, "", false // as it will be, until Know tells
	id := k.Device
	d.count.moved.Inc()
	d.mu.Unlock()
	if d.o.Moved != nil {
		d.o.Moved(id, d.shown(address))
	}
}

// verify asks by TCP those that missed their rounds, and gives up those that do
// not answer then either.
func (l *looker) verify(ctx context.Context) {
	l.mu.Lock()
	var missing []string
	for _, e := range l.table.entries {
		if e.missed >= goneAfter && e.problem == "" {
			if k := l.owner(&e.info); k == nil { // others are the poller's
				missing = append(missing, e.address)
			}
		}
	}
	l.mu.Unlock()
	slices.Sort(missing)
	l.ask(ctx, slices.Compact(missing), patience, byPoll, nil)
	if ctx.Err() != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for _, e := range l.table.entries {
		if e.missed >= goneAfter && e.problem == "" && l.owner(&e.info) == nil {
			e.problem, e.gone = vanished, now
			l.tellOf("plug that has no place on this floor vanished", &e.info, e.address, "")
		}
	}
	l.forget(now)
}

// tell makes the list anew, and says so where it differs.
func (l *looker) tell(looked bool) {
	l.mu.Lock()
	now := time.Now()
	if looked || l.nowhere() && now.Sub(l.begun) >= l.o.Every {
		l.looked = now
	}
	if l.looked.IsZero() {
		l.mu.Unlock()
		return
	}
	f := l.list(now)
	changed := l.said.IsZero() || !same(l.found, f) || now.Sub(l.said) >= telling
	l.found = f
	if changed {
		l.said = now
	}
	l.mu.Unlock()
	if changed && l.o.Changed != nil {
		l.o.Changed()
	}
}

// tellOf logs something about a plug, a few times in a look; the caller holds the
// lock.
func (d *Discovery) tellOf(what string, i *hs110.Info, address, before string) {
	attrs := []any{slog.String("plug", keyOf(i)), slog.String("model", i.Model), slog.String("firmware", i.Firmware), slog.String("address", address)}
	if before != "" {
		attrs = append(attrs, slog.String("before", before))
	}
	if d.quiet--; d.quiet < 0 {
		d.withheld++
		d.log.Debug(what, attrs...) //nolint:sloglint // one of a few constants
		return
	}
	d.log.Info(what, attrs...) //nolint:sloglint // as above
}

// missing counts a round that the plugs of a way did not answer; seen tells who
// did. The caller holds the lock.
func (d *Discovery) missing(begun time.Time, by int, concerns func(*entry) bool) {
	for _, e := range d.table.entries {
		if e.seen.Before(begun) && concerns(e) {
			e.missed = min(e.missed+by, goneAfter)
		}
	}
}

// addressOf is the IP address of "host:port"; invalid for a name.
func addressOf(address string) netip.Addr {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr()
}
