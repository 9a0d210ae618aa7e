package ledger_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

const (
	second = device.Micros(1_000_000)
	start  = 1_800_000_000 * second
)

// story is what a gateway and the hooks did, in the order of time.
type story struct {
	t     testing.TB
	state *ledger.State
	now   device.Micros
}

func tell(t testing.TB) *story { return &story{t: t, state: ledger.NewState(), now: start} }

func id(epoch contract.Epoch, n uint64) *contract.BatchID {
	return &contract.BatchID{Epoch: epoch, Sequence: n}
}

// at is the time of the batch n; each batch covers a second.
func at(n uint64) device.Micros { return start + device.Micros(n)*10*second }

// entry is that of batch n of an epoch, with two readings.
func entry(epoch contract.Epoch, n uint64, previous *contract.BatchID, change ...func(*contract.Entry)) contract.Entry {
	e := contract.Entry{
		Source: "edge-f1", ID: id(epoch, n).String(), Batch: id(epoch, n), Digest: contract.Digest{byte(epoch), byte(n)},
		Readings: 2, From: at(n), To: at(n) + second, Previous: previous,
	}
	for _, c := range change {
		c(&e)
	}
	return e
}

// stored enters the batches from to to of an epoch.
func (s *story) stored(epoch contract.Epoch, from, to uint64, previous *contract.BatchID, change ...func(*contract.Entry)) *story {
	for n := from; n <= to; n++ {
		s.now += second
		s.state.Add(entry(epoch, n, previous, change...), s.now)
	}
	return s
}

// says enters a head.
func (s *story) says(h ledger.Head) *story {
	s.now += second
	h.Gateway, h.At = "edge-f1", s.now
	if h.Uptime == 0 {
		h.Uptime = s.now - start
	}
	s.state.AddHead(h)
	return s
}

func (s *story) waits(d device.Micros) *story {
	s.now += d
	return s
}

func (s *story) proof() ledger.Proof { return s.state.Prove("edge-f1", 0, 0, s.now) }

// expect is what of a proof a test is about.
type expect struct {
	complete                          bool
	until                             device.Micros // 0: no claim
	claim                             string        // a part of it
	missing, waiting, dropped, stored uint64
}

func (s *story) expect(p ledger.Proof, want expect) {
	s.t.Helper()
	got := expect{p.Complete, 0, want.claim, p.Missing, p.Waiting, p.Dropped, p.Stored}
	if p.CompleteUntil != nil {
		got.until = *p.CompleteUntil
	}
	if !strings.Contains(p.Claim, want.claim) {
		got.claim = p.Claim
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(expect{})); diff != "" {
		s.t.Errorf("(-want +got)\n%s%+v", diff, p)
	}
}

func ranges(texts ...string) (list []contract.Range) {
	for _, text := range texts {
		r, err := contract.ParseRange(text)
		if err != nil {
			panic(err)
		}
		list = append(list, r)
	}
	return list
}

func TestNothingIsClaimedOfASourceNobodyHeardOf(t *testing.T) {
	s := tell(t)
	s.expect(s.proof(), expect{claim: "nothing is known"})
}

func TestNothingIsClaimedOfASourceThatNumbersNothing(t *testing.T) {
	s := tell(t)
	s.state.Add(contract.Entry{Source: "edge-f1", ID: "a message"}, s.now)
	s.expect(s.proof(), expect{claim: "numbers nothing"})
}

func TestCompleteToTheLast(t *testing.T) {
	s := tell(t).stored(1, 1, 5, nil).says(ledger.Head{Epoch: 1, Sequence: 5})
	p := s.proof()
	s.expect(p, expect{complete: true, until: at(5) + second, claim: "none missing up to", stored: 5})
	if r := p.Epochs[0]; r.CompleteTo != 5 || r.Readings != 10 || !r.Current || p.Readings != 10 || r.From != at(1) || r.To != at(5)+second {
		t.Errorf("%+v", r)
	}
}

