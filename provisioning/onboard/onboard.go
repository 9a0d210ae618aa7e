package onboard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/hs110"
)

// AccessPoint is where a factory-new plug is reached by whoever has joined its
// own network, "TP-LINK_Smart Plug_XXXX".
const AccessPoint = "192.168.0.1"

// Defaults of [Options].
const (
	DefaultWait = 2 * time.Minute
	lookEvery   = 2 * time.Second
)

// Options say what becomes of a plug.
type Options struct {
	Address string // of the plug now; [AccessPoint] where empty
	Alias   string // its name in the maker's app, at most 31 bytes of UTF-8
	// TimeZone is the IANA name; the plug's stays where it is empty.
	TimeZone   string
	SSID       string
	Passphrase config.Secret // of WPA2, 8 to 63 characters
	// Find looks for the plug in the network and gives its address, "" where it is
	// not there yet. Its errors count as not yet: whoever changes networks has none
	// for a while.
	Find func(ctx context.Context, deviceID, mac string) (address string, err error)
	Wait time.Duration // for it to be found; [DefaultWait] where 0
	// Every is the time between two looks, default two seconds.
	Every time.Duration
	// Now is the clock, default time.Now; Plug the way to plugs, for tests.
	Now  func() time.Time
	Plug hs110.Options
}

// Result is a plug that is in the network.
type Result struct {
	Info    hs110.Info
	Address string
}

var (
	// ErrUnsuitable says that the plug is not one that this system can use.
	ErrUnsuitable = errors.New("this plug is of no use here")
	// ErrNotFound says that the plug was not seen in the network in time.
	ErrNotFound = errors.New("the plug has not been found in the network")
)

