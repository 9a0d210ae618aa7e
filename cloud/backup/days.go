package backup

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/wattline/wattline/cloud/backup/export"
	"github.com/wattline/wattline/cloud/backup/form"
	"github.com/wattline/wattline/shared/device"
)

const (
	// ledgerDatabase has the ledger, in the measurements of the group ledger.
	ledgerDatabase = "wattline"
	groupLedger    = "ledger"
	groupRecords   = "records"
	groupReadings  = "readings"

	// overlap is how far before the last backup days are read again, for what is
	// in no ledger; ahead is how far in the future a reading may be.
	overlap = 2 * time.Hour
	ahead   = time.Hour
	// feedMost is how many entries of the ledger are read at once.
	feedMost = 10_000
)

// groupOf is the group of measurements that are copied together.
func groupOf(database, measurement string) string {
	switch {
	case database != ledgerDatabase:
		return groupReadings
	case measurement == "batch" || measurement == "head":
		return groupLedger
	default:
		return groupRecords
	}
}

func compareDays(a, b form.Day) int {
	return cmp.Or(cmp.Compare(a.Database, b.Database), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Date, b.Date))
}

// touched are days that may have changed: those with readings that the ledger
// names, and those on which its entries were made.
type touched struct{ read, entered map[form.Date]bool }

// begun gives the position in the feed from which on the next backup looks, and
// what was touched since the one before; nothing in a full one, which reads all.
func (r *run) begun(ctx context.Context) (json.RawMessage, *touched, error) {
	t := &touched{read: map[form.Date]bool{}, entered: map[form.Date]bool{}}
	if r.basis == nil {
		position, err := r.Feed.Start(ctx, 0)
		return position, t, err
	}
	position, err := r.follow(ctx, r.basis.Position, t)
	return position, t, err
}

// follow reads the feed to its end.
func (r *run) follow(ctx context.Context, position json.RawMessage, t *touched) (json.RawMessage, error) {
	if r.basis == nil {
		return position, nil
	}
	for {
		list, after, err := r.Feed.Next(ctx, position, feedMost)
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			return after, nil
		}
		for _, entry := range list {
			t.entered[form.DateOf(timeOf(entry.At))] = true
			for _, day := range form.Dates(timeOf(entry.From), timeOf(entry.To)) {
				t.read[day] = true
			}
		}
		position = after
	}
}

func timeOf(at device.Micros) time.Time { return time.UnixMicro(int64(at)) }

// ledger copies what was entered until the cutoff.
func (r *run) ledger(ctx context.Context, entered map[form.Date]bool) error {
	if r.basis != nil {
		for _, day := range form.Dates(r.basis.LedgerUntil, r.cutoff) {
			entered[day] = true
		}
		if last, ok := r.lastEntered(); ok {
			entered[last.Date] = true
		}
	}
	return r.database(ctx, ledgerDatabase, groupLedger, entered, r.cutoff)
}

// lastEntered is the last day of the ledger in the backup before.
func (r *run) lastEntered() (last form.Day, ok bool) {
	if r.basis == nil {
		return last, false
	}
	for _, d := range r.basis.Days {
		if d.Group == groupLedger && d.Date > last.Date {
			last, ok = d, true
		}
	}
	return last, ok
}

// lost tells that InfluxDB's ledger is not what it was at the last backup: it was
// emptied, or an older state of it was brought back.
func (r *run) lost() bool {
	last, ok := r.lastEntered()
	now := r.days[last.Key()]
	return ok && now.Points() < last.Points()
}

// readings copies everything but the ledger.
func (r *run) readings(ctx context.Context, t *touched) error {
	recent := map[form.Date]bool{}
	if r.basis != nil {
		// The earlier of both clocks: it may have been set back since.
		begin := r.basis.Started
		if r.manifest.Started.Before(begin) {
			begin = r.manifest.Started
		}
		for _, day := range form.Dates(begin.Add(-overlap), r.Now().Add(ahead)) {
			recent[day] = true
		}
	}
	maps.Copy(t.read, recent)
	names, err := export.Databases(ctx, r.Influx)
	if err != nil {
		return err
	}
	until := r.Now().AddDate(0, 0, 2)
	for _, name := range names {
		group, days := groupReadings, t.read
		if name == ledgerDatabase {
			group, days = groupRecords, recent
		}
		if err := r.database(ctx, name, group, days, until); err != nil {
			return err
		}
	}
	if r.surveys() {
		r.manifest.Surveyed = r.manifest.Started
	}
	return nil
}

// surveys tells whether all days are counted this time.
func (r *run) surveys() bool {
	return r.basis == nil || r.manifest.Started.Sub(r.basis.Surveyed) >= r.config.SurveyEvery || r.basis.Surveyed.After(r.manifest.Started)
}

