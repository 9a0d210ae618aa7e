// Package shellytest simulates a Shelly plug of the second generation, as httptest
// does a server: its RPC over HTTP on loopback, its relay, its meter, and the ways
// in which such plugs fail.
//
// It answers GET /rpc/<method> and POST /rpc as the documentation of the devices
// says (shelly-api-docs.shelly.cloud, gen2), one question at a time, and knows no
// more methods than a gateway needs.
package shellytest

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// Options say what the plug is like. The zero value is a Plus Plug S that is on
// and measures 42 W.
type Options struct {
	MAC     string  // 12 hexadecimal digits, drawn at random where empty
	Off     bool    // the relay at the start
	Load    float64 // W while the relay is on, default 42
	Energy  float64 // Wh, what the counter shows at the start
	NoMeter bool    // a switch that measures nothing
	// Password makes all but Shelly.GetDeviceInfo answer 401.
	Password bool
	// OnRequest, where set, is told of each method before it is answered. It is
	// called with no lock held.
	OnRequest func(method string)
}

// Fault is how a plug misbehaves; the zero value is a healthy one.
type Fault struct {
	Refuse bool          // takes no connections
	Silent bool          // takes a question, never answers
	Close  bool          // does what it was asked, and breaks the connection without an answer
	Delay  time.Duration // before each answer
	Status int           // answers with this HTTP status, and no more
	Raw    string        // answers with these bytes instead of HTTP
	Body   string        // answers with this body instead of a frame
	Result string        // answers with this as the result of Switch.GetStatus
	Error  string        // answers with this as the error of Switch.Set and Switch.GetStatus
	// Farewell closes the connection after each answer, and says so; Vanish does
	// and says nothing.
	Farewell, Vanish bool
	// Nameless leaves the sender out of frames.
	Nameless bool
	// Another pretends to be the plug of this MAC.
	Another string
	// Stuck takes Switch.Set and leaves the relay as it is.
	Stuck bool
}

// Plug is a simulated plug. It is safe for concurrent use.
type Plug struct {
	o       Options
	address string
	one     sync.Mutex // held while a question is answered: there is one at a time

	mu       sync.Mutex // protects what follows
	fault    Fault
	closed   chan struct{} // of the present server
	server   *http.Server
	served   *sync.WaitGroup
	on       bool
	energy   float64 // Wh up to since
	since    time.Time
	busy     int
	maxBusy  int
	requests int
}

// New runs a plug on a free port of 127.0.0.1 for the life of the test.
func New(t testing.TB, o Options) *Plug {
	t.Helper()
	p, err := Start("127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// Start runs a plug at an address of loopback, until [Plug.Close].
func Start(address string, o Options) (*Plug, error) {
	if o.MAC == "" {
		o.MAC = fmt.Sprintf("A8032A%06X", rand.N(1<<24))
	}
	o.MAC = strings.ToUpper(o.MAC)
	o.Load = cmp.Or(o.Load, 42)
	p := &Plug{o: o, address: address, on: !o.Off, energy: o.Energy, since: time.Now()}
	if err := p.listen(); err != nil {
		return nil, err
	}
	return p, nil
}

// listen starts to take connections.
func (p *Plug) listen() error {
	l, err := net.Listen("tcp", p.address)
	if err != nil {
		return fmt.Errorf("simulate a plug: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.address = l.Addr().String()
	p.closed = make(chan struct{})
	p.server = &http.Server{Handler: http.HandlerFunc(p.serve), ReadHeaderTimeout: time.Minute}
	p.served = new(sync.WaitGroup)
	server := p.server
	p.served.Go(func() {
		if err := server.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			panic(err) // a bug of the simulation
		}
	})
	return nil
}

// stop ends all connections and takes no new ones.
func (p *Plug) stop() {
	p.mu.Lock()
	server, served := p.server, p.served
	if server != nil {
		close(p.closed)
	}
	p.server = nil
	p.mu.Unlock()
	if server != nil {
		_ = server.Close()
		served.Wait()
	}
}

// Close ends the plug. It is safe to call it twice.
func (p *Plug) Close() { p.stop() }

// Address is its IP address and port.
func (p *Plug) Address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.address
}

// ID is its device id.
func (p *Plug) ID() string { return idOf(p.o.MAC) }

// MAC is its address as inventories write it.
func (p *Plug) MAC() string {
	var pairs []string
	for i := 0; i+2 <= len(p.o.MAC); i += 2 {
		pairs = append(pairs, p.o.MAC[i:i+2])
	}
	return strings.Join(pairs, ":")
}

func idOf(mac string) string { return "shellyplusplugs-" + strings.ToLower(mac) }

// On is its relay.
func (p *Plug) On() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.on
}

// Press sets the relay as a person at the plug does.
func (p *Plug) Press(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flip(on)
}

// flip sets the relay; the caller holds the lock.
func (p *Plug) flip(on bool) {
	p.count()
	p.on = on
}

// count brings the counter up to now; the caller holds the lock.
func (p *Plug) count() {
	now := time.Now()
	if p.on {
		p.energy += p.o.Load * now.Sub(p.since).Hours()
	}
	p.since = now
}

// SetFault makes the plug misbehave from the next question on. A refusing plug
// breaks the connections that it has.
func (p *Plug) SetFault(f Fault) error {
	p.mu.Lock()
	before := p.fault
	p.fault = f
	p.mu.Unlock()
	switch {
	case f.Refuse && !before.Refuse:
		p.stop()
	case !f.Refuse && before.Refuse:
		return p.listen()
	}
	return nil
}

// Reboot breaks all connections and starts the counter again from zero, as a power
// cut does that came before the counter was saved.
func (p *Plug) Reboot() error {
	p.stop()
	p.mu.Lock()
	p.energy, p.since = 0, time.Now()
	p.mu.Unlock()
	return p.listen()
}

// MaxBusy is the highest number of questions that waited for an answer at once.
func (p *Plug) MaxBusy() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.maxBusy
}

// Requests is the number of questions so far.
func (p *Plug) Requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}
