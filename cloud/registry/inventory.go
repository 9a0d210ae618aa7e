package registry

import (
	"time"

	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/device"
)

// Inventory is the file that an operator writes: the site, its gateways and what
// stands at each place. Load it with [Load].
type Inventory struct {
	Site     Site      `yaml:"site"`
	Gateways []Gateway `yaml:"gateways"`
	// Series are places whose ids and addresses count upwards.
	Series []Series `yaml:"series"`
	// Places are single places. One that is also in a series, and has no address
	// here, adds what it says to that of the series.
	Places []Place `yaml:"places"`
}

// Site is the building.
type Site struct {
	Name string `yaml:"name"`
	// DefaultFloor is the floor of ids that name none. Set it once.
	DefaultFloor *int   `yaml:"default_floor"`
	TimeZone     string `yaml:"time_zone"` // IANA name
}

// Gateway is the edge gateway of a floor.
type Gateway struct {
	// ID is fixed for ever: never change it, never give it to another. Label is
	// what people may rename.
	ID    string `yaml:"id"`
	Label string `yaml:"label"`
	Floor *int   `yaml:"floor"`
	// Poll is the time between two polls of a plug, 10s unless set; Stagger the
	// pause between two plugs that one command switches on, 250ms unless set.
	Poll    time.Duration  `yaml:"poll"`
	Stagger *time.Duration `yaml:"stagger"`
	// Database is where its readings are stored, sp unless set.
	Database string `yaml:"database"`
}

// Series is a row or a grid of places: First and the ids that follow it, Count
// of them or Rows times Columns, at FirstAddress and the addresses that follow
// it, row by row.
type Series struct {
	First        device.ID `yaml:"first"`
	Count        int       `yaml:"count"`
	Rows         int       `yaml:"rows"`
	Columns      int       `yaml:"columns"`
	FirstAddress string    `yaml:"first_address"`
	Gateway      string    `yaml:"gateway"` // the one on the floor unless set
	Driver       string    `yaml:"driver"`  // hs110 unless set
}

// Place is a socket and the plug in it.
type Place struct {
	Device  device.ID `yaml:"device"`
	Gateway string    `yaml:"gateway"` // the one on the floor unless set
	Driver  string    `yaml:"driver"`  // hs110 unless set
	Address string    `yaml:"address"` // host or host:port
	// DeviceID (40 hex digits) and MAC are the plug's identity; a plug with
	// another one is not read there.
	DeviceID string `yaml:"device_id"`
	MAC      string `yaml:"mac"`
	Label    string `yaml:"label"`
	Owner    string `yaml:"owner"`
	// Protected is the reason why the place must never be switched.
	Protected string `yaml:"protected"`
	// MaxPower is the plausible maximum in W, the driver's unless set; Poll
	// overrides the gateway's.
	MaxPower device.Watts  `yaml:"max_power"`
	Poll     time.Duration `yaml:"poll"`
}

// Load reads an inventory. All its mistakes come back at once, by key and line.
func Load(filename string) (*Inventory, error) {
	inventory := &Inventory{}
	if err := config.Load(filename, inventory); err != nil {
		return nil, err
	}
	return inventory, nil
}

// Validate reports all mistakes at once, by key.
func (i *Inventory) Validate() error {
	_, err := i.content()
	return err
}
