package onboard_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wattline/wattline/provisioning/onboard"
	"github.com/wattline/wattline/shared/hs110"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const passphrase = "correct horse battery"

// building is a Wi-Fi with a plug beside it that is not in it yet.
type building struct {
	plug  *hs110test.Plug
	there string // where the plug is once it is in
	told  []string

	mu    sync.Mutex
	asked []string // by the plug
}

func newBuilding(t *testing.T, o hs110test.Options) *building {
	t.Helper()
	b := &building{}
	here := hs110test.New(t, hs110test.Options{}) // its address is the plug's later
	b.there = here.Address()
	if err := here.Close(); err != nil {
		t.Fatal(err)
	}
	o.Networks = []hs110test.Network{{SSID: "guests", KeyType: 1}, {SSID: "office", Password: passphrase, Address: b.there}}
	o.OnRequest = func(body []byte) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.asked = append(b.asked, string(body))
	}
	b.plug = hs110test.New(t, o)
	return b
}

var nothingElse = hs110.Options{HTTPPort: -1, KLAPPort: -1, DialTimeout: time.Second, Timeout: time.Second}

func (b *building) options() onboard.Options {
	return onboard.Options{
		Address: b.plug.Address(), Alias: "sp_f2.g3", TimeZone: "Europe/Prague", SSID: "office", Passphrase: passphrase,
		Find: b.find, Every: 20 * time.Millisecond, Wait: 10 * time.Second, Plug: nothingElse,
	}
}

// find asks where the plug should be.
func (b *building) find(ctx context.Context, deviceID, mac string) (string, error) {
	c, err := hs110.New(b.there, nothingElse)
	if err != nil {
		return "", err
	}
	info, err := c.Info(ctx)
	if err != nil {
		return "", err
	}
	return c.Address(), info.Identify(deviceID, mac)
}

func (b *building) tell(line string) { b.told = append(b.told, line) }

func TestAPlugIsBroughtIntoTheNetwork(t *testing.T) {
	for _, hardware := range []hs110test.Hardware{hs110test.HW1, hs110test.HW2, hs110test.HW4} {
		b := newBuilding(t, hs110test.Options{Hardware: hardware})
		r, err := onboard.Plug(t.Context(), b.options(), b.tell)
		if err != nil {
			t.Fatalf("hardware %d: %v", hardware, err)
		}
		if r.Address != b.there || b.plug.Joined() != "office" || b.plug.Zone() != 42 || r.Info.MAC != b.plug.MAC() {
			t.Errorf("hardware %d: at %s in %q, zone %d, %+v", hardware, r.Address, b.plug.Joined(), b.plug.Zone(), r.Info)
		}
		told := strings.Join(b.told, "\n")
		if strings.Contains(told, passphrase) || strings.Contains(told, "closes the local protocol") != (hardware == hs110test.HW4) {
			t.Errorf("hardware %d was told of as\n%s", hardware, told)
		}
		c, err := hs110.New(b.there, nothingElse)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := c.Info(t.Context()); err != nil || info.Alias != "sp_f2.g3" {
			t.Errorf("alias %q, %v", info.Alias, err)
		}
	}
}

