// Package directory is what the api knows of the house: the site, its places
// and gateways, how the gateways are, the newest reading of each place, and the
// hashes of people's tokens. All of it is learned from retained messages and
// none of it is kept anywhere; an api that starts again learns it again within a
// second.
//
// What comes in is bounded in number and size, and what does not decode changes
// nothing. Readers get copies.
package directory

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// Limits of what is kept. The largest site that anybody plans has some ten
// thousand places.
const (
	maxPlaces   = 100_000
	maxGateways = 10_000
	maxDocument = 256 << 10 // bytes of one retained message
	maxState    = 8 << 10   // bytes of the newest reading of one place
)

// Silence is how long a gateway may be silent before it counts as offline.
const Silence = 30 * time.Second

// settle is how long after a reconnect the publishers have had time to publish
// their retained messages again.
const settle = 30 * time.Second

var (
	// ErrMalformed is the class of errors about messages that say nothing.
	ErrMalformed = errors.New("malformed retained message")
	// ErrFull means that a message was not kept because too much is kept already.
	ErrFull = errors.New("directory is full")
)

// Filters are the topic filters of what a directory hears.
func Filters() []string {
	return []string{bus.RegistryFilter, bus.StatusFilter, bus.StateFilter}
}

// Directory holds what was heard. Safe for concurrent use.
type Directory struct {
	mu sync.Mutex // protects the fields below
	// site is nil until the registry was heard.
	site     *kept[contract.Site]
	places   map[device.ID]kept[contract.Place]
	gateways map[string]kept[contract.GatewayInfo]
	statuses map[string]heard
	states   map[stateKey]kept[[]byte]
	tokens   map[string]kept[contract.Token]
	byHash   map[digest]string // of the secret: the token's id
	// sources lists the gateways that published a state of a device; nearly
	// always one.
	sources map[device.ID][]string
	sorted  []contract.Place // in the order of device.Compare; nil when out of date
	// connection counts connections; what was heard on an earlier one may have
	// been deleted unheard.
	connection int
	connected  time.Time
	swept      bool
	// tokensSwept is swept for the tokens, which are swept sooner.
	tokensSwept bool
}

type kept[T any] struct {
	value      T
	connection int
}

type stateKey struct {
	device  device.ID
	gateway string
}

// New returns a directory that knows nothing.
func New() *Directory {
	return &Directory{
		places: map[device.ID]kept[contract.Place]{}, gateways: map[string]kept[contract.GatewayInfo]{},
		statuses: map[string]heard{}, states: map[stateKey]kept[[]byte]{}, sources: map[device.ID][]string{}, swept: true,
		tokens: map[string]kept[contract.Token]{}, byHash: map[digest]string{}, tokensSwept: true,
	}
}

// Connected says that a new connection has begun. What the registry does not
// repeat on it is forgotten half a minute later, provided that the registry is
// heard at all.
func (d *Directory) Connected() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.connection++
	d.connected, d.swept, d.tokensSwept = time.Now(), d.connection == 1, d.connection == 1
}

// sweep forgets what was deleted while there was no connection.
func (d *Directory) sweep() {
	if d.swept || time.Since(d.connected) < settle || d.site == nil || d.site.connection != d.connection {
		return
	}
	d.swept = true
	for id, p := range d.places {
		if p.connection != d.connection {
			delete(d.places, id)
			d.sorted = nil
		}
	}
	for gateway, g := range d.gateways {
		if g.connection != d.connection {
			delete(d.gateways, gateway)
			delete(d.statuses, gateway)
		}
	}
	for key, s := range d.states {
		if _, known := d.places[key.device]; !known && s.connection != d.connection {
			d.forgetState(key)
		}
	}
}

// Hear takes one message of the [Filters]. Topics that it does not know are
// none of its business; an error says why a message changed nothing.
func (d *Directory) Hear(m bus.Message) error {
	if len(m.Payload) > maxDocument {
		return fmt.Errorf("%w: %s: %d bytes", ErrMalformed, m.Topic, len(m.Payload))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error
	switch {
	case strings.HasPrefix(m.Topic, "state/"):
		err = d.hearState(m)
	case strings.HasPrefix(m.Topic, bus.PlacesPrefix):
		err = d.hearPlace(m)
	case m.Topic == bus.SiteTopic:
		err = d.hearSite(m)
	case strings.HasPrefix(m.Topic, bus.GatewaysInfoPrefix):
		err = d.hearGateway(m)
	case strings.HasPrefix(m.Topic, bus.TokensPrefix):
		err = d.hearToken(m)
	case strings.HasPrefix(m.Topic, "gateways/"):
		err = d.hearStatus(m)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", m.Topic, err)
	}
	return nil
}

func (d *Directory) hearSite(m bus.Message) error {
	if len(m.Payload) == 0 {
		d.site = nil
		return nil
	}
	site, err := decode[contract.Site](m.Payload)
	if err == nil {
		d.site = &kept[contract.Site]{site, d.connection}
	}
	return err
}

func (d *Directory) hearPlace(m bus.Message) error {
	id, err := device.Parse(m.Topic[len(bus.PlacesPrefix):])
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if len(m.Payload) == 0 {
		delete(d.places, id)
		d.sorted = nil
		return nil
	}
	p, err := decode[contract.Place](m.Payload)
	if err != nil {
		return err
	}
	if p.Device != id {
		return fmt.Errorf("%w: it is about %v", ErrMalformed, p.Device)
	}
	if _, known := d.places[id]; !known && len(d.places) >= maxPlaces {
		return ErrFull
	}
	d.places[id] = kept[contract.Place]{p, d.connection}
	d.sorted = nil
	return nil
}

func (d *Directory) hearGateway(m bus.Message) error {
	gateway := bus.GatewayOf(m.Topic)
	if len(m.Payload) == 0 {
		delete(d.gateways, gateway)
		return nil
	}
	info, err := decode[contract.GatewayInfo](m.Payload)
	if err != nil {
		return err
	}
	if gateway == "" || info.Gateway != gateway {
		return fmt.Errorf("%w: it is about %.60q", ErrMalformed, info.Gateway)
	}
	if _, known := d.gateways[gateway]; !known && len(d.gateways) >= maxGateways {
		return ErrFull
	}
	d.gateways[gateway] = kept[contract.GatewayInfo]{info, d.connection}
	return nil
}

func (d *Directory) hearState(m bus.Message) error {
	gateway, name, _ := strings.Cut(m.Topic[len("state/"):], "/")
	id, err := device.Parse(name)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	key := stateKey{id, gateway}
	_, known := d.states[key]
	switch {
	case len(m.Payload) == 0:
		d.forgetState(key)
		return nil
	case len(m.Payload) > maxState:
		return fmt.Errorf("%w: %d bytes", ErrMalformed, len(m.Payload))
	case !known && len(d.states) >= maxPlaces:
		return ErrFull
	case !known:
		d.sources[id] = append(d.sources[id], gateway)
	}
	d.states[key] = kept[[]byte]{m.Payload, d.connection}
	return nil
}

func (d *Directory) forgetState(key stateKey) {
	delete(d.states, key)
	rest := slices.DeleteFunc(d.sources[key.device], func(g string) bool { return g == key.gateway })
	if d.sources[key.device] = rest; len(rest) == 0 {
		delete(d.sources, key.device)
	}
}

func decode[T any](payload []byte) (v T, err error) {
	if err := json.Unmarshal(payload, &v); err != nil {
		return v, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return v, nil
}
