package tokens_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/cloud/registry/audit"
	"github.com/wattline/wattline/cloud/registry/tokens"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
)

// room is the room in a file of its own.
type room struct {
	t     *testing.T
	db    *bbolt.DB
	store *tokens.Store
}

func open(t *testing.T) *room {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "registry.db"), 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	store, err := tokens.Open(db)
	if err != nil {
		t.Fatal(err)
	}
	return &room{t, db, store}
}

// token is one as the answers show it.
type token struct {
	ID, Name, Secret string
	Role             contract.Role
	Floors           []int
	Expired          bool
}

func (r *room) ask(request contract.RegistryRequest) contract.RegistryAnswer {
	return r.store.Answer(r.t.Context(), request)
}

func (r *room) create(content string) (made token) {
	r.t.Helper()
	answer := r.ask(contract.RegistryRequest{Verb: "create", Who: "ana", Reason: "why not", From: "192.0.2.1", Content: json.RawMessage(content)})
	if answer.Problem != nil {
		r.t.Fatalf("create %s: %+v", content, answer.Problem)
	}
	if err := json.Unmarshal(answer.Content, &made); err != nil {
		r.t.Fatal(err)
	}
	return made
}

func (r *room) list(request contract.RegistryRequest) (all []token, next string) {
	r.t.Helper()
	request.Verb = "list"
	answer := r.ask(request)
	if answer.Problem != nil {
		r.t.Fatal(answer.Problem)
	}
	if err := json.Unmarshal(answer.Content, &all); err != nil {
		r.t.Fatal(err)
	}
	return all, answer.Next
}