// database copies a group of measurements: the days that are named, those that a
// survey finds changed, and those whose files are gone. All others are as they
// were.
func (r *run) database(ctx context.Context, database, group string, named map[form.Date]bool, until time.Time) error {
	r.doing("looking for what has changed in " + database)
	all, err := export.Schema(ctx, r.Influx, database)
	if err != nil {
		return unlessMissing(err)
	}
	measurements := slices.DeleteFunc(all, func(m export.Measurement) bool { return groupOf(database, m.Name) != group })
	days := maps.Clone(named)
	before := r.basisDays(database, group)
	for date, d := range before {
		if r.objects[d.File.Object] != d.File.Bytes {
			days[date] = true
		}
	}
	if r.surveys() || len(before) == 0 {
		if err := r.survey(ctx, database, measurements, before, until, days); err != nil {
			return err
		}
	}
	for date, d := range before {
		if !days[date] {
			r.days[d.Key()] = d
		}
	}
	r.note(func(p *Progress) {
		p.Doing, p.Days = fmt.Sprintf("copying %s of %s", group, database), p.Days+len(days)
	})
	for _, date := range slices.Sorted(maps.Keys(days)) {
		if err := r.patiently(ctx, func() error { return r.day(ctx, database, group, date, measurements, until) }); err != nil {
			return err
		}
	}
	return nil
}

// basisDays are those of the backup before, by their dates.
func (r *run) basisDays(database, group string) map[form.Date]form.Day {
	days := make(map[form.Date]form.Day)
	if r.basis != nil {
		for _, d := range r.basis.Days {
			if d.Database == database && d.Group == group {
				days[d.Date] = d
			}
		}
	}
	return days
}

// survey counts all days and adds those that have changed.
func (r *run) survey(ctx context.Context, database string, measurements []export.Measurement, before map[form.Date]form.Day, until time.Time, days map[form.Date]bool) error {
	now := make(map[form.Date]map[string]int64)
	for _, m := range measurements {
		first, some, err := export.First(ctx, r.Influx, database, m)
		if err != nil {
			return err
		}
		if !some {
			continue
		}
		counts, err := export.Survey(ctx, r.Influx, database, m.Name, first, until)
		if err != nil {
			return err
		}
		for date, n := range counts {
			if now[date] == nil {
				now[date] = make(map[string]int64)
			}
			now[date][m.Name] = n
		}
	}
	for date, d := range before {
		was := make(map[string]int64)
		for _, p := range d.Parts {
			was[p.Measurement] = p.Values
		}
		if !maps.Equal(was, now[date]) {
			days[date] = true
		}
	}
	for date := range now {
		if _, known := before[date]; !known {
			days[date] = true
		}
	}
	return nil
}

// day copies one day, and keeps its file unless there is one with the same
// content.
func (r *run) day(ctx context.Context, database, group string, date form.Date, measurements []export.Measurement, until time.Time) error {
	from, to, err := date.Bounds()
	if err != nil {
		return err
	}
	if to.After(until) {
		to = until
	}
	d := form.Day{Database: database, Group: group, Date: date}
	delete(r.days, d.Key())
	err = r.keep(ctx, r.known[d.Key()].File, func(w *form.Sealer) (bool, error) {
		if !from.Before(to) {
			return false, nil
		}
		d.Parts, err = export.Day(ctx, r.Influx, database, measurements, from, to, w, r.pace)
		return len(d.Parts) > 0, err
	}, func(f form.File) { d.File = f })
	if err != nil {
		return err
	}
	if len(d.Parts) > 0 {
		r.days[d.Key()] = d
	}
	r.note(func(p *Progress) { p.Done++; p.Points += d.Points(); p.Bytes += d.File.PlainBytes })
	return nil
}

// keep writes a file into the spool and from there into the store, unless the
// store has it: as before, or by its bytes. write tells whether there is anything
// to keep.
func (r *run) keep(ctx context.Context, before form.File, write func(*form.Sealer) (bool, error), kept func(form.File)) error {
	grown, err := os.CreateTemp(r.spool, "*")
	if err != nil {
		return inWords(r.spool, err)
	}
	defer os.Remove(grown.Name())
	defer grown.Close()
	w, err := form.Seal(grown, r.keys)
	if err != nil {
		return err
	}
	some, err := write(w)
	if closed := w.Close(); err == nil {
		err = closed
	}
	if err != nil || !some {
		return inWords(r.spool, err)
	}
	f := w.File()
	if f.Plain == before.Plain && f.PlainBytes == before.PlainBytes && r.has(before) {
		kept(before)
		return nil
	}
	if !r.has(f) {
		if _, err := grown.Seek(0, 0); err != nil {
			return err
		}
		if err := r.Store.Put(ctx, f.Name(), f.Bytes, grown); err != nil {
			return err
		}
		r.objects[f.Object] = f.Bytes
		r.fresh = append(r.fresh, f)
		r.note(func(p *Progress) { p.New++; p.NewBytes += f.Bytes })
	}
	kept(f)
	return nil
}

// has tells whether the store has an object of the right length.
func (r *run) has(f form.File) bool {
	size, there := r.objects[f.Object]
	return there && size == f.Bytes
}
