package archive

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// MaxPage bounds what one question gives.
const MaxPage = 1000

var (
	// ErrUnknown means that there is no such alert, rule or window.
	ErrUnknown = errors.New("there is none")
	// ErrCursor means that a cursor is none of List's.
	ErrCursor = errors.New("not a cursor of this list")
)

// Filter narrows a list; what is empty takes all.
type Filter struct {
	// Firing takes what fires, acknowledged or not; States only these of all.
	Firing   bool
	States   []contract.AlertState
	Rule     string
	Severity contract.Severity
	Device   device.ID
	Gateway  string
	Floors   []int
	// From and To are times at which it fired, 0 without a bound, To not included.
	From, To device.Micros
	// Late takes only what came too late to be told (true), or none of it.
	Late *bool
}

func (f *Filter) fits(a *contract.Alert) bool {
	return (len(f.States) == 0 || slices.Contains(f.States, a.State)) &&
		(!f.Firing || a.State != contract.Resolved) &&
		(f.Rule == "" || f.Rule == a.Rule) && (f.Severity == "" || f.Severity == a.Severity) &&
		(f.Device.IsZero() || f.Device == a.Device) && (f.Gateway == "" || f.Gateway == a.Gateway) &&
		(len(f.Floors) == 0 || a.Floor != nil && slices.Contains(f.Floors, *a.Floor)) &&
		(f.From == 0 || a.Fired >= f.From) && (f.To == 0 || a.Fired < f.To) && (f.Late == nil || *f.Late == a.Late)
}

// List gives a page of alerts, the newest first, and the cursor of the next page,
// "" on the last.
func (a *Archive) List(f Filter, cursor string, limit int) (page []contract.Alert, next string, err error) {
	before, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %.40q", ErrCursor, cursor)
	}
	if limit < 1 || limit > MaxPage {
		limit = MaxPage
	}
	page = []contract.Alert{}
	var last []byte
	take := func(key []byte, alert contract.Alert) (more bool) {
		if !f.fits(&alert) {
			return true
		}
		if len(page) == limit {
			next = base64.RawURLEncoding.EncodeToString(last)
			return false
		}
		page, last = append(page, alert), bytes.Clone(key)
		return true
	}
	err = a.db.View(func(tx *bbolt.Tx) error {
		if f.Firing {
			a.listFiring(tx, before, take)
		} else {
			a.listAll(tx, before, f, take)
		}
		return nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("list alerts: %w", err)
	}
	return page, next, nil
}

func (a *Archive) listFiring(tx *bbolt.Tx, before []byte, take func([]byte, contract.Alert) bool) {
	var keys [][]byte
	ids := tx.Bucket(keysBucket)
	_ = tx.Bucket(firingBucket).ForEach(func(id, _ []byte) error {
		if key := ids.Get(id); len(before) == 0 || bytes.Compare(key, before) < 0 {
			keys = append(keys, key)
		}
		return nil
	})
	slices.SortFunc(keys, func(a, b []byte) int { return bytes.Compare(b, a) })
	alerts := tx.Bucket(alertsBucket)
	for _, key := range keys { // read now: a page is few of them
		if !a.show(key, alerts.Get(key), take) {
			return
		}
	}
}

// show hands an alert out, unless it cannot be read.
func (a *Archive) show(key, text []byte, take func([]byte, contract.Alert) bool) (more bool) {
	var alert contract.Alert
	if err := json.Unmarshal(text, &alert); err != nil {
		a.unreadable("alert", fmt.Errorf("alert %.200q: %w", key[min(8, len(key)):], err))
		return true
	}
	return take(key, alert)
}

func (a *Archive) listAll(tx *bbolt.Tx, before []byte, f Filter, take func([]byte, contract.Alert) bool) {
	if to := at(f.To); f.To != 0 && (len(before) == 0 || bytes.Compare(to, before) < 0) {
		before = to
	}
	c := tx.Bucket(alertsBucket).Cursor()
	key, text := c.Last()
	if len(before) > 0 {
		if k, _ := c.Seek(before); k != nil {
			key, text = c.Prev()
		} else {
			key, text = c.Last()
		}
	}
	for ; key != nil && (f.From == 0 || bytes.Compare(key, at(f.From)) >= 0); key, text = c.Prev() {
		if !a.show(key, text, take) {
			return
		}
	}
}

// Get gives one alert.
func (a *Archive) Get(id string) (alert contract.Alert, err error) {
	err = a.db.View(func(tx *bbolt.Tx) error {
		alert, err = get(tx, []byte(id))
		return err
	})
	return alert, err
}

// Statistics is how one rule has done.
type Statistics struct {
	Rule     string            `json:"rule"`
	Severity contract.Severity `json:"severity"`
	// Alerts fired in the time asked for, Late of them are only history, and
	// Flapping came and went. Firing still do.
	Alerts   int `json:"alerts"`
	Late     int `json:"late,omitempty"`
	Flapping int `json:"flapping,omitempty"`
	Firing   int `json:"firing"`
	// Seconds is how long those took together that have ended, Longest the one that
	// took longest.
	Seconds float64 `json:"seconds"`
	Longest float64 `json:"longest_seconds"`
}

// Statistics sums up, per rule, what the filter takes; sorted by rule.
func (a *Archive) Statistics(f Filter) ([]Statistics, error) {
	by := make(map[string]*Statistics)
	err := a.db.View(func(tx *bbolt.Tx) error {
		a.listAll(tx, nil, f, func(_ []byte, alert contract.Alert) bool {
			if f.fits(&alert) {
				count(by, &alert)
			}
			return true
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count alerts: %w", err)
	}
	all := make([]Statistics, 0, len(by))
	for _, s := range by {
		all = append(all, *s)
	}
	slices.SortFunc(all, func(x, y Statistics) int { return strings.Compare(x.Rule, y.Rule) })
	return all, nil
}

func count(by map[string]*Statistics, alert *contract.Alert) {
	s := by[alert.Rule]
	if s == nil {
		s = &Statistics{Rule: alert.Rule}
		by[alert.Rule] = s
	}
	s.Severity = alert.Severity
	s.Alerts++
	if alert.Late {
		s.Late++
	}
	if alert.Flapping {
		s.Flapping++
	}
	if alert.State != contract.Resolved {
		s.Firing++
		return
	}
	took := float64(alert.Ended-alert.Since) / 1e6
	s.Seconds += took
	s.Longest = max(s.Longest, took)
}
