package outbox_test

import (
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/wattline/wattline/edge/outbox"
	"github.com/wattline/wattline/shared/device"
)

// load gives readings of so many plugs as they are measured: noise in every
// digit that a plug reports, energy that adds up.
type load struct {
	plugs  []device.ID
	energy []float64
	random *rand.Rand
}

func newLoad(t testing.TB, plugs int) *load {
	l := &load{random: rand.New(rand.NewPCG(1, 2))}
	for i := range plugs {
		l.plugs = append(l.plugs, id(t, "sp_f1.w.r"+string(rune('0'+i/10%10))+".c"+string(rune('0'+i%10))))
		l.energy = append(l.energy, l.random.Float64()*50000)
	}
	return l
}

func (l *load) read(i int, at device.Micros) device.Reading {
	base := 20 + 60*math.Abs(math.Sin(float64(i)))
	power := device.Watts(math.Round((base+l.random.NormFloat64()*2)*1000) / 1000)
	volts := device.Volts(math.Round((230+l.random.NormFloat64())*1000) / 1000)
	amps := device.Amperes(math.Round(float64(power)/float64(volts)/0.7*1000) / 1000)
	l.energy[i] += float64(power) / 3600
	energy := device.WattHours(math.Floor(l.energy[i]))
	on := true
	return device.Reading{Device: l.plugs[i], Time: at, Measurement: device.Measurement{Power: &power, Voltage: &volts, Current: &amps, Energy: &energy, On: &on}}
}

// Disk per reading, the file's size and what was written for it, for 100 plugs:
// a commit each second holds 100 readings at 1 s polls and 10 at the default.
func BenchmarkDiskPerReading(b *testing.B) {
	for name, perCommit := range map[string]int{"1s": 100, "10s": 10, "batches_of_1000": 1000} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r := newRig(b, func(o *outbox.Options) { o.NoSync = true })
				l := newLoad(b, 100)
				const readings = 200_000
				for n := 0; n < readings; n += perCommit {
					for i := range perCommit {
						if err := r.Accept(l.read((n+i)%100, r.now+device.Micros(i*9973)), true); err != nil {
							b.Fatal(err)
						}
					}
					r.now += 1e6
					if err := r.Commit(); err != nil {
						b.Fatal(err)
					}
				}
				info, err := os.Stat(r.options.Path)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(info.Size())/readings, "file_B/reading")
				b.ReportMetric(float64(r.Stats().Bytes)/readings, "block_B/reading")
			}
		})
	}
}