// Validate names every mistake at once.
func (o Options) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.Alias == "" || len(o.Alias) > 31 || !utf8.ValidString(o.Alias) {
		bad("alias: 1 to 31 bytes of UTF-8")
	}
	if o.SSID == "" || len(o.SSID) > 32 {
		bad("Wi-Fi: its name has 1 to 32 bytes")
	}
	if p := o.Passphrase.Reveal(); len(p) < 8 || len(p) > 63 || strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r > '~' }) {
		bad("Wi-Fi: a passphrase has 8 to 63 characters of ASCII")
	}
	if o.TimeZone != "" {
		if _, _, err := zoneIndex(o.TimeZone, o.now()); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (o Options) now() time.Time {
	if o.Now == nil {
		return time.Now()
	}
	return o.Now()
}

// Plug does all of it. tell is given a line for each step and each warning, for
// people.
//
// Before the plug is sent away everything can be repeated. Afterwards it may be
// in the network although an error says that it was not found: look again, or
// reset it by its button and begin anew.
func Plug(ctx context.Context, o Options, tell func(line string)) (Result, error) {
	if err := o.Validate(); err != nil {
		return Result{}, err
	}
	c, err := hs110.New(cmp.Or(o.Address, AccessPoint), o.Plug)
	if err != nil {
		return Result{}, err
	}
	info, err := identify(ctx, c, tell)
	if err != nil {
		return Result{}, err
	}
	if err := o.visible(ctx, c, tell); err != nil {
		return Result{}, err
	}
	if err := ask(ctx, c.Address(), "system", "set_dev_alias", map[string]any{"alias": o.Alias}, nil, askTimeout); err != nil {
		return Result{}, fmt.Errorf("name the plug: %w", err)
	}
	tell(fmt.Sprintf("named %s", o.Alias))
	if err := o.setZone(ctx, c, tell); err != nil {
		return Result{}, err
	}
	if err := o.join(ctx, c); err != nil {
		return Result{}, err
	}
	tell(fmt.Sprintf("sent into %s; waiting for it there", o.SSID))
	address, err := o.await(ctx, c, info)
	return Result{Info: info, Address: address}, err
}

// identify sees to it that the plug is one that can be used.
func identify(ctx context.Context, c *hs110.Client, tell func(string)) (hs110.Info, error) {
	info, err := c.Info(ctx)
	switch {
	case errors.Is(err, hs110.ErrLocked):
		return info, fmt.Errorf("%w: bring it into a network by the maker's app and switch on \"Third-Party Compatibility\" there: %w", ErrUnsuitable, err)
	case err != nil:
		return info, fmt.Errorf("look at the plug at %s: %w: is this machine in the plug's own network (TP-LINK_Smart Plug_...), and is its light blinking amber and blue?", c.Address(), err)
	case !info.HasMeter():
		return info, fmt.Errorf("%w: %s has no meter", ErrUnsuitable, info.Model)
	case info.DeviceID == "" && info.MAC == "":
		return info, fmt.Errorf("%w: it does not say who it is", ErrUnsuitable)
	}
	tell(fmt.Sprintf("%s, hardware %s, firmware %s, MAC %s", info.Model, info.Hardware, info.Version(), info.MAC))
	if warning := locks(info); warning != "" {
		tell("warning: " + warning)
	}
	return info, nil
}

// locks warns of hardware for which there is firmware that closes the protocol
// (HS110(UK) 4.1 with 1.1.0, reported since November 2020; KP115 1.1.0 and others
// since 2025).
func locks(i hs110.Info) string {
	hw4 := strings.HasPrefix(i.Hardware, "4") && strings.HasPrefix(i.Model, "HS1")
	if !hw4 && !strings.HasPrefix(i.Model, "KP") && !strings.HasPrefix(i.Model, "EP") {
		return ""
	}
	return "for " + i.Model + " of hardware " + i.Hardware + " there is firmware that closes the local protocol, and it may install itself: " +
		"keep the plug from the internet, or switch on \"Third-Party Compatibility\" in the maker's app"
}

// network is one that a plug sees.
type network struct {
	SSID    string `json:"ssid"`
	KeyType int    `json:"key_type"`
}

const wpa2 = 3 // key_type of a network with WPA2

// visible sees to it that the plug sees the network, which saves a walk: a plug
// that was sent into a network that it can't join is silent about it.
func (o Options) visible(ctx context.Context, c *hs110.Client, tell func(string)) error {
	var seen struct {
		List []network `json:"ap_list"`
	}
	err := ask(ctx, c.Address(), "netif", "get_scaninfo", map[string]any{"refresh": 1, "timeout": int(scanTimeout.Seconds()) - 3}, &seen, scanTimeout)
	if _, refused := errors.AsType[*hs110.DeviceError](err); refused {
		tell("warning: the plug does not say which networks it sees")
		return nil
	}
	if err != nil {
		return fmt.Errorf("ask which networks the plug sees: %w", err)
	}
	for _, n := range seen.List {
		if n.SSID == o.SSID && n.KeyType == wpa2 {
			return nil
		}
		if n.SSID == o.SSID {
			return fmt.Errorf("network %s is not protected by WPA2 (the plug says kind %d): a plug does not go into it", o.SSID, n.KeyType)
		}
	}
	return fmt.Errorf("the plug does not see the network %s among %d: is the name right, and is it there at 2.4 GHz?", o.SSID, len(seen.List))
}

// setZone sets zone and clock. The plug's clock matters to its own statistics
// only, so one that refuses is told of and used.
func (o Options) setZone(ctx context.Context, c *hs110.Client, tell func(string)) error {
	if o.TimeZone == "" {
		return nil
	}
	index, loc, err := zoneIndex(o.TimeZone, o.now())
	if err != nil {
		return err
	}
	t := o.now().In(loc)
	err = ask(ctx, c.Address(), "time", "set_timezone", map[string]any{
		"year": t.Year(), "month": int(t.Month()), "mday": t.Day(), "hour": t.Hour(), "min": t.Minute(), "sec": t.Second(), "index": index,
	}, nil, askTimeout)
	if refusal, ok := errors.AsType[*hs110.DeviceError](err); ok {
		tell(fmt.Sprintf("warning: the plug does not take the time zone: %v", refusal))
		return nil
	}
	if err != nil {
		return fmt.Errorf("set the time zone: %w", err)
	}
	tell("time zone " + o.TimeZone)
	return nil
}

// join sends the plug into the network. The plug may be gone before its answer
// is: no answer is none of ours to worry about.
func (o Options) join(ctx context.Context, c *hs110.Client) error {
	err := ask(ctx, c.Address(), "netif", "set_stainfo", map[string]any{"ssid": o.SSID, "password": o.Passphrase.Reveal(), "key_type": wpa2}, nil, askTimeout)
	if err != nil && (!errors.Is(err, errLost) || ctx.Err() != nil) {
		return fmt.Errorf("send the plug into %s: %w", o.SSID, err)
	}
	return nil
}

// await looks for the plug until it is found.
func (o Options) await(ctx context.Context, c *hs110.Client, info hs110.Info) (string, error) {
	wait := cmp.Or(o.Wait, DefaultWait)
	patient, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	ticker := time.NewTicker(cmp.Or(o.Every, lookEvery))
	defer ticker.Stop()
	var last error
	for {
		address, err := o.Find(patient, info.DeviceID, info.MAC)
		if err == nil && address != "" {
			return address, nil
		}
		if err != nil && patient.Err() == nil {
			last = err
		}
		select {
		case <-patient.Done():
			return "", o.lost(ctx, c, info, wait, last)
		case <-ticker.C:
		}
	}
}

// lost says why the plug was not found, as far as that can be known.
func (o Options) lost(ctx context.Context, c *hs110.Client, info hs110.Info, wait time.Duration, last error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if still, err := c.Info(ctx); err == nil && still.Identify(info.DeviceID, info.MAC) == nil {
		return fmt.Errorf("%w %s: it is still at its own access point: the passphrase is wrong, or the network refuses it", ErrNotFound, o.SSID)
	}
	if last != nil {
		return fmt.Errorf("%w %s in %v: nobody could be asked at last: %w", ErrNotFound, o.SSID, wait, last)
	}
	return fmt.Errorf("%w %s in %v: the passphrase may be wrong, it may be out of reach, or no gateway looks there; its light tells: steady blue is connected, amber is not", ErrNotFound, o.SSID, wait)
}

// Reset sets a plug back to what it was when it left the factory: it forgets its
// Wi-Fi, name, schedules and statistics, and leaves the network. expect is its
// MAC or device id: another plug at the address is not touched.
func Reset(ctx context.Context, address, expect string, way hs110.Options) (hs110.Info, error) {
	c, err := hs110.New(address, way)
	if err != nil {
		return hs110.Info{}, err
	}
	info, err := c.Info(ctx)
	if err != nil {
		return info, fmt.Errorf("look at the plug before it is reset: %w", err)
	}
	mac, isMAC := hs110.CanonicalMAC(expect)
	if isMAC && mac != info.MAC || !isMAC && !strings.EqualFold(expect, info.DeviceID) {
		return info, fmt.Errorf("%w: %s is at %s, not %s: nothing was done", hs110.ErrIdentity, info.MAC, c.Address(), expect)
	}
	err = ask(ctx, c.Address(), "system", "reset", map[string]any{"delay": 1}, nil, askTimeout)
	if err != nil && !errors.Is(err, errLost) {
		return info, fmt.Errorf("reset %s: %w", info.MAC, err)
	}
	return info, nil
}
