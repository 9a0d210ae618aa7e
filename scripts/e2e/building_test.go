package e2e_test

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

// TestLifeOfABuilding plays what a building's people do from the first day on:
// a site is made, boxes enrol, plugs are found and get their places, and then
// things are moved, swapped, protected, lost and copied. Every step is a command
// of wattline, or a request over REST, by somebody with a token; nobody edits a
// file.
func TestLifeOfABuilding(t *testing.T) {
	t.Parallel()
	b := newBuilding(t, hs110test.FleetOptions{Floors: 3, Rows: 17, Columns: 5, Rooms: 9, Printers: 6, Unknown: 1})
	b.founding()
	b.enrolment()
	b.places()
	b.protection()
	b.swap()
	b.move()
	b.outsiders()
	b.lostBox()
	b.copiedBox()
	b.reckoning()
}

func place(b *building, text string) device.ID {
	b.t.Helper()
	id, err := device.Parse(text)
	if err != nil {
		b.t.Fatal(err)
	}
	return id
}

// founding makes the site and its three gateways.
func (b *building) founding() {
	b.token = strings.TrimSpace(b.wattline("site", "init", "--", "-data", b.data, "-name", "Test house", "-default-floor", "1", "-time-zone", "Europe/Madrid"))
	if said := b.refused(1, "site", "init", "--", "-data", b.data, "-name", "Test house", "-default-floor", "1", "-time-zone", "Europe/Madrid"); !strings.Contains(said, "already") {
		b.t.Errorf("a second init says %q", said)
	}
	b.cloud.start()
	eventually(b.t, 30*time.Second, "the cloud answers", func() bool {
		_, err := b.run("site", "show")
		return err == nil
	})
	for floor := 1; floor <= 3; floor++ {
		b.wattline("gateways", "create", boxID(floor), "--floor", fmt.Sprint(floor), "--poll", "1", "--broadcast=false",
			"--scan", fmt.Sprintf("127.%d.%d.0/24", b.fleet.Block, floor))
	}
}

// enrolment: each box starts from a card of its own and waits to be approved.
func (b *building) enrolment() {
	base := b.blankCard()
	for floor := 1; floor <= 3; floor++ {
		b.boxes = append(b.boxes, b.newBox(boxID(floor), fmt.Sprintf("box%d", floor), b.flash(boxID(floor), base)))
	}
	for _, box := range b.boxes {
		box.start()
	}
	eventually(b.t, 30*time.Second, "three boxes ask to be let in", func() bool {
		return strings.Count(b.wattline("gateways", "requests", "--json"), `"pending"`) == 3
	})
	for _, box := range b.boxes {
		b.wattline("gateways", "approve", box.id)
	}
	eventually(b.t, time.Minute, "three gateways are online", func() bool { return b.online() == 3 })
	if said := b.refused(5, "gateways", "approve", boxID(1)); said == "" {
		b.t.Error("approving twice says nothing")
	}
}

// places: plugs are found, and get their places from a table.
func (b *building) places() {
	eventually(b.t, 2*time.Minute, "all plugs are found", func() bool { return len(b.found()) == len(b.fleet.Plugs)+len(b.fleet.Unknown) })
	file := filepath.Join(b.dir, "places.csv")
	var text strings.Builder
	w := csv.NewWriter(&text)
	_ = w.Write([]string{"device", "mac", "label"})
	for _, p := range b.fleet.Plugs {
		_ = w.Write([]string{p.ID.String(), p.MAC(), "of " + p.ID.String()})
	}
	w.Flush()
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		b.t.Fatal(err)
	}
	if said := b.wattline("import", file, "--dry-run"); !strings.Contains(said, "300") {
		b.t.Errorf("a dry run of 300 places says %q", said)
	}
	if n := len(b.devices()); n != 0 {
		b.t.Fatalf("a dry run made %d places", n)
	}
	b.wattline("import", file, "--reason", "moving in")
	eventually(b.t, time.Minute, "every place is read", func() bool { return len(b.counted(time.Time{})) == 300 })
	if n := len(b.found()); n != 3 {
		b.t.Errorf("%d plugs have no place, want the 3 that nobody named", n)
	}
	exported := b.wattline("export", "--format", "csv")
	if err := os.WriteFile(file, []byte(exported), 0o600); err != nil {
		b.t.Fatal(err)
	}
	b.wattline("import", file) // what was exported changes nothing
	if b.wattline("export", "--format", "csv") != exported {
		b.t.Error("importing what was exported has changed the site")
	}
}

// protection: of a row that is switched, the protected place stays.
func (b *building) protection() {
	const server = "sp_f1.w.r1.c2"
	b.wattline("devices", "protect", server, "--reason", "a server")
	eventually(b.t, 30*time.Second, "the gateway runs the configuration that protects", func() bool { return b.upToDate(boxID(1)) })
	said := b.refused(1, "switch", "off", "--floor", "1", "--row", "1", "--reason", "night")
	if strings.Count(said, "confirmed") < 4 || !strings.Contains(said, "refused") {
		b.t.Errorf("switching a row with a protected place says\n%s", said)
	}
	for column := range 5 {
		id := place(b, fmt.Sprintf("sp_f1.w.r1.c%d", column))
		if on := b.fleet.Find(id).On(); on != (id.String() == server) {
			b.t.Errorf("%v is on: %v", id, on)
		}
	}
}

