package gateway

import (
	"context"
	"errors"
	"fmt"

	"github.com/wattline/wattline/edge/collector"
	"github.com/wattline/wattline/edge/controller"
	"github.com/wattline/wattline/edge/drivers/hs110"
	"github.com/wattline/wattline/edge/drivers/shelly"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// plug is what every generation of plugs can do; a driver is one package and
// one line in newPlug.
type plug interface {
	collector.Meter
	controller.Switcher
}

// newPlug makes the driver's value for a plug as it is reached now.
func (f *floor) newPlug(p contract.Plug) (plug, error) {
	switch {
	case p.Address == "" && p.DeviceID == "" && p.MAC == "":
		return nil, errors.New("neither its address nor its identity is configured")
	case p.Address == "" && p.Driver == "shelly":
		return nil, errors.New("its address is not configured, and discovery finds HS110 only")
	case p.Address == "":
		return &unusable{errUnseen, "offline"}, nil
	}
	switch p.Driver {
	case "", "hs110":
		return hs110.New(p.Device, hs110.Options{
			Address: p.Address, DeviceID: p.DeviceID, MAC: p.MAC, MaxPower: p.MaxPower,
			Elsewhere: func(deviceID, mac string) bool { return f.elsewhere(p.Device, deviceID, mac) },
		})
	case "shelly":
		return shelly.New(p.Device, shelly.Options{
			Address: p.Address, DeviceID: p.DeviceID, MAC: p.MAC, MaxPower: p.MaxPower,
			Elsewhere: func(deviceID, mac string) bool { return f.elsewhere(p.Device, deviceID, mac) },
		})
	}
	return nil, fmt.Errorf("no driver %q; there are hs110 and shelly", p.Driver)
}

var errUnseen = errors.New("its address is not known: waiting until it is found")

// unusable stands for a plug that this gateway can't use as it is configured,
// one of a later generation say: it must not cost the floor its others, and is
// told of as every plug with trouble is.
type unusable struct {
	error

	reason string
}

// Reason is the word of the status.
func (u *unusable) Reason() string { return u.reason }

// Poll tells what is wrong.
func (u *unusable) Poll(context.Context) (device.Measurement, error) { return device.Measurement{}, u }

// Switch tells what is wrong.
func (u *unusable) Switch(context.Context, bool) (bool, error) { return false, u }