func TestWhatTheGatewayStillHasIsWaitingNotMissing(t *testing.T) {
	s := tell(t).stored(1, 1, 3, nil).stored(1, 5, 5, nil).says(ledger.Head{Epoch: 1, Sequence: 9, Oldest: id(1, 4)})
	p := s.proof()
	s.expect(p, expect{complete: true, until: at(3) + second, claim: "none missing up to", waiting: 5, stored: 4})
	if diff := cmp.Diff(ranges("0000000000000001-4..4", "0000000000000001-6..9"), p.Epochs[0].Waiting); diff != "" {
		t.Error(diff)
	}
}

func TestWhatWasCommittedSinceTheHeadSpokeIsWaiting(t *testing.T) {
	s := tell(t).stored(1, 1, 3, nil).says(ledger.Head{Epoch: 1, Sequence: 3}).stored(1, 6, 6, nil)
	s.expect(s.proof(), expect{complete: true, until: at(3) + second, waiting: 2, stored: 4})
}

func TestWhatNobodyHasIsMissing(t *testing.T) {
	s := tell(t).stored(1, 1, 3, nil).stored(1, 6, 8, nil).says(ledger.Head{Epoch: 1, Sequence: 9, Oldest: id(1, 9)})
	p := s.proof()
	s.expect(p, expect{claim: "2 batches are missing", missing: 2, waiting: 1, stored: 6})
	if diff := cmp.Diff(ranges("0000000000000001-4..5"), p.Epochs[0].Missing); diff != "" {
		t.Error(diff)
	}
}

func TestABatchSetAsideIsWaiting(t *testing.T) {
	s := tell(t).stored(1, 1, 3, nil).stored(1, 5, 8, nil).says(ledger.Head{Epoch: 1, Sequence: 8, SetAside: []contract.BatchID{*id(1, 4)}})
	s.expect(s.proof(), expect{complete: true, until: at(3) + second, waiting: 1, stored: 7})
}

func TestDroppedIsToldAndCountsAsAccountedFor(t *testing.T) {
	tombstone := func(e *contract.Entry) {
		e.Replaces, e.Readings, e.From, e.To = ranges("0000000000000001-2..4"), 6, at(2), at(4)+second
	}
	s := tell(t).stored(1, 1, 1, nil).stored(1, 5, 7, nil).stored(1, 8, 8, nil, tombstone).stored(1, 9, 9, nil).says(ledger.Head{Epoch: 1, Sequence: 9})
	p := s.proof()
	s.expect(p, expect{complete: true, until: at(9) + second, claim: "3 batches were dropped", dropped: 3, stored: 6})
	if p.Readings != 10 {
		t.Errorf("%d readings, want those of 5 batches, not the dropped ones", p.Readings)
	}
	// One of them had been stored all the same.
	s.stored(1, 3, 3, nil)
	s.expect(s.proof(), expect{complete: true, until: at(9) + second, dropped: 2, stored: 7})
}

func TestATombstoneOfATombstoneTellsOfBoth(t *testing.T) {
	told := func(e *contract.Entry) { e.Replaces = ranges("0000000000000001-1..3", "0000000000000001-5..5") }
	s := tell(t).stored(1, 4, 4, nil).stored(1, 6, 6, nil, told).says(ledger.Head{Epoch: 1, Sequence: 6})
	s.expect(s.proof(), expect{complete: true, until: at(6) + second, dropped: 4, stored: 2})
}

func TestADroppedBatchIsNotMissingWhileItsTombstoneWaits(t *testing.T) {
	s := tell(t).stored(1, 1, 1, nil).stored(1, 4, 7, nil).
		says(ledger.Head{Epoch: 1, Sequence: 8, Oldest: id(1, 8), Tombstoned: ranges("0000000000000001-2..3"), Behind: at(2)})
	s.expect(s.proof(), expect{complete: true, until: at(1) + second, waiting: 3, stored: 5})
}