// swap: another plug at a place, whose history goes on.
func (b *building) swap() {
	const room = "sp_f2.g3"
	before, fresh := b.fleet.Find(place(b, room)), b.fleet.Unknown[1]
	b.wattline("plugs", "swap", room, fresh.MAC(), "--reason", "the old one was hot")
	from := fresh.Polls()
	eventually(b.t, time.Minute, "the new plug is read", func() bool { return fresh.Polls() >= from+3 })
	swapped := time.Now()
	eventually(b.t, time.Minute, "its readings have the place's id", func() bool { return b.counted(swapped)[room] > 0 })
	eventually(b.t, time.Minute, "the old plug has no place", func() bool { return slices.Contains(b.found(), before.MAC()) })
}

// move: a plug gets another address, and is followed.
func (b *building) move() {
	const printer = "sp_f3.p2"
	p := b.fleet.Find(place(b, printer))
	address := fmt.Sprintf("127.%d.3.250", b.fleet.Block)
	if err := p.Move(address); err != nil {
		b.t.Fatal(err)
	}
	from := p.Polls()
	eventually(b.t, 3*time.Minute, "the plug is read at its new address", func() bool { return p.Polls() >= from+3 })
	eventually(b.t, time.Minute, "the registry knows the new address", func() bool {
		return strings.Contains(b.wattline("devices", "show", printer), address)
	})
}

// lostBox: a box is stolen. It must not get in any more.
func (b *building) lostBox() {
	box := b.boxes[1]
	b.wattline("gateways", "revoke", box.id, "--yes", "--reason", "stolen")
	eventually(b.t, 30*time.Second, "the stolen box is offline", func() bool { return b.online() == 2 })
	box.kill()
	box.start()
	begin := time.Now()
	pause(5 * time.Second) // long enough for several attempts
	if n := b.online(); n != 2 {
		b.t.Errorf("%d gateways are online after one was revoked", n)
	}
	if got := b.counted(begin)["sp_f2.g0"]; got != 0 {
		b.t.Errorf("%d readings came from a stolen box", got)
	}
	box.kill()
	// Its successor is a new box with the same name, which has a system already.
	fresh := b.newBox(box.id, "box2b", b.seed(box.id, filepath.Join(b.dir, "seed")))
	fresh.start()
	eventually(b.t, 30*time.Second, "the new box asks to be let in", func() bool {
		return strings.Contains(b.wattline("gateways", "requests", "--json"), `"pending"`)
	})
	b.wattline("gateways", "approve", box.id, "--reason", "a new box")
	eventually(b.t, time.Minute, "all floors are online again", func() bool { return b.online() == 3 })
	b.boxes[1] = fresh
}

// copiedBox: two boxes with one card. Both are stored, and it is told.
func (b *building) copiedBox() {
	box := b.boxes[2]
	box.kill()
	copied := filepath.Join(b.dir, "copy")
	if err := os.CopyFS(copied, os.DirFS(box.root)); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(copied, "var/lib/wattline/enrolment/identity.pem"), 0o600); err != nil { // as the card has it
		b.t.Fatal(err)
	}
	clone := b.boxAt(box.id, copied, "clone")
	box.start()
	clone.start()
	eventually(b.t, 3*time.Minute, "the ledger tells of two boxes", func() bool {
		for _, p := range b.proofs() {
			if p.Gateway == box.id && len(p.Clones) > 0 {
				return true
			}
		}
		return false
	})
	clone.stop()
}

// reckoning: nothing is missing where nothing was stolen, and the log knows who
// did what.
func (b *building) reckoning() {
	eventually(b.t, time.Minute, "the ledger of floor 1 is complete", func() bool {
		for _, p := range b.proofs() {
			if p.Gateway == boxID(1) {
				return p.Complete && p.Missing == 0
			}
		}
		return false
	})
	for _, p := range b.proofs() {
		if p.Missing != 0 {
			b.t.Errorf("%s: %d batches are missing: %s", p.Gateway, p.Missing, p.Claim)
		}
	}
	log := items[audited](b, "/api/v1/audit")
	for _, want := range []struct {
		what, object string
		results      []string
	}{
		{"approve", boxID(1), []string{"done"}},
		{"revoke", boxID(2), []string{"done"}},
		{"plug", "sp_f2.g3", []string{"done"}},
		{"", "sp_f1.w.r1.c2", []string{"refused"}},
		{"switch", "sp_f1.w.r1.c0", []string{"done", "confirmed"}},
	} {
		if !slices.ContainsFunc(log, func(e audited) bool {
			return strings.Contains(e.What, want.what) && strings.Contains(e.Object, want.object) && slices.Contains(want.results, e.Result)
		}) {
			b.t.Errorf("the audit log does not have %v", want)
		}
	}
	for _, e := range log {
		if e.Who == "" || e.At == "" {
			b.t.Errorf("the audit log does not say who or when: %+v", e)
		}
	}
}
