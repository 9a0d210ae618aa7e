package copies_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"go.uber.org/goleak"

	"github.com/wattline/wattline/cloud/backup/copies"
	"github.com/wattline/wattline/cloud/backup/form"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/bus/bustest"
	"github.com/wattline/wattline/shared/hook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// start runs a component and an asker on a broker.
func start(t *testing.T, c hook.Component) *bus.Asker {
	t.Helper()
	broker := bustest.Start(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	up := make(chan struct{}, 1)
	t.Cleanup(func() {
		cancel()
		<-done
		<-done
	})
	options := bus.Options{URL: broker.URL, ClientID: hook.ClientID("backup")}
	asker := bus.NewAsker("backup/test", options, nil, quiet)
	served := bus.Options{URL: broker.URL, Up: func(context.Context, *bus.Session) error {
		select {
		case up <- struct{}{}:
		default:
		}
		return nil
	}}
	go func() {
		_ = c.Serve(ctx, served, quiet)
		done <- struct{}{}
	}()
	go func() {
		_ = asker.Run(ctx)
		done <- struct{}{}
	}()
	waiting, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	if err := asker.Link().AwaitUp(waiting); err != nil {
		t.Fatal(err)
	}
	select {
	case <-up:
	case <-waiting.Done():
		t.Fatal("the component is not there")
	}
	return asker
}

type taken struct {
	path    string
	secret  bool
	content []byte
}

func ask(t *testing.T, a copies.Asker) (all []taken, err error) {
	t.Helper()
	err = copies.Roles{Asker: a, Names: []string{"registry"}}.Each(t.Context(), true, func(role, path string, secret bool, content io.Reader) error {
		text, err := io.ReadAll(content)
		all = append(all, taken{path, secret, text})
		if role != "registry" {
			t.Errorf("the role is %q", role)
		}
		return err
	})
	return all, err
}

func TestFilesComeOverTheBusAsTheyAre(t *testing.T) {
	large := make([]byte, 3<<20+17)
	_, _ = rand.Read(large)
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := form.ParseRecipients([]string{id.Recipient().String()})
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "ca.key")
	if err := os.WriteFile(secret, []byte("a secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	spool := filepath.Join(t.TempDir(), "spool")
	a := start(t, copies.Component("registry", spool, keys, quiet,
		copies.File{Path: "registry/registry.db", Copy: func(w io.Writer) error {
			_, err := w.Write(large)
			return err
		}},
		copies.Plain("registry/ca.key", secret, true),
		copies.Plain("registry/none", filepath.Join(spool, "none"), false),
	))
	all, err := ask(t, a)
	if err != nil || len(all) != 2 {
		t.Fatalf("%v, %d files", err, len(all))
	}
	if all[0].path != "registry/registry.db" || !bytes.Equal(all[0].content, large) {
		t.Errorf("%s, %d bytes of %d", all[0].path, len(all[0].content), len(large))
	}
	if all[1].path != "registry/ca.key.age" || !all[1].secret || bytes.Contains(all[1].content, []byte("a secret")) {
		t.Errorf("the secret comes as %q", all[1].content)
	}
	if err := keys.ReadIdentities(strings.NewReader(id.String())); err != nil {
		t.Fatal(err)
	}
	plain, err := keys.OpenSecret(bytes.NewReader(all[1].content))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(plain); string(text) != "a secret" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	if left, err := os.ReadDir(spool); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

func TestWithoutRecipientsNoSecretIsSent(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "ca.key")
	if err := os.WriteFile(secret, []byte("a secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := start(t, copies.Component("registry", t.TempDir(), nil, quiet, copies.Plain("registry/ca.key", secret, true)))
	if all, err := ask(t, a); err != nil || len(all) > 0 {
		t.Errorf("%v, %v", all, err)
	}
}

func TestARoleThatFailsSaysSo(t *testing.T) {
	a := start(t, copies.Component("registry", t.TempDir(), nil, quiet, copies.File{Path: "x", Copy: func(io.Writer) error { return errors.New("the disk is broken") }}))
	if _, err := ask(t, a); err == nil || !strings.Contains(err.Error(), "the disk is broken") {
		t.Errorf("got %v", err)
	}
}

// says is an asker that answers itself.
type says []string

func (s says) Once(_ context.Context, _ string, _ json.RawMessage, part func(json.RawMessage) error) (bus.Envelope, error) {
	for _, text := range s {
		if err := part(json.RawMessage(text)); err != nil {
			return bus.Envelope{}, err
		}
	}
	n := len(s)
	return bus.Envelope{Part: &n, Last: true}, nil
}

func TestAnAnswerThatIsNotWholeIsRefused(t *testing.T) {
	for name, answer := range map[string]says{
		"nothing":              {},
		"no JSON":              {`{`},
		"no end":               {`[{"path":"a","content":"eA=="},{"path":"a","sha256":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","bytes":1}]`},
		"a file without end":   {`[{"path":"a","content":"eA=="}]`, `[{"end":true,"files":0}]`},
		"two at once":          {`[{"path":"a","content":"eA=="},{"path":"b","content":"eA=="}]`},
		"another sum":          {`[{"path":"a","content":"eA=="},{"path":"a","sha256":"00","bytes":1}]`, `[{"end":true,"files":1}]`},
		"fewer files than are": {`[{"end":true,"files":2}]`},
		"more after the end":   {`[{"end":true}]`, `[{"end":true}]`},
	} {
		if _, err := ask(t, answer); !errors.Is(err, copies.ErrAnswer) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Whoever takes may fail, and nothing waits for ever.
	err := copies.Roles{Asker: says{`[{"path":"a","content":"eA=="}]`, `[{"path":"a","content":"eA=="}]`}, Names: []string{"x"}}.Each(t.Context(), true,
		func(string, string, bool, io.Reader) error { return io.ErrShortWrite })
	if !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("got %v", err)
	}
}