// Between batches that were dropped may lie one that the window held back.
func TestATombstoneProvesNothingOfWhatLiesBetween(t *testing.T) {
	tombstone := func(e *contract.Entry) {
		e.Replaces, e.From, e.To = ranges("0000000000000001-2..2", "0000000000000001-4..6"), at(2), at(6)+second
	}
	s := tell(t).stored(1, 1, 1, nil).stored(1, 7, 7, nil, tombstone).says(ledger.Head{Epoch: 1, Sequence: 7, Oldest: id(1, 3)})
	s.expect(s.proof(), expect{complete: true, until: at(1) + second, waiting: 1, dropped: 4, stored: 2})
}

func TestReadingsThatWaitOutOfOrderCapTheClaim(t *testing.T) {
	s := tell(t).stored(1, 1, 5, nil).says(ledger.Head{Epoch: 1, Sequence: 6, Oldest: id(1, 6), Behind: at(3)})
	s.expect(s.proof(), expect{complete: true, until: at(3) - 1, waiting: 1, stored: 5})
}

func TestQuarantinedAndExpiredAreAccountedFor(t *testing.T) {
	s := tell(t).stored(1, 1, 1, nil).
		stored(1, 2, 2, nil, func(e *contract.Entry) { e.Quarantined = true }).
		stored(1, 3, 3, nil, func(e *contract.Entry) { e.Expired = true }).
		stored(1, 4, 4, nil, func(e *contract.Entry) { e.Refused = 7 }).says(ledger.Head{Epoch: 1, Sequence: 4})
	p := s.proof()
	s.expect(p, expect{complete: true, until: at(4) + second, stored: 4})
	if r := p.Epochs[0]; r.Quarantined != 1 || r.Expired != 1 || p.Refused != 7 {
		t.Errorf("%+v", p)
	}
	s.stored(1, 2, 2, nil) // replayed
	if r := s.proof().Epochs[0]; r.Quarantined != 0 || s.proof().Readings != 8 {
		t.Errorf("after a replay: %+v", r)
	}
}

func TestARestartClosesTheRunBefore(t *testing.T) {
	s := tell(t).stored(1, 1, 4, nil).stored(2, 1, 2, id(1, 4)).says(ledger.Head{Epoch: 2, Sequence: 2, Previous: id(1, 4)})
	p := s.proof()
	s.expect(p, expect{complete: true, until: at(4) + second, stored: 6})
	if r := p.Epochs[0]; r.Closed == nil || *r.Closed != 4 || r.Current || r.SilentSince != nil || !p.Epochs[1].Current {
		t.Errorf("%+v", p.Epochs)
	}
}

func TestWhatTheRunBeforeCommittedAndNobodyHeardOfIsKnownByItsEnd(t *testing.T) {
	s := tell(t).stored(1, 1, 4, nil).says(ledger.Head{Epoch: 2, Sequence: 1, Previous: id(1, 7), Oldest: id(1, 5)})
	s.expect(s.proof(), expect{complete: true, until: at(4) + second, waiting: 4, stored: 4})
	s.says(ledger.Head{Epoch: 2, Sequence: 1, Previous: id(1, 7)})
	s.expect(s.proof(), expect{claim: "4 batches are missing", missing: 4, stored: 4})
}

func TestRunsThatNobodyHeardOfAreNeitherMissingNorComplete(t *testing.T) {
	// 1 -> 2 -> 3; of 2 nothing has arrived, not even what it names.
	s := tell(t).stored(1, 1, 4, nil).stored(3, 1, 2, id(2, 3))
	s.says(ledger.Head{Epoch: 3, Sequence: 2, Previous: id(2, 3), Oldest: id(1, 5)})
	p := s.proof()
	s.expect(p, expect{claim: "not known", waiting: 3, stored: 6})
	if p.CompleteUntil != nil {
		t.Errorf("claims %v though run 2 is not there yet", *p.CompleteUntil)
	}
}

func TestARunThatEndedWithoutABatchIsNotSilentForEver(t *testing.T) {
	s := tell(t).stored(1, 1, 4, nil).says(ledger.Head{Epoch: 2, Previous: id(1, 4)})
	s.waits(30 * second).says(ledger.Head{Epoch: 3, Sequence: 1, Previous: id(1, 4), Earlier: []contract.Run{{Epoch: 2}, {Epoch: 1, Last: 4}}})
	s.stored(3, 1, 1, id(1, 4))
	s.expect(s.proof(), expect{complete: true, until: at(4) + second, stored: 5})
}

