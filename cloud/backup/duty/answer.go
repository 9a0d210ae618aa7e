package duty

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/wattline/wattline/cloud/backup"
	"github.com/wattline/wattline/cloud/backup/form"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
)

// Name is that of the component.
const Name = "backup"

// Status is what query/backup/status answers.
type Status struct {
	Enabled bool   `json:"enabled"`
	Store   string `json:"store,omitempty"`
	// Doing is backup or trial, or empty.
	Doing    string           `json:"doing,omitempty"`
	Progress *backup.Progress `json:"progress,omitempty"`
	// AgeHours is since the newest good backup, VerifiedAgeHours since one was
	// last restored for trial; what never was counts since backups were set up.
	AgeHours         float64        `json:"age_hours"`
	VerifiedAgeHours float64        `json:"verified_age_hours"`
	Last             *Outcome       `json:"last,omitempty"`
	Good             *Outcome       `json:"good,omitempty"`
	Tried            *Outcome       `json:"tried,omitempty"`
	Verified         *Outcome       `json:"verified,omitempty"`
	NextBackup       *device.Micros `json:"next_backup,omitempty"`
	NextTrial        *device.Micros `json:"next_trial,omitempty"`
}

// Entry is a backup in a list.
type Entry struct {
	ID       string        `json:"id"`
	At       device.Micros `json:"at"`
	Basis    string        `json:"basis,omitempty"`
	Days     int           `json:"days"`
	Points   int64         `json:"points"`
	Bytes    int64         `json:"bytes"`
	InfluxDB string        `json:"influxdb,omitempty"`
	LeftOut  []string      `json:"left_out,omitempty"`
	Error    string        `json:"error,omitempty"` // why it cannot be read
}

// Serve answers until ctx ends.
func (d *Duty) Serve(ctx context.Context, options bus.Options) error {
	all, ctx := errgroup.WithContext(ctx)
	for _, family := range []hook.Family{hook.Queries, hook.Commands} {
		c := hook.Component{Name: Name, Family: family, Concurrent: 4, Handle: d.handle(family)}
		all.Go(func() error { return c.Serve(ctx, options, d.o.Log) })
	}
	return all.Wait()
}

func (d *Duty) handle(family hook.Family) func(context.Context, hook.Request, *hook.Answer) error {
	return func(ctx context.Context, request hook.Request, w *hook.Answer) error {
		var r contract.RegistryRequest
		var answer contract.RegistryAnswer
		if err := json.Unmarshal(request.Data, &r); err != nil {
			answer = refuse(contract.Invalid, "not a request to the backup: %v", err)
		} else {
			answer = d.answer(ctx, string(family)+" "+request.Subpath+" "+r.Verb, r)
		}
		text, err := json.Marshal(answer)
		if err == nil {
			w.Send(text, nil)
		}
		return err
	}
}

func refuse(kind contract.ProblemKind, format string, args ...any) contract.RegistryAnswer {
	return contract.RegistryAnswer{Problem: &contract.Problem{Kind: kind, Detail: fmt.Sprintf(format, args...)}}
}

func (d *Duty) answer(ctx context.Context, what string, r contract.RegistryRequest) contract.RegistryAnswer {
	if what == "query status get" {
		return content(d.Status())
	}
	if d.o.Maker == nil {
		return refuse(contract.NotFound, "no backups are set up: say where they are to be, with backup.directory in the cloud's configuration")
	}
	switch what {
	case "query backups list":
		list, err := d.list(ctx)
		if err != nil {
			return refuse(contract.NotNow, "the backups cannot be listed: %v", err)
		}
		return content(list)
	case "command backups create":
		return d.wish(d.made, "backup", r)
	case "command backups verify":
		return d.wish(d.tried, "trial", r)
	default:
		return refuse(contract.Invalid, "the backup knows no %.80q; there are status get, backups list, and the commands backups create and verify", what)
	}
}

func content(value any) contract.RegistryAnswer {
	text, err := json.Marshal(value)
	if err != nil {
		return refuse(contract.NotNow, "encode the answer: %v", err)
	}
	return contract.RegistryAnswer{Content: text}
}

// wish has something done as soon as nothing else is.
func (d *Duty) wish(poke chan<- struct{}, what string, r contract.RegistryRequest) contract.RegistryAnswer {
	var wanted struct {
		Full bool `json:"full"`
	}
	if len(r.Content) > 0 {
		if err := json.Unmarshal(r.Content, &wanted); err != nil {
			return refuse(contract.Invalid, "what is wanted cannot be read: %v", err)
		}
	}
	d.mu.Lock()
	doing := d.doing
	d.full = d.full || wanted.Full && what == "backup"
	d.mu.Unlock()
	if doing == what {
		return refuse(contract.Conflict, "a %s is being made already", what)
	}
	select {
	case poke <- struct{}{}:
	default: // it has been asked for, and begins when it can
	}
	return content(map[string]string{"begins": what})
}

// Status tells how it goes.
func (d *Duty) Status() Status {
	if d.o.Maker == nil {
		return Status{}
	}
	s := Status{Enabled: true, Store: d.o.Shelf.Store.String(), AgeHours: d.age(d.good()) / 3600, VerifiedAgeHours: d.age(d.verified()) / 3600}
	d.mu.Lock()
	s.Doing, s.Last, s.Good, s.Tried, s.Verified = d.doing, d.notes.Last, d.notes.Good, d.notes.Tried, d.notes.Verified
	d.mu.Unlock()
	if s.Doing == "backup" {
		p := d.o.Maker.Progress()
		s.Progress = &p
	}
	if d.o.Next != nil {
		made, tried := d.o.Next()
		a, b := device.MicrosOf(made), device.MicrosOf(tried)
		s.NextBackup, s.NextTrial = &a, &b
	}
	return s
}

// maxList bounds a list of backups, which goes in one piece.
const maxList = 1000

// list gives the newest backups, the newest first.
func (d *Duty) list(ctx context.Context) ([]Entry, error) {
	entries, err := d.o.Shelf.Entries(ctx)
	if err != nil {
		return nil, err
	}
	list := []Entry{}
	for _, e := range slices.Backward(entries) {
		if len(list) == maxList {
			break
		}
		one := Entry{ID: e.ID, At: device.MicrosOf(e.Time)}
		m, err := d.o.Shelf.Manifest(ctx, e)
		switch {
		case errors.Is(err, form.ErrDamaged):
			one.Error = err.Error()
		case err != nil:
			return nil, err
		default:
			one.Basis, one.Days, one.Points, one.Bytes, one.InfluxDB, one.LeftOut = m.Basis, len(m.Days), m.Points(), m.Bytes(), m.InfluxDB, m.LeftOut
		}
		list = append(list, one)
	}
	return list, nil
}
