package directory_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wattline/wattline/cloud/api/directory"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

func hearToken(t *testing.T, d *directory.Directory, id, secret string) {
	t.Helper()
	sum := sha256.Sum256([]byte(secret))
	payload, err := json.Marshal(contract.Token{ID: id, Name: id, Role: contract.Viewer, Hash: hex.EncodeToString(sum[:])})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Hear(bus.Message{Topic: bus.TokensPrefix + id, Payload: payload}); err != nil {
		t.Fatal(err)
	}
}

func knows(d *directory.Directory, secret string) bool {
	_, known, _ := d.Token(secret)
	return known
}

func TestTokensAreFoundByTheirSecret(t *testing.T) {
	d := directory.New()
	site(t, d)
	hearToken(t, d, "a", "one")
	hearToken(t, d, "b", "two")
	if found, known, _ := d.Token("two"); !known || found.ID != "b" {
		t.Errorf("%+v", found)
	}
	hearToken(t, d, "b", "three") // the hash is another one now
	if knows(d, "two") || !knows(d, "three") || !d.HasToken("b") {
		t.Error("a secret that is none any more opens")
	}
	if err := d.Hear(bus.Message{Topic: bus.TokensPrefix + "b"}); err != nil || knows(d, "three") || d.HasToken("b") || !knows(d, "one") {
		t.Errorf("deleted: %v", err)
	}
}

func TestATokenDeletedWhileNobodyHeardItDoesNotLiveLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := directory.New()
		if _, _, early := d.Token("kept"); !early {
			t.Error("before the first connection everything is known")
		}
		d.Connected()
		site(t, d)
		hearToken(t, d, "kept", "kept")
		hearToken(t, d, "gone", "gone")
		if _, _, early := d.Token("other"); !early {
			t.Error("a token may not have come yet")
		}
		time.Sleep(time.Minute)
		if _, _, early := d.Token("other"); early {
			t.Error("after a minute all have come")
		}
		d.Connected()
		hearToken(t, d, "kept", "kept")
		time.Sleep(time.Minute)
		if !knows(d, "gone") {
			t.Error("forgotten while the registry is silent: nobody could come in")
		}
		site(t, d) // the registry speaks
		if knows(d, "gone") || !knows(d, "kept") {
			t.Error("a token that was deleted unheard still opens")
		}
	})
}

func TestTokensAreBounded(t *testing.T) {
	d := directory.New()
	var full error
	for n := range 11_000 {
		payload := fmt.Sprintf(`{"id":"%d","hash":"%064x"}`, n, n)
		if err := d.Hear(bus.Message{Topic: fmt.Sprintf("registry/tokens/%d", n), Payload: []byte(payload)}); err != nil {
			full = err
			break
		}
	}
	if full == nil {
		t.Error("eleven thousand tokens were kept")
	}
}
