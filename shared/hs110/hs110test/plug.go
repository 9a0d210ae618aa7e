// Package hs110test is a simulated smart plug, as net/http/httptest is a
// simulated web server: a test starts one, points a client at its address, and
// orders faults while it runs.
//
// A [Plug] answers over TCP and UDP in the form of hardware version 1, 2 or 4,
// closely enough that clients written by others accept it. Its load follows a
// profile by time of day ([Workplace], [MeetingRoom], [Printer]) or a generator
// that numbers the readings, and its energy is the exact integral of the power
// that the profile gives. A [Fleet] is a building of them.
//
// It is made for Linux, where every address in 127.0.0.0/8 can be listened on.
package hs110test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Hardware is the form of the answers.
type Hardware int

// The hardware versions known. The zero value stands for HW1.
const (
	HW1 Hardware = 1 // floats; closes after each answer; ignores the announced length
	HW2 Hardware = 2 // integers in thousandths; keeps the connection
	HW4 Hardware = 4 // as HW2, with mic_type and without fwId
)

// Options describe a plug; the zero value is an HS110(EU) of hardware version 1
// that is switched on and has a workplace's load.
type Options struct {
	Hardware Hardware
	Alias    string // default "plug"; any UTF-8
	DeviceID string // default derived from the address
	MAC      string // default derived from the address
	Off      bool   // starts switched off
	NoMeter  bool   // is an HS100: no ENE in its features, no emeter module
	NoUDP    bool   // answers by TCP only
	Firmware string // sw_ver, default one of the hardware's

	// Networks are those in reach. A plug that is told to join one of them moves to
	// its address there.
	Networks []Network

	// Load is what is plugged in; default [Workplace] with seed 0.
	Load Load
	// Generate, where set, gives the answers of the meter instead of Load,
	// whatever the relay does. It is called with the number of the answer, from
	// 1, and must be safe for concurrent use.
	Generate func(n uint64, now time.Time) Values

	Now      func() time.Time // default time.Now
	Location *time.Location   // of the plug's clock; default time.Local
	BootTime time.Duration    // a reboot that was asked for takes this long; default 1 s

	// HTTPAddress and KLAPAddress are listened on while the fault Locked is set,
	// by TCP and UDP; real plugs use ports 80 and 20002. None where empty.
	HTTPAddress, KLAPAddress string

	// OnRequest, where set, is called with the text of each question, before it
	// is answered. It must be safe for concurrent use and not keep the bytes.
	OnRequest func(body []byte)
}

// Plug is a simulated plug that runs. It is safe for concurrent use.
type Plug struct {
	rssi int64 // dBm at its place
	done chan struct{}
	wg   sync.WaitGroup

	requests, struck, maxBusy atomic.Int64

	mu      sync.Mutex // protects what follows; in opts only what can change
	opts    Options
	address string
	joined  string // Wi-Fi
	resets  int
	zone    int
	state   state
	fault   Fault
	asked   int // questions since the fault was set
	down    int // reboots that have not ended
	closed  bool

	listener *net.TCPListener // nil while it refuses
	udp      *net.UDPConn     // nil while it refuses
	locked   []interface{ Close() error }
	conns    map[*net.TCPConn]bool // true while a question is awaited or not yet answered
}

// Start starts a plug at address, "host:port"; port 0 picks a free one. Close it.
func Start(address string, o Options) (*Plug, error) {
	o.Hardware = cmp.Or(o.Hardware, HW1)
	o.Alias = cmp.Or(o.Alias, "plug")
	o.BootTime = cmp.Or(o.BootTime, time.Second)
	if o.Load == nil {
		o.Load = Workplace(0)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Location == nil {
		o.Location = time.Local
	}
	p := &Plug{opts: o, address: address, done: make(chan struct{}), conns: map[*net.TCPConn]bool{}}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.listen(); err != nil {
		return nil, fmt.Errorf("start simulated plug at %s: %w", address, err)
	}
	id, mac := Identity(p.address)
	p.opts.DeviceID = cmp.Or(o.DeviceID, id)
	p.opts.MAC = cmp.Or(o.MAC, mac)
	p.zone = 39
	p.rssi = -45 - int64(crc32.ChecksumIEEE([]byte(p.opts.DeviceID))%30)
	p.state = newState(p.opts)
	return p, nil
}

// TB is the part of testing.TB that [New] needs.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(f func())
}

