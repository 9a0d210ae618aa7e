package archive

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
)

const lockWait = 5 * time.Second

// The file: alerts / <fired, 8 bytes><id> -> Alert, keys / <id> -> key of alerts,
// firing / <id> -> nothing, windows / <id> -> Maintenance, audit / <time, 8
// bytes><n> -> Audited, state / rules, revision, engine.
var (
	alertsBucket  = []byte("alerts")
	keysBucket    = []byte("keys")
	firingBucket  = []byte("firing")
	windowsBucket = []byte("windows")
	auditBucket   = []byte("audit")
	stateBucket   = []byte("state")
	rulesKey      = []byte("rules")
	revisionKey   = []byte("revision")
	engineKey     = []byte("engine")
)

// ErrInUse means that another process has the file open.
var ErrInUse = errors.New("another process has it open")

// Archive is the open file. Safe for concurrent use.
type Archive struct {
	db      *bbolt.DB
	log     *slog.Logger
	sparing hook.Sparing

	writing sync.Mutex // one writer of alerts at a time; protects count
	count   int        // of alerts
}

// Open opens the file, or begins it.
func Open(name string, log *slog.Logger) (*Archive, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, fmt.Errorf("open the alerts: %w", err)
	}
	a, err := open(name, log)
	if err == nil || errors.Is(err, ErrInUse) || errors.Is(err, os.ErrPermission) {
		return a, err
	}
	aside := fmt.Sprintf("%s.damaged-%d", name, time.Now().Unix())
	if moved := os.Rename(name, aside); moved != nil {
		return nil, errors.Join(err, moved)
	}
	log.Error("alerts cannot be read; the file was moved aside, and they begin anew with the rules that come with the program",
		slog.String("file", aside), slog.Any("err", err))
	return open(name, log)
}

func open(name string, log *slog.Logger) (a *Archive, err error) {
	defer func() { // bbolt 1.5.0 panics at some damages
		if p := recover(); p != nil {
			err = fmt.Errorf("open the alerts %s: %v", name, p)
		}
	}()
	db, err := bbolt.Open(name, 0o600, &bbolt.Options{Timeout: lockWait})
	if errors.Is(err, bbolt.ErrTimeout) { //nolint:staticcheck // the name that bbolt keeps
		return nil, fmt.Errorf("open the alerts %s: %w: only one may run with the role alerting", name, ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("open the alerts %s: %w", name, err)
	}
	a = &Archive{db: db, log: log}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, bucket := range [][]byte{alertsBucket, keysBucket, firingBucket, windowsBucket, auditBucket, stateBucket} {
			if _, err := tx.CreateBucketIfNotExists(bucket); err != nil {
				return err
			}
		}
		return tx.Bucket(alertsBucket).ForEach(func(_, _ []byte) error {
			a.count++
			return nil
		})
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the alerts %s: %w", name, err), db.Close())
	}
	return a, nil
}

// DB is the file, for the queues of the receivers.
func (a *Archive) DB() *bbolt.DB { return a.db }

// Close closes the file. Safe twice.
func (a *Archive) Close() error { return a.db.Close() }

// Keep writes changes of alerts, and what with writes, in one transaction.
func (a *Archive) Keep(changes []engine.Change, with func(tx *bbolt.Tx) error) error {
	a.writing.Lock()
	defer a.writing.Unlock()
	count := a.count
	err := a.db.Update(func(tx *bbolt.Tx) error {
		for _, c := range changes {
			isNew, err := put(tx, c.Alert)
			if err != nil {
				return err
			}
			if isNew {
				count++
			}
		}
		return with(tx)
	})
	if err != nil {
		return fmt.Errorf("keep %d changes of alerts: %w", len(changes), err)
	}
	a.count = count
	return nil
}

func put(tx *bbolt.Tx, alert contract.Alert) (isNew bool, err error) {
	id := []byte(alert.ID)
	key := tx.Bucket(keysBucket).Get(id)
	if isNew = key == nil; isNew {
		key = keyOf(alert)
		if err := tx.Bucket(keysBucket).Put(id, key); err != nil {
			return false, err
		}
	}
	text, err := json.Marshal(alert)
	if err != nil {
		return false, err
	}
	if err := tx.Bucket(alertsBucket).Put(key, text); err != nil {
		return false, err
	}
	if alert.State == contract.Resolved {
		return isNew, tx.Bucket(firingBucket).Delete(id)
	}
	return isNew, tx.Bucket(firingBucket).Put(id, nil)
}

