package directory

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

const (
	maxTokens = 10_000
	// settleTokens is how long after a reconnect tokens that the registry has not
	// repeated still count: one that was deleted meanwhile must not live long.
	settleTokens = 5 * time.Second
	// early is how soon after a connection began a token may not have come yet.
	early = 2 * time.Second
)

// digest is the SHA-256 of a token's secret.
type digest [sha256.Size]byte

func (d *Directory) hearToken(m bus.Message) error {
	id := m.Topic[len(bus.TokensPrefix):]
	if len(m.Payload) == 0 {
		d.forgetToken(id)
		return nil
	}
	t, err := decode[contract.Token](m.Payload)
	if err != nil {
		return err
	}
	hash, ok := digestOf(t)
	if !ok {
		return fmt.Errorf("%w: no hash", ErrMalformed)
	}
	if t.ID != id || id == "" {
		return fmt.Errorf("%w: it is about %.60q", ErrMalformed, t.ID)
	}
	if _, known := d.tokens[id]; !known && len(d.tokens) >= maxTokens {
		return ErrFull
	}
	d.forgetToken(id) // its hash may be another
	d.tokens[id] = kept[contract.Token]{t, d.connection}
	d.byHash[hash] = id
	return nil
}

// digestOf is the hash of a token as it is kept.
func digestOf(t contract.Token) (hash digest, ok bool) {
	bits, err := hex.DecodeString(t.Hash)
	return digest(append(bits, make([]byte, len(hash))...)), err == nil && len(bits) == len(hash)
}

func (d *Directory) forgetToken(id string) {
	hash, _ := digestOf(d.tokens[id].value)
	if d.byHash[hash] == id {
		delete(d.byHash, hash)
	}
	delete(d.tokens, id)
}

// sweepTokens forgets those that were deleted while there was no connection.
func (d *Directory) sweepTokens() {
	if d.tokensSwept || time.Since(d.connected) < settleTokens || d.site == nil || d.site.connection != d.connection {
		return
	}
	d.tokensSwept = true
	for id, t := range d.tokens {
		if t.connection != d.connection {
			d.forgetToken(id)
		}
	}
}

// Token finds a token by its secret; it may have expired. With known false it
// may be that the tokens have not all been heard yet: early tells so.
func (d *Directory) Token(secret string) (t contract.Token, known, early bool) {
	hash := digest(sha256.Sum256([]byte(secret)))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweepTokens()
	id, found := d.byHash[hash]
	if !found {
		return t, false, d.earlyYet()
	}
	t = d.tokens[id].value
	// The map has compared already; this one takes the same time for all.
	if stored, ok := digestOf(t); !ok || subtle.ConstantTimeCompare(stored[:], hash[:]) != 1 {
		return contract.Token{}, false, false
	}
	return t, true, false
}

// HasToken tells whether a token is known, by its id.
func (d *Directory) HasToken(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, known := d.tokens[id]
	return known
}

func (d *Directory) earlyYet() bool {
	return d.site == nil || d.connection == 0 || time.Since(d.connected) < early
}