func TestRunsWhoseBatchesNeverArriveAreKnownByTheList(t *testing.T) {
	s := tell(t).stored(1, 1, 4, nil).says(ledger.Head{
		Epoch: 3, Sequence: 1, Previous: id(2, 3), Oldest: id(2, 1), Earlier: []contract.Run{{Epoch: 2, Last: 3}, {Epoch: 1, Last: 4}},
	})
	s.expect(s.proof(), expect{complete: true, until: at(4) + second, waiting: 4, stored: 4})
}

func TestOfTwoRunsAfterOneTheOneWithBatchesIsThePresentOne(t *testing.T) {
	s := tell(t).stored(1, 1, 4, nil).stored(3, 1, 1, id(1, 4)).stored(3, 3, 3, id(1, 4))
	s.now += 3600 * second // another hook's clock
	s.says(ledger.Head{Epoch: 2, Previous: id(1, 4)})
	if p := s.proof(); p.Missing != 0 || p.Waiting != 1 || p.Epochs[1].Epoch != 3 || !p.Epochs[1].Current {
		t.Errorf("%+v", p)
	}
}

func TestBatchesOfRunsThatArriveInAnyOrderMakeNothingMissing(t *testing.T) {
	// 1 -> 2 -> 3 -> 4; of 3 nothing has arrived, and of 2 later than of 4.
	s := tell(t).stored(1, 1, 3, nil).stored(4, 1, 1, id(3, 2)).stored(2, 1, 1, id(1, 3))
	if p := s.proof(); p.Missing != 0 || p.Waiting != 2 || p.Complete {
		t.Errorf("%+v", p)
	}
	s.waits(61 * second)
	if p := s.proof(); p.Missing != 0 || p.Complete {
		t.Errorf("a minute later: %+v", p)
	}
}

func TestSilentSinceItsLastSignOfLife(t *testing.T) {
	s := tell(t).stored(1, 1, 4, nil).says(ledger.Head{Epoch: 1, Sequence: 4})
	last := s.now
	s.waits(59*second).expect(s.proof(), expect{complete: true, until: at(4) + second, stored: 4})
	s.waits(2 * second)
	p := s.proof()
	s.expect(p, expect{claim: "silent since 2027-01-15T08:00:05Z", stored: 4})
	if since := p.Epochs[0].SilentSince; since == nil || *since != last {
		t.Errorf("silent since %v, want %v", since, last)
	}
	// What ended before the silence is not in doubt.
	s.expect(s.state.Prove("edge-f1", at(1), at(3), s.now), expect{complete: true, until: at(3), stored: 4})
	s.expect(s.state.Prove("edge-f1", at(1), at(40), s.now), expect{claim: "silent", stored: 4})
}

func TestAReflashedGatewayLeavesASilentRun(t *testing.T) {
	s := tell(t).stored(1, 1, 4, nil).says(ledger.Head{Epoch: 1, Sequence: 6, Oldest: id(1, 5)})
	s.stored(2, 1, 1, nil).says(ledger.Head{Epoch: 2, Sequence: 1})
	s.waits(61 * second).says(ledger.Head{Epoch: 2, Sequence: 1})
	p := s.proof()
	s.expect(p, expect{claim: "2 batches are missing", missing: 2, stored: 5})
	if p.Epochs[0].SilentSince == nil || p.Epochs[1].SilentSince != nil {
		t.Errorf("%+v", p.Epochs)
	}
}

// For a minute nobody can tell a reflashed box from a copy: what the one before
// had may still come, and is no more missing than it is complete.
func TestAReflashedGatewaysOldBatchesAreNotProvenMeanwhile(t *testing.T) {
	s := tell(t).stored(1, 1, 1, nil).stored(1, 3, 4, nil).stored(2, 5, 5, id(1, 4))
	s.says(ledger.Head{Epoch: 2, Sequence: 5, Previous: id(1, 4), Oldest: id(1, 2)}).stored(2, 1, 4, id(1, 4))
	s.stored(3, 9, 9, nil).stored(3, 1, 8, nil).says(ledger.Head{Epoch: 3, Sequence: 9})
	s.expect(s.state.Prove("edge-f1", at(1), at(3), s.now), expect{claim: "silent", waiting: 1, stored: 17})
}