// keyOf sorts alerts by when they fired.
func keyOf(alert contract.Alert) []byte {
	return append(at(alert.Fired), alert.ID...)
}

func at(t device.Micros) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(max(t, 0)))
}

// Remember keeps what an engine needs to go on.
func (a *Archive) Remember(all []engine.Remembered) error {
	all = slices.Clone(all)
	for i, r := range all {
		if r.Alert != nil { // which is kept as such
			all[i].Alert = &contract.Alert{ID: r.Alert.ID}
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	err = a.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(stateBucket).Put(engineKey, text) })
	if err != nil {
		return fmt.Errorf("keep what the engine remembers: %w", err)
	}
	return nil
}

// Recall gives what the engine remembered. What fires is what the alerts say: they
// are written at once, the rest now and then.
func (a *Archive) Recall() ([]engine.Remembered, error) {
	var all []engine.Remembered
	firing := make(map[string]contract.Alert)
	err := a.db.View(func(tx *bbolt.Tx) error {
		if text := tx.Bucket(stateBucket).Get(engineKey); text != nil {
			if err := json.Unmarshal(text, &all); err != nil {
				a.unreadable("what is pending", err)
				all = nil
			}
		}
		a.eachFiring(tx, func(alert contract.Alert) { firing[alert.ID] = alert })
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what the engine remembers: %w", err)
	}
	for i := range all {
		r := &all[i]
		if r.Alert == nil {
			continue
		}
		alert, fires := firing[r.Alert.ID]
		delete(firing, r.Alert.ID)
		if r.Alert = &alert; !fires {
			r.Alert, r.Since, r.Bad = nil, 0, 0 // it has ended since
		}
	}
	for _, alert := range firing { // they have begun since
		kept := alert
		r := engine.Remembered{Rule: alert.Rule, Device: alert.Device, Source: alert.Gateway, Since: alert.Since, Bad: alert.Since, Last: alert.Since, Told: alert.Fired, Alert: &kept}
		if alert.Device.IsZero() && alert.Subject == alert.Gateway { // else it is of the site, which has none
			r.Gateway = alert.Subject
		}
		all = append(all, r)
	}
	return latest(all), nil
}

// latest has each rule and subject once: with its alert, if one is there.
func latest(all []engine.Remembered) []engine.Remembered {
	type key struct {
		rule, gateway string
		device        device.ID
	}
	places := make(map[key]int)
	kept := all[:0]
	for _, r := range all {
		k := key{r.Rule, r.Gateway, r.Device}
		if i, twice := places[k]; twice {
			if r.Alert != nil {
				r.Raises, r.At, r.Value, r.Text, r.Last = kept[i].Raises, kept[i].At, kept[i].Value, kept[i].Text, max(kept[i].Last, r.Last)
				kept[i] = r
			}
			continue
		}
		places[k] = len(kept)
		kept = append(kept, r)
	}
	return kept
}

func (a *Archive) eachFiring(tx *bbolt.Tx, each func(contract.Alert)) {
	_ = tx.Bucket(firingBucket).ForEach(func(id, _ []byte) error {
		if alert, err := get(tx, id); err != nil {
			a.unreadable("alert", err)
		} else {
			each(alert)
		}
		return nil
	})
}

// unreadable logs, once a minute, what is left out because it is damaged: the rest
// is worth more than that it is all.
func (a *Archive) unreadable(what string, err error) {
	if a.sparing.May(what) {
		a.log.Error("damaged and left out", slog.String("component", what), slog.Any("err", err))
	}
}

func get(tx *bbolt.Tx, id []byte) (alert contract.Alert, err error) {
	key := tx.Bucket(keysBucket).Get(id)
	if key == nil {
		return alert, fmt.Errorf("alert %s: %w", id, ErrUnknown)
	}
	if err := json.Unmarshal(tx.Bucket(alertsBucket).Get(key), &alert); err != nil {
		return alert, fmt.Errorf("alert %s: %w", id, err)
	}
	return alert, nil
}
