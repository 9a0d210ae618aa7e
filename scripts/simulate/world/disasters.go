package world

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/wattline/wattline/shared/device"
)

// crash kills the process, or asks it to stop, and starts it again later.
func (b *box) crash() {
	if b.o == nil {
		return
	}
	w := b.w
	w.counts.Crashes++
	gracefully := w.chance(0.3)
	w.trace("%s ends, gracefully: %v", b.name, gracefully)
	b.stop(gracefully)
	b.startLater()
}

func (b *box) startLater() {
	run := b.run
	b.w.after(b.w.between(100*time.Millisecond, 40*time.Second), func() {
		if b.run == run {
			b.start(0)
		}
	})
}

// reboot cuts the power; a box without a clock of its own does not know the
// time for a while.
func (b *box) reboot(unclocked bool) {
	w := b.w
	w.counts.Reboots++
	w.trace("%s reboots, clock lost: %v", b.name, unclocked)
	b.stop(false)
	b.boot()
	if unclocked {
		b.set = false
		boot := b.bootID
		w.after(w.between(time.Second, 5*time.Minute), func() {
			if b.bootID == boot {
				w.trace("%s: clock set", b.name)
				b.set = true
			}
		})
	}
	b.startLater()
}

// stepClock moves a box's clock, sometimes so that the next reading falls on the
// very time of one that waits.
func (b *box) stepClock() {
	w := b.w
	w.counts.ClockSteps++
	step := device.Micros(w.rand.Int64N(2*7200e6) - 7200e6)
	if w.chance(0.5) {
		step = device.Micros(w.rand.Int64N(2*60e6) - 60e6)
	}
	b.aim = w.chance(0.5)
	if w.chance(0.3) {
		step = -b.offset
	}
	b.offset += step
	w.trace("%s: clock stepped by %v, is off by %v", b.name, time.Duration(step)*time.Microsecond, time.Duration(b.offset)*time.Microsecond)
}

// takeImage copies the outbox, as a backup of the whole disk would. Readings
// without time would be dated twice; a box that has some waits.
func (b *box) takeImage() {
	if b.o == nil || b.o.Stats().Unclocked > 0 {
		return
	}
	b.w.trace("image of %s", b.name)
	b.g.image, b.g.imageDated = b.read(), b.dated
}

func (b *box) read() []byte {
	image, err := os.ReadFile(b.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.w.violate("%v", err)
	}
	return image
}

func (b *box) write(image []byte) {
	if err := os.WriteFile(b.path, image, 0o600); err != nil {
		b.w.violate("%v", err)
	}
}

// reflash begins with an empty disk.
func (b *box) reflash() {
	if !b.discard() {
		return
	}
	b.w.counts.Reflashed++
	b.w.trace("%s reflashed", b.name)
	b.removeFiles()
	b.boot()
	b.dated = false
	b.startLater()
}

// restore goes on from the old image.
func (b *box) restore() {
	if b.g.image == nil || !b.discard() {
		return
	}
	b.w.counts.Restored++
	b.w.trace("%s restored from an image", b.name)
	b.write(b.g.image)
	b.dated = b.g.imageDated
	b.boot()
	b.startLater()
}

// discard ends the process and throws away what its disk holds.
func (b *box) discard() bool {
	if b.o == nil {
		return false
	}
	b.g.tampered = true
	b.w.truth.thrown(b)
	b.stop(false)
	b.unclocked = nil
	return true
}

// clone starts a second box from the image; both go on.
func (g *gateway) clone() {
	w := g.w
	if g.image == nil || len(g.boxes) > 2 {
		return
	}
	g.tampered, g.copied = true, true
	w.counts.Cloned++
	b := g.newBox()
	w.trace("%s begins as a copy", b.name)
	b.write(g.image)
	b.dated = g.imageDated
	b.start(0)
}

// loseBox ends a box for ever.
func (g *gateway) loseBox() {
	alive := g.alive()
	if len(alive) < 2 {
		return
	}
	b := alive[g.w.rand.IntN(len(alive))]
	if b.discard() {
		g.w.trace("%s is gone for ever", b.name)
		b.gone = true
	}
}

// heal makes everything right at once.
func (b *box) heal() {
	b.offset, b.set = 0, true
	switch {
	case b.gone:
	case b.o == nil:
		b.start(0)
	case b.conn != nil && b.conn.cut:
		b.disconnected(b.conn)
	case b.conn == nil:
		b.connectLater() // sooner than it would have
	}
}

// restarted lists what a file holds that was thrown away before: it is back.
func (b *box) restarted() { b.w.truth.mark(b, 0) }
