package audit_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/cloud/registry/audit"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

func open(t *testing.T) *bbolt.DB {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "registry.db"), 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func add(t *testing.T, db *bbolt.DB, entries ...contract.Audited) {
	t.Helper()
	err := db.Update(func(tx *bbolt.Tx) error {
		for _, e := range entries {
			if err := audit.Append(tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// list reads all pages.
func list(t *testing.T, db *bbolt.DB, filter map[string]string, limit int) (all []contract.Audited, pages int) {
	t.Helper()
	for cursor := ""; ; pages++ {
		err := db.View(func(tx *bbolt.Tx) error {
			page, next, err := audit.List(tx, filter, cursor, limit)
			all, cursor = append(all, page...), next
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if cursor == "" {
			return all, pages + 1
		}
	}
}

func TestEntriesComeBackNewestFirstPageByPage(t *testing.T) {
	db := open(t)
	if all, _ := list(t, db, nil, 10); len(all) != 0 {
		t.Errorf("an empty log has %v", all)
	}
	for n := range 25 {
		add(t, db, contract.Audited{At: device.Micros(n + 1), Who: "ana", What: "change place", Object: fmt.Sprint(n)})
	}
	all, pages := list(t, db, nil, 10)
	if len(all) != 25 || pages != 3 {
		t.Fatalf("%d entries in %d pages", len(all), pages)
	}
	for i, e := range all {
		if want := fmt.Sprint(24 - i); e.Object != want || e.Result != audit.Done {
			t.Errorf("entry %d is %+v, want object %s", i, e, want)
		}
	}
}

func TestNewEntriesDoNotShiftAPage(t *testing.T) {
	db := open(t)
	for n := range 4 {
		add(t, db, contract.Audited{Who: "a", What: fmt.Sprint(n)})
	}
	var cursor string
	_ = db.View(func(tx *bbolt.Tx) (err error) { _, cursor, err = audit.List(tx, nil, "", 2); return err })
	add(t, db, contract.Audited{Who: "a", What: "new"})
	_ = db.View(func(tx *bbolt.Tx) error {
		page, next, err := audit.List(tx, nil, cursor, 2)
		if err != nil || len(page) != 2 || page[0].What != "1" || next != "" {
			t.Errorf("second page %v, next %q, %v", page, next, err)
		}
		return nil
	})
}

func TestFilters(t *testing.T) {
	db := open(t)
	add(t, db,
		contract.Audited{At: 1_000_000, Who: "ana", What: "change place", Object: "sp_f1.g0"},
		contract.Audited{At: 2_000_000, Who: "ben", What: "create place", Object: "sp_f1.g1", Result: audit.Refused},
		contract.Audited{At: 3_000_000, Who: "ana", What: "change site"})
	for name, c := range map[string]struct {
		filter map[string]string
		want   string
	}{
		"all":         {nil, "321"},
		"who":         {map[string]string{"who": "ana"}, "31"},
		"what begins": {map[string]string{"what": "change*"}, "31"},
		"object":      {map[string]string{"object": "sp_f1.g1"}, "2"},
		"result":      {map[string]string{"result": "refused"}, "2"},
		"from":        {map[string]string{"from": "2"}, "32"},
		"to":          {map[string]string{"to": "1970-01-01T00:00:02Z"}, "1"},
		"several":     {map[string]string{"who": "ana", "from": "1.5", "to": "9"}, "3"},
	} {
		all, _ := list(t, db, c.filter, 0)
		got := ""
		for _, e := range all {
			got += fmt.Sprint(int(e.At) / 1_000_000)
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestMalformedQuestionsAreNamed(t *testing.T) {
	store, err := audit.Open(open(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []contract.RegistryRequest{
		{Verb: "list", Filter: map[string]string{"from": "yesterday"}},
		{Verb: "list", Filter: map[string]string{"colour": "red"}},
		{Verb: "list", Cursor: "x"},
		{Verb: "delete"},
		{Verb: "note", Content: json.RawMessage(`{"who":"a"}`)},
		{Verb: "note", Content: json.RawMessage(`[`)},
	} {
		if a := store.Answer(t.Context(), r); a.Problem == nil || a.Problem.Kind != contract.Invalid {
			t.Errorf("%+v: %+v", r, a)
		}
	}
}

func TestTextsAreCutBetweenCharacters(t *testing.T) {
	db := open(t)
	add(t, db, contract.Audited{Who: strings.Repeat("x", 996) + "ñandú€€", What: "w\xff", Detail: strings.Repeat("€", 5000)})
	all, _ := list(t, db, nil, 1)
	for _, text := range []string{all[0].Who, all[0].What, all[0].Detail} {
		if len(text) > 1000 || !utf8.ValidString(text) {
			t.Errorf("%d bytes, %q", len(text), text)
		}
	}
}

func TestAFloodOfNotesIsBoundedAndCounted(t *testing.T) {
	db := open(t)
	synctest.Test(t, func(t *testing.T) {
		store, err := audit.Open(db)
		if err != nil {
			t.Fatal(err)
		}
		note := contract.RegistryRequest{Verb: "note", Content: json.RawMessage(`{"who":"x","what":"log in","result":"refused","at":1}`)}
		for range 2000 {
			if a := store.Answer(t.Context(), note); a.Problem != nil {
				t.Fatal(a.Problem)
			}
		}
		if all, _ := list(t, db, nil, 1000); len(all) != 500 {
			t.Errorf("%d notes kept", len(all))
		}
		time.Sleep(10 * time.Second)
		if a := store.Answer(t.Context(), note); a.Problem != nil {
			t.Fatal(a.Problem)
		}
		all, _ := list(t, db, nil, 2)
		if !strings.Contains(all[1].Detail, "1500 notes") || all[0].At == 1 {
			t.Errorf("afterwards %+v", all)
		}
	})
}