// log gives the audit log, oldest first, without times.
func (r *room) log() (entries []contract.Audited) {
	r.t.Helper()
	err := r.db.View(func(tx *bbolt.Tx) error {
		page, _, err := audit.List(tx, nil, "", 100)
		for _, e := range page {
			e.At = 0
			entries = append([]contract.Audited{e}, entries...)
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return entries
}

func TestASecretIsShownOnceAndKeptAsItsHash(t *testing.T) {
	r := open(t)
	made := r.create(`{"name": "Hausmeister Süd", "role": "operator", "floors": [2, 1, 2]}`)
	if len(made.Secret) < 43 || made.ID == "" || !cmp.Equal(made.Floors, []int{1, 2}) {
		t.Errorf("made %+v", made)
	}
	other := r.create(`{"name": "boss", "role": "admin", "floors": null, "expires": "2199-01-01T00:00:00Z"}`)
	if other.Secret == made.Secret || other.ID == made.ID {
		t.Error("two tokens are one")
	}
	retained, err := r.store.Retained()
	if err != nil || len(retained) != 2 {
		t.Fatalf("%v, %v", retained, err)
	}
	var kept contract.Token
	if err := json.Unmarshal(retained["registry/tokens/"+made.ID], &kept); err != nil {
		t.Fatal(err)
	}
	if kept.Hash != tokens.Hash(config.Secret(made.Secret)) || kept.Name != "Hausmeister Süd" || kept.Role != contract.Operator || kept.Created == 0 {
		t.Errorf("kept %+v", kept)
	}
	all, _ := r.list(contract.RegistryRequest{})
	text, _ := json.Marshal(retained)
	for _, place := range []string{string(text), fmt.Sprint(all), fmt.Sprint(r.log())} {
		if strings.Contains(place, made.Secret) {
			t.Errorf("the secret is in %s", place)
		}
	}
	if len(all) != 2 || all[0].Name != "boss" || all[1].Secret != "" {
		t.Errorf("list %+v", all)
	}
}

func TestEveryChangeIsAudited(t *testing.T) {
	r := open(t)
	made := r.create(`{"name": "one", "role": "viewer"}`)
	if a := r.ask(contract.RegistryRequest{Verb: "delete", Key: made.ID, Who: "ben"}); a.Problem != nil {
		t.Fatal(a.Problem)
	}
	want := []contract.Audited{
		{Who: "ana", What: "create token", Object: "one", Reason: "why not", Result: "done", Detail: "role viewer, id " + made.ID, From: "192.0.2.1"},
		{Who: "ben", What: "delete token", Object: "one", Result: "done", Detail: "role viewer, id " + made.ID},
	}
	if diff := cmp.Diff(want, r.log()); diff != "" {
		t.Error(diff)
	}
	if retained, _ := r.store.Retained(); len(retained) != 0 {
		t.Errorf("retained %v", retained)
	}
}

func TestEveryMistakeOfATokenIsNamed(t *testing.T) {
	r := open(t)
	r.create(`{"name": "Ana", "role": "viewer"}`)
	for content, fields := range map[string]string{
		`{}`:   "name role",
		`[]`:   "",
		``:     "",
		`null`: "",
		`{"name": 1, "role": "boss", "floors": "all", "expires": true}`:                "name role floors expires",
		`{"name": "a", "name": "b", "role": "viewer"}`:                                 "name",
		`{"name": "a", "role": "viewer", "floor": [1]}`:                                "floor",
		`{"name": "a", "role": "admin", "floors": [1]}`:                                "floors",
		`{"name": "a", "role": "viewer", "floors": []}`:                                "floors",
		`{"name": "a", "role": "viewer", "floors": [1.5]}`:                             "floors",
		`{"name": "a", "role": "viewer", "floors": [1000000]}`:                         "floors",
		`{"name": "a", "role": "viewer", "expires": "2001-01-01T00:00:00Z"}`:           "expires",
		`{"name": "a", "role": "viewer", "expires": 12}`:                               "expires",
		`{"name": "a", "role": "viewer", "expires": "tomorrow"}`:                       "expires",
		`{"name": "a", "role": "viewer", "expires": 99999999999}`:                      "expires",
		`{"name": " a", "role": "viewer"}`:                                             "name",
		`{"name": "a ", "role": "viewer"}`:                                             "name",
		`{"name": "a\u0000b", "role": "viewer"}`:                                       "name",
		`{"name": "` + strings.Repeat("ä", 65) + `", "role": "viewer"}`:                "name",
		`{"name": "api 127.0.0.1", "role": "viewer"}`:                                  "name",
		`{"name": "IoToad x", "role": "viewer"}`:                                       "name",
		`{"name": "a", "role": "Viewer"}`:                                              "role",
		`{"name": "", "role": ""}`:                                                     "name role",
		`{"name": "a", "role": "viewer", "` + strings.Repeat("y", 10_000) + `": true}`: strings.Repeat("y", 64),
	} {
		answer := r.ask(contract.RegistryRequest{Verb: "create", Content: json.RawMessage(content)})
		if answer.Problem == nil || answer.Problem.Kind != contract.Invalid {
			t.Errorf("%.80s: %+v", content, answer)
			continue
		}
		var got []string
		for _, m := range answer.Problem.Mistakes {
			got = append(got, m.Field)
		}
		if strings.Join(got, " ") != fields {
			t.Errorf("%.80s: mistakes in %v, want %s", content, answer.Problem.Mistakes, fields)
		}
	}
	answer := r.ask(contract.RegistryRequest{Verb: "create", Content: json.RawMessage(`{"name": "aNA", "role": "viewer"}`)})
	if answer.Problem == nil || answer.Problem.Kind != contract.Conflict || !strings.Contains(answer.Problem.Detail, "aNA") {
		t.Errorf("a name that is taken: %+v", answer)
	}
	if all, _ := r.list(contract.RegistryRequest{}); len(all) != 1 || len(r.log()) != 1 {
		t.Errorf("mistakes have made %v", all)
	}
}

func TestVerbsKeysAndFiltersThatThereAreNot(t *testing.T) {
	r := open(t)
	for name, c := range map[string]struct {
		request contract.RegistryRequest
		kind    contract.ProblemKind
	}{
		"a verb":   {contract.RegistryRequest{Verb: "burn"}, contract.Invalid},
		"a key":    {contract.RegistryRequest{Verb: "delete", Key: "x"}, contract.NotFound},
		"no key":   {contract.RegistryRequest{Verb: "delete"}, contract.NotFound},
		"a filter": {contract.RegistryRequest{Verb: "list", Filter: map[string]string{"hash": "0"}}, contract.Invalid},
		"a role":   {contract.RegistryRequest{Verb: "list", Filter: map[string]string{"role": "boss"}}, contract.Invalid},
	} {
		if a := r.ask(c.request); a.Problem == nil || a.Problem.Kind != c.kind || a.Problem.Detail == "" {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

func TestADryRunChangesNothing(t *testing.T) {
	r := open(t)
	answer := r.ask(contract.RegistryRequest{Verb: "create", DryRun: true, Content: json.RawMessage(`{"name": "a", "role": "viewer"}`)})
	if answer.Problem != nil || strings.Contains(string(answer.Content), "secret") {
		t.Errorf("%s %v", answer.Content, answer.Problem)
	}
	if all, _ := r.list(contract.RegistryRequest{}); len(all) != 0 || len(r.log()) != 0 {
		t.Errorf("made %v", all)
	}
	r.create(`{"name": "Ana", "role": "viewer"}`)
	if a := r.ask(contract.RegistryRequest{Verb: "delete", DryRun: true, Key: "ana"}); a.Problem != nil { // a name does, too
		t.Error(a.Problem)
	}
	if all, _ := r.list(contract.RegistryRequest{}); len(all) != 1 || len(r.log()) != 1 {
		t.Errorf("left %v", all)
	}
}

func TestTheLastAdminStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t)
		boss := r.create(`{"name": "boss", "role": "admin"}`)
		r.create(`{"name": "op", "role": "operator"}`)
		deputy := r.create(fmt.Sprintf(`{"name": "deputy", "role": "admin", "expires": %q}`, time.Now().Add(time.Hour).Format(time.RFC3339)))
		time.Sleep(2 * time.Hour)
		remove := func(id string) *contract.Problem {
			return r.ask(contract.RegistryRequest{Verb: "delete", Key: id}).Problem
		}
		p := remove(boss.ID) // the deputy's has expired
		if p == nil || p.Kind != contract.Conflict || !strings.Contains(p.Detail, "another admin token first") {
			t.Fatalf("the last admin token: %v", p)
		}
		r.create(`{"name": "heir", "role": "admin"}`)
		if p := remove(boss.ID); p != nil {
			t.Errorf("one of two: %v", p)
		}
		if p := remove(deputy.ID); p != nil {
			t.Errorf("an expired one: %v", p)
		}
	})
}

func TestTheFirstAdminIsMadeOnceAndOnlyIfItsSecretIsKept(t *testing.T) {
	r := open(t)
	full := errors.New("disk full")
	if made, err := r.store.EnsureAdmin("admin", func(config.Secret) error { return full }); made || !errors.Is(err, full) {
		t.Errorf("%v, %v", made, err)
	}
	if all, _ := r.list(contract.RegistryRequest{}); len(all) != 0 {
		t.Errorf("a token that nobody knows: %v", all)
	}
	r.create(`{"name": "Admin", "role": "viewer"}`)
	var secret config.Secret
	if made, err := r.store.EnsureAdmin("admin", func(s config.Secret) error { secret = s; return nil }); !made || err != nil {
		t.Fatalf("%v, %v", made, err)
	}
	all, _ := r.list(contract.RegistryRequest{Filter: map[string]string{"role": "admin"}})
	retained, _ := r.store.Retained()
	if len(all) != 1 || all[0].Name != "admin-2" || !strings.Contains(string(retained["registry/tokens/"+all[0].ID]), tokens.Hash(secret)) {
		t.Errorf("%v", all)
	}
	if made, err := r.store.EnsureAdmin("admin", func(config.Secret) error { return full }); made || err != nil {
		t.Errorf("a second time: %v, %v", made, err)
	}
}

func TestListsComeInPages(t *testing.T) {
	r := open(t)
	for n := range 7 {
		r.create(fmt.Sprintf(`{"name": "t%d", "role": "viewer"}`, n))
	}
	var names []string
	for cursor, pages := "", 0; pages < 10; pages++ {
		page, next := r.list(contract.RegistryRequest{Limit: 3, Cursor: cursor})
		for _, one := range page {
			names = append(names, one.Name)
		}
		if cursor = next; next == "" {
			break
		}
	}
	if got := strings.Join(names, " "); got != "t0 t1 t2 t3 t4 t5 t6" {
		t.Error(got)
	}
}

func TestTokensSurviveReopening(t *testing.T) {
	file := filepath.Join(t.TempDir(), "registry.db")
	for round := range 2 {
		db, err := bbolt.Open(file, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		store, err := tokens.Open(db)
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			store.Answer(t.Context(), contract.RegistryRequest{Verb: "create", Content: json.RawMessage(`{"name": "a", "role": "viewer"}`)})
		}
		if retained, err := store.Retained(); err != nil || len(retained) != 1 {
			t.Errorf("round %d: %v, %v", round, retained, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAClosedFileIsNotNow(t *testing.T) {
	r := open(t)
	if err := r.db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, request := range []contract.RegistryRequest{{Verb: "list"}, {Verb: "create", Content: json.RawMessage(`{"name": "a", "role": "viewer"}`)}, {Verb: "delete", Key: "x"}} {
		if a := r.ask(request); a.Problem == nil || a.Problem.Kind != contract.NotNow {
			t.Errorf("%s: %+v", request.Verb, a)
		}
	}
}

func FuzzCreate(f *testing.F) {
	f.Add(`{"name": "a", "role": "viewer", "floors": [1], "expires": 1}`)
	f.Add(`{"name": "a", "name": {}}`)
	f.Fuzz(func(t *testing.T, content string) {
		r := open(t)
		answer := r.ask(contract.RegistryRequest{Verb: "create", Content: json.RawMessage(content)})
		if answer.Problem != nil {
			return
		}
		if retained, err := r.store.Retained(); err != nil || len(retained) != 1 || !json.Valid(answer.Content) {
			t.Errorf("%q: %v, %v", content, retained, err)
		}
	})
}
