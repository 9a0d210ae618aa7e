package ledger_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// fact is an entry or a head.
type fact func(*ledger.State)

// history makes facts of gateways that restart, drop, are restored and copied,
// and of hooks whose clocks differ: whatever may be written, sense or not.
func history(random *rand.Rand) (facts []fact) {
	epochs := []contract.Epoch{1, 2, 3, 4, 5}
	pick := func() contract.Epoch { return epochs[random.IntN(len(epochs))] }
	number := func() uint64 { return 1 + random.Uint64N(9) }
	some := func() *contract.BatchID {
		if random.IntN(2) == 0 {
			return nil
		}
		return id(pick(), number())
	}
	for i := range 20 + random.IntN(30) {
		now := start + device.Micros(i)*7*second + device.Micros(random.IntN(3))*3600*second
		if random.IntN(3) == 0 {
			h := ledger.Head{
				Gateway: "g", At: now, Epoch: pick(), Sequence: number(), Previous: some(), Oldest: some(), Instance: fmt.Sprint(random.IntN(2)),
				Uptime: device.Micros(i) * second, Behind: device.Micros(random.IntN(2)) * at(number()),
			}
			for range random.IntN(3) {
				h.Earlier = append(h.Earlier, contract.Run{Epoch: pick(), Last: random.Uint64N(9)})
			}
			facts = append(facts, func(s *ledger.State) { s.AddHead(h) })
			continue
		}
		e := entry(pick(), number(), some(), func(e *contract.Entry) {
			e.Digest[7], e.Quarantined, e.Readings = byte(random.IntN(8)/7), random.IntN(5) == 0, 1+random.IntN(3)
			if random.IntN(4) == 0 {
				from := number()
				e.Replaces = []contract.Range{{Epoch: pick(), From: from, To: from + random.Uint64N(3)}}
			}
		})
		facts = append(facts, func(s *ledger.State) { s.Add(e, now) })
	}
	return facts
}

func TestEntriesAndHeadsInAnyOrderAndNumberGiveOneProof(t *testing.T) {
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 2))
		facts := history(random)
		now := start + 400*second
		prove := func(facts []fact) ledger.Proof {
			s := ledger.NewState()
			for _, f := range facts {
				f(s)
			}
			return s.Prove("g", 0, 0, now)
		}
		want := prove(facts)
		for range 5 {
			mixed := append([]fact(nil), facts...)
			for range random.IntN(20) {
				mixed = append(mixed, facts[random.IntN(len(facts))])
			}
			random.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
			if diff := cmp.Diff(want, prove(mixed)); diff != "" {
				t.Fatalf("seed %d: %s", seed, diff)
			}
		}
	}
}
