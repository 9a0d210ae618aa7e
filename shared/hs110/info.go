package hs110

import (
	"fmt"
	"strings"
	"time"
)

// Info is what a plug tells about itself and its relay (get_sysinfo). Everything
// in it is the plug's own word; texts may be empty and hold any characters.
type Info struct {
	Model    string // such as "HS110(EU)"
	Hardware string // hw_ver. To be shown, never to decide by: it may differ from the sticker
	Firmware string // sw_ver, such as "1.2.5 Build 171213 Rel.101523"
	Alias    string // the name its owner gave it, may change at any time
	Feature  string // such as "TIM:ENE"

	// DeviceID and MAC are the plug's identity. DeviceID is 40 hexadecimal
	// digits, MAC as [CanonicalMAC] writes it, "" where the plug sent none.
	DeviceID, MAC string

	// On is the relay; nil where the device has none of its own, as a power
	// strip, or sent no 0 or 1.
	On *bool
	// OnTime is how long the relay has been on, 0 when off. Negative where the
	// plug does not know: real ones send -32407 and the like.
	OnTime time.Duration
	// RSSI is the strength of its Wi-Fi in dBm, 0 where it was not sent.
	RSSI int

	// relay is what stood in relay_state where On is nil.
	relay number
}

// HasMeter reports whether the plug has an energy meter, by its feature list.
// Asking a device without one for its meter makes some models stall or reboot.
func (i *Info) HasMeter() bool {
	for f := range strings.SplitSeq(i.Feature, ":") {
		if f == "ENE" {
			return true
		}
	}
	return false
}

// Version is the number in front of the firmware text: "1.2.5".
func (i *Info) Version() string {
	v, _, _ := strings.Cut(i.Firmware, " ")
	return v
}

// Identify compares the plug with the one that was expected. Empty expectations
// are not compared; a plug that does not tell what is compared is another plug.
// The error wraps [ErrIdentity].
func (i *Info) Identify(deviceID, mac string) error {
	if d := i.differs(deviceID, mac); d != nil {
		return fmt.Errorf("%w: %w", ErrIdentity, d)
	}
	return nil
}

func (i *Info) differs(deviceID, mac string) error {
	if deviceID != "" && !strings.EqualFold(deviceID, i.DeviceID) {
		return fmt.Errorf("deviceId %q, want %q", clip([]byte(i.DeviceID)), deviceID)
	}
	if mac == "" {
		return nil
	}
	if want, ok := CanonicalMAC(mac); !ok || want != i.MAC {
		return fmt.Errorf("mac %q, want %q", i.MAC, mac)
	}
	return nil
}

// CanonicalMAC writes an address of 12 hexadecimal digits, with or without
// colons or hyphens between pairs, as "50:C7:BF:00:12:AB".
func CanonicalMAC(s string) (mac string, ok bool) {
	const digits = 12
	var out [digits + digits/2 - 1]byte
	n := 0
	for i := range len(s) {
		c := s[i]
		switch {
		case c == ':' || c == '-':
			if n == 0 || n%2 != 0 || s[i-1] == ':' || s[i-1] == '-' {
				return "", false
			}
			continue
		case c >= 'a' && c <= 'f':
			c -= 'a' - 'A'
		case c >= '0' && c <= '9' || c >= 'A' && c <= 'F':
		default:
			return "", false
		}
		if n == digits {
			return "", false
		}
		out[n+n/2] = c
		n++
	}
	if n != digits || s[len(s)-1] == ':' || s[len(s)-1] == '-' {
		return "", false
	}
	for i := 2; i < len(out); i += 3 {
		out[i] = ':'
	}
	return string(out[:]), true
}

// wireInfo is get_sysinfo of every hardware version: each names some things its
// own way.
type wireInfo struct {
	errCode
	Model    string `json:"model"`
	Hardware string `json:"hw_ver"`
	Firmware string `json:"sw_ver"`
	Alias    string `json:"alias"`
	Feature  string `json:"feature"`
	DeviceID string `json:"deviceId"`
	MAC      string `json:"mac"`
	MicMAC   string `json:"mic_mac"`
	Relay    number `json:"relay_state"`
	OnTime   number `json:"on_time"`
	RSSI     number `json:"rssi"`
}

func (w *wireInfo) info() Info {
	i := Info{
		Model: w.Model, Hardware: w.Hardware, Firmware: w.Firmware, Alias: w.Alias, Feature: w.Feature,
		DeviceID: w.DeviceID, OnTime: -1,
	}
	i.MAC, _ = CanonicalMAC(w.MAC)
	if i.MAC == "" {
		i.MAC, _ = CanonicalMAC(w.MicMAC)
	}
	if state, ok := w.Relay.integer(); ok && (state == 0 || state == 1) {
		i.On = new(state == 1)
	} else {
		i.relay = w.Relay
	}
	if s, ok := w.OnTime.integer(); ok && s >= 0 {
		i.OnTime = time.Duration(s) * time.Second
	}
	i.RSSI, _ = w.RSSI.integer()
	return i
}

// ParseInfoDatagram reads a plug's answer to [InfoDatagram], deciphering it in
// place. The error is of class [ErrNotPlug] or [ErrRejected].
func ParseInfoDatagram(datagram []byte) (Info, error) {
	body, err := DecodeDatagram(datagram)
	if err != nil {
		return Info{}, fmt.Errorf("%w: %w", ErrNotPlug, err)
	}
	r, err := parse(body)
	if err != nil {
		return Info{}, fmt.Errorf("%w: %w", ErrNotPlug, err)
	}
	i, err := r.info()
	if err != nil {
		return Info{}, fmt.Errorf("%w: %w", ErrNotPlug, err)
	}
	return i, nil
}