func TestARestoredImageRollsBack(t *testing.T) {
	s := tell(t).stored(1, 1, 9, nil).says(ledger.Head{Epoch: 1, Sequence: 9})
	s.stored(2, 1, 1, id(1, 6)).says(ledger.Head{Epoch: 2, Sequence: 1, Previous: id(1, 6)})
	p := s.proof()
	s.expect(p, expect{claim: "set back to an earlier state", stored: 10})
	if r := p.Epochs[0]; !r.RolledBack || *r.Closed != 6 || len(p.Clones) != 0 {
		t.Errorf("%+v, clones %v", r, p.Clones)
	}
	// A range that the run has nothing in does not suffer from it.
	s.stored(2, 20, 20, id(1, 6)) // far later
	s.expect(s.state.Prove("edge-f1", at(12), 0, s.now), expect{complete: true, until: at(1) + second, waiting: 18, stored: 2})
}

// both lets two epochs speak in turn, every 20 s.
func (s *story) both(times int, a, b ledger.Head) *story {
	for i := range times {
		for _, h := range []ledger.Head{a, b} {
			h.Sequence += uint64(i)
			h.Uptime = device.Micros(i+1) * second
			s.waits(10 * second).says(h)
		}
	}
	return s
}

func TestTwoEpochsThatBothGrowAreAClone(t *testing.T) {
	for name, tc := range map[string]struct{ a, b ledger.Head }{
		"two copies of one image":       {ledger.Head{Epoch: 2, Sequence: 1, Previous: id(1, 4)}, ledger.Head{Epoch: 3, Sequence: 1, Previous: id(1, 4)}},
		"a copy beside the running box": {ledger.Head{Epoch: 1, Sequence: 5}, ledger.Head{Epoch: 2, Sequence: 1, Previous: id(1, 4)}},
		"a second box under the name":   {ledger.Head{Epoch: 7, Sequence: 1}, ledger.Head{Epoch: 8, Sequence: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s := tell(t).both(10, tc.a, tc.b)
			if p := s.proof(); len(p.Clones) != 1 || !strings.Contains(p.Clones[0], "both grow") || !strings.Contains(p.Claim, "two boxes") {
				t.Errorf("clones %v, claim %q", p.Clones, p.Claim)
			}
		})
	}
}

func TestOneBoxIsNoClone(t *testing.T) {
	for name, tell := range map[string]func(s *story){
		"a restart, and heads of the run before that come late": func(s *story) {
			s.says(ledger.Head{Epoch: 1, Sequence: 2}).says(ledger.Head{Epoch: 2, Sequence: 1, Previous: id(1, 9)})
			s.waits(200 * second).says(ledger.Head{Epoch: 1, Sequence: 8, Uptime: 1}).says(ledger.Head{Epoch: 2, Sequence: 7, Previous: id(1, 9)})
		},
		"a reflash": func(s *story) {
			s.says(ledger.Head{Epoch: 1, Sequence: 2}).waits(300 * second).says(ledger.Head{Epoch: 1, Sequence: 9})
			s.says(ledger.Head{Epoch: 2}).waits(300 * second).says(ledger.Head{Epoch: 2, Sequence: 30})
		},
		"a reflash, heard by hooks of which one is hours ahead": func(s *story) {
			s.says(ledger.Head{Epoch: 1, Sequence: 2, Instance: "a"})
			s.now += 7200 * second
			s.says(ledger.Head{Epoch: 1, Sequence: 9, Instance: "ahead"})
			s.now -= 7200 * second
			s.says(ledger.Head{Epoch: 2, Instance: "a"}).waits(300 * second).says(ledger.Head{Epoch: 2, Sequence: 30, Instance: "a"})
		},
		"an image restored": func(s *story) {
			s.says(ledger.Head{Epoch: 1, Sequence: 2}).waits(300 * second).says(ledger.Head{Epoch: 1, Sequence: 9})
			s.says(ledger.Head{Epoch: 2, Previous: id(1, 4)}).waits(300 * second).says(ledger.Head{Epoch: 2, Sequence: 30, Previous: id(1, 4)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t)
			tell(s)
			if p := s.proof(); len(p.Clones) != 0 {
				t.Errorf("%v", p.Clones)
			}
		})
	}
}