func TestAPlugThatCannotBeBroughtInStays(t *testing.T) {
	for name, test := range map[string]struct {
		plug   hs110test.Options
		change func(*building, *onboard.Options)
		want   error
		says   string
	}{
		"a wrong passphrase": {change: func(_ *building, o *onboard.Options) { o.Passphrase, o.Wait = "wrong wrong", 300*time.Millisecond }, want: onboard.ErrNotFound, says: "the passphrase is wrong"},
		"a plug that nobody sees afterwards": {change: func(_ *building, o *onboard.Options) {
			o.Wait = 500 * time.Millisecond
			o.Find = func(context.Context, string, string) (string, error) { return "", nil }
		}, want: onboard.ErrNotFound, says: "out of reach"},
		"nobody can be asked afterwards": {change: func(_ *building, o *onboard.Options) {
			o.Wait = 500 * time.Millisecond
			o.Find = func(context.Context, string, string) (string, error) { return "", errors.New("no route") }
		}, want: onboard.ErrNotFound, says: "no route"},
		"a network that it does not see":  {change: func(_ *building, o *onboard.Options) { o.SSID = "offices" }, says: "2.4 GHz"},
		"a network without WPA2":          {change: func(_ *building, o *onboard.Options) { o.SSID = "guests" }, says: "not protected by WPA2"},
		"a plug without a meter":          {plug: hs110test.Options{NoMeter: true}, want: onboard.ErrUnsuitable, says: "no meter"},
		"nothing at the address":          {change: func(b *building, _ *onboard.Options) { b.plug.Close() }, want: hs110.ErrOffline, says: "own network"},
		"a time zone that plugs have not": {change: func(_ *building, o *onboard.Options) { o.TimeZone = "Australia/Eucla" }, says: "Australia/Eucla"},
		"no time zone":                    {change: func(_ *building, o *onboard.Options) { o.TimeZone = "Mars/Olympus" }, says: "Mars/Olympus"},
		"names that are too long": {change: func(_ *building, o *onboard.Options) {
			o.Alias, o.SSID = strings.Repeat("x", 32), strings.Repeat("x", 33)
		}, says: "alias"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBuilding(t, test.plug)
			o := b.options()
			if test.change != nil {
				test.change(b, &o)
			}
			_, err := onboard.Plug(t.Context(), o, b.tell)
			if err == nil || !strings.Contains(err.Error(), test.says) || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v that says %q", err, test.want, test.says)
			}
			if err != nil && strings.Contains(err.Error(), o.Passphrase.Reveal()) {
				t.Errorf("the error has the passphrase: %v", err)
			}
			if test.want == nil {
				b.mu.Lock()
				defer b.mu.Unlock()
				for _, asked := range b.asked {
					if strings.Contains(asked, "set_stainfo") {
						t.Errorf("it was sent away: %s", asked)
					}
				}
			}
		})
	}
}

// A plug that is firmware-locked, that says nothing and that says nonsense.
func TestAPlugWithFaultsIsToldOf(t *testing.T) {
	for name, test := range map[string]struct {
		fault hs110test.Fault
		want  error
	}{
		"silent":  {hs110test.Fault{Silent: true}, hs110.ErrOffline},
		"garbage": {hs110test.Fault{Garbage: []byte("\x00\x00\x00\x04abcd")}, hs110.ErrNotPlug},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBuilding(t, hs110test.Options{})
			if err := b.plug.SetFault(test.fault); err != nil {
				t.Fatal(err)
			}
			if _, err := onboard.Plug(t.Context(), b.options(), b.tell); !errors.Is(err, test.want) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	b := newBuilding(t, hs110test.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	o := b.options()
	o.Find = func(context.Context, string, string) (string, error) {
		cancel()
		return "", nil
	}
	if _, err := onboard.Plug(ctx, o, b.tell); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestOnlyThePlugThatIsMeantIsReset(t *testing.T) {
	p := hs110test.New(t, hs110test.Options{Alias: "mine"})
	_, err := onboard.Reset(t.Context(), p.Address(), "50:C7:BF:00:00:00", nothingElse)
	if !errors.Is(err, hs110.ErrIdentity) || p.Resets() != 0 {
		t.Errorf("error %v, %d resets", err, p.Resets())
	}
	for i, id := range []string{strings.ToLower(p.MAC()), p.DeviceID()} {
		if _, err := onboard.Reset(t.Context(), p.Address(), id, nothingElse); err != nil || p.Resets() != i+1 {
			t.Errorf("error %v, %d resets", err, p.Resets())
		}
	}
}

// No other program of ours can send what may ruin a plug or make it unreachable.
func TestDangerousCommandsAreNowhereElse(t *testing.T) {
	dangerous := []string{"set_stainfo", "set_mac_addr", "set_test_mode", "set_vgain_igain", "start_calibration", "download_firmware", "flash_firmware", `{"reset":`, "system.reset"}
	root := filepath.Join("..", "..")
	for _, tier := range []string{"edge", "cloud", "shared", "provisioning"} {
		err := filepath.WalkDir(filepath.Join(root, tier), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			if strings.Contains(path, "provisioning/onboard/") || strings.Contains(path, "test/") {
				return nil
			}
			text, err := os.ReadFile(path)
			for _, word := range dangerous {
				if strings.Contains(string(text), word) {
					t.Errorf("%s has %s", path, word)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func ExampleOptions_Validate() {
	fmt.Println(onboard.Options{Alias: "sp_f2.g3", SSID: "office", Passphrase: "short"}.Validate())
	// Output: Wi-Fi: a passphrase has 8 to 63 characters of ASCII
}