var lastNew atomic.Uint32 //nolint:gochecknoglobals // tests of one process share the addresses of 127.0.0.0/8

// New starts a plug for a test on a loopback address that no other plug of the
// process has, and ends it with the test. That the address is its own matters
// for faults that close the port: no one else can take it meanwhile.
func New(t TB, o Options) *Plug {
	t.Helper()
	n := lastNew.Add(1)
	pid := os.Getpid()
	address := fmt.Sprintf("127.%d.%d.%d:0", 128+pid%120, pid/120%250, n%250+1)
	p, err := Start(address, o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// listen opens both ports; p.mu is held. The first call at an address settles the
// port.
func (p *Plug) listen() error {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp4", p.address)
	if err != nil {
		return err
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return errors.Join(fmt.Errorf("listener of type %T", l), l.Close())
	}
	p.address = tcp.Addr().String()
	if !p.opts.NoUDP {
		udp, err := listenUDP(p.address)
		if err != nil {
			return errors.Join(err, tcp.Close())
		}
		p.udp = udp
		p.wg.Go(func() { p.serveUDP(udp) })
	}
	p.listener = tcp
	p.wg.Go(func() { p.accept(tcp) })
	return nil
}

// hangUp closes both ports and every connection; p.mu is held.
func (p *Plug) hangUp() {
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	if p.udp != nil {
		_ = p.udp.Close()
		p.udp = nil
	}
	for c := range p.conns {
		_ = c.Close()
	}
}

// Close ends the plug and waits for all it started. It is safe twice.
func (p *Plug) Close() error {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.done)
		p.hangUp()
		p.unlock()
	}
	p.mu.Unlock()
	p.wg.Wait()
	return nil
}

// Address is the plug's "host:port".
func (p *Plug) Address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.address
}

// DeviceID is the deviceId that the plug answers, 40 hexadecimal digits.
func (p *Plug) DeviceID() string { return p.opts.DeviceID }

// MAC is the address that the plug answers, upper case with colons.
func (p *Plug) MAC() string { return p.opts.MAC }

// Requests is how many questions came by TCP so far.
func (p *Plug) Requests() int { return int(p.requests.Load()) }

// MaxBusy is the highest number of connections that were open at once, those
// that had got their answer left out.
func (p *Plug) MaxBusy() int { return int(p.maxBusy.Load()) }

// Polls is how many answers the meter has given.
func (p *Plug) Polls() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state.polls
}

// On reports the relay.
func (p *Plug) On() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state.on
}

// Press sets the relay, as the button on the plug does.
func (p *Plug) Press(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.setRelay(on)
}

// Values is what the meter would answer now, without counting as an answer and
// unrounded. With Generate they are those of the next answer.
func (p *Plug) Values() Values {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state.peek()
}

// Reboot restarts the plug, away for as long as down: connections end, the
// ports are closed, and the energy counter starts at 0 again; relay, name and
// statistics survive. It returns at once.
func (p *Plug) Reboot(down time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.state.reboot()
	p.hangUp()
	p.down++
	p.wg.Go(func() {
		p.sleep(down)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.down--
		_ = p.reopen() // the port is the plug's own; a thief of it shows as a plug that refuses
	})
}

// reopen brings the ports to what fault and reboots say; p.mu is held.
func (p *Plug) reopen() error {
	if p.closed || p.down > 0 || p.fault.Refuse || p.fault.Locked || p.listener != nil {
		return nil
	}
	return p.listen()
}

// sleep waits for d or the plug's end.
func (p *Plug) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.done:
	}
}