func newStory(t testing.TB) *story { return tell(t) }

func TestACloneThatStillSpeaksWaits(t *testing.T) {
	s := tell(t).stored(1, 1, 4, nil).both(10, ledger.Head{Epoch: 1, Sequence: 5, Oldest: id(1, 5)}, ledger.Head{Epoch: 2, Sequence: 1, Previous: id(1, 4), Oldest: id(2, 1)})
	s.expect(s.proof(), expect{claim: "set back", waiting: 10 + 10, stored: 4})
}

// The box that was copied went on in the run that both had; how far it came there
// says nothing of the copy.
func TestACopyIsNotAsFarAsTheRunThatItLeft(t *testing.T) {
	s := tell(t).stored(1, 1, 24, nil).stored(4, 1, 40, id(1, 24)).says(ledger.Head{Epoch: 4, Sequence: 40, Previous: id(1, 24)})
	s.stored(2, 1, 2, id(1, 4)).says(ledger.Head{Epoch: 2, Sequence: 3, Previous: id(1, 4), Oldest: id(2, 3)})
	p := s.state.Prove("edge-f1", 0, at(20), s.now)
	if p.CompleteUntil != nil && *p.CompleteUntil >= at(3) {
		t.Errorf("complete until %d, but a batch of %d waits", *p.CompleteUntil, at(3))
	}
}

func TestOneIDWithTwoContentsIsAClone(t *testing.T) {
	s := tell(t).stored(1, 1, 3, nil).stored(1, 2, 2, nil, func(e *contract.Entry) { e.Digest = contract.Digest{99}; e.Readings = 5 })
	p := s.proof()
	if len(p.Clones) != 1 || p.Clones[0] != "batch 0000000000000001-2 has two contents" {
		t.Errorf("clones %v", p.Clones)
	}
	if p.Stored != 3 || p.Readings != 9 {
		t.Errorf("%d batches, %d readings: want the larger content counted once", p.Stored, p.Readings)
	}
	again := tell(t).stored(1, 1, 3, nil).stored(1, 1, 3, nil)
	if p := again.proof(); len(p.Clones) != 0 || p.Readings != 6 {
		t.Errorf("stored twice, the same: %v, %d readings", p.Clones, p.Readings)
	}
}

func TestHeadsAreOrderedByTheGatewaysClock(t *testing.T) {
	// A hook that is hours ahead heard an old head; a right one the new one.
	s := tell(t).stored(1, 1, 3, nil)
	s.now += 7200 * second
	s.says(ledger.Head{Epoch: 1, Sequence: 3, Oldest: id(1, 2), Uptime: 10 * second, Instance: "ahead"})
	s.now -= 7200 * second
	s.says(ledger.Head{Epoch: 1, Sequence: 5, Oldest: id(1, 5), Uptime: 20 * second, Instance: "right"})
	s.expect(s.proof(), expect{claim: "1 batches are missing", missing: 1, waiting: 1, stored: 3})
}

func TestARangeLeavesOutRunsThatHaveNothingInIt(t *testing.T) {
	s := tell(t).stored(1, 1, 4, nil).stored(2, 5, 8, id(1, 4)).says(ledger.Head{Epoch: 2, Sequence: 8, Previous: id(1, 4), Oldest: id(2, 9)})
	all := s.proof()
	s.expect(all, expect{claim: "4 batches are missing", missing: 4, stored: 8})
	late := s.state.Prove("edge-f1", at(6), at(7), s.now)
	if len(late.Epochs) != 1 || late.Epochs[0].Epoch != 2 {
		t.Errorf("%+v", late.Epochs)
	}
}
