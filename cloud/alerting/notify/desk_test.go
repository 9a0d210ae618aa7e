package notify_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/cloud/alerting/rule"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var begin = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// post is a receiver that says what came, or fails.
type post struct {
	mu    sync.Mutex // protects the fields below
	came  []notify.Message
	fault error
	lies  bool // takes the message, and says that it did not
}

func (p *post) Send(_ context.Context, m notify.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault == nil || p.lies {
		p.came = append(p.came, m)
	}
	return p.fault
}

func (p *post) fail(err error, lies bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.lies = err, lies
}

// took gives the messages in words, and forgets them.
func (p *post) took() (lines []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.came {
		var items []string
		for _, i := range m.Items {
			items = append(items, string(i.Event)+" "+i.Alert.Subject)
		}
		line := strings.Join(items, ", ")
		if m.Omitted > 0 {
			line += fmt.Sprintf(" and %d more", m.Omitted)
		}
		lines = append(lines, line)
	}
	p.came = nil
	return lines
}

// stage is a desk on a real file, with a clock of its own.
type stage struct {
	t    *testing.T
	file string
	db   *bbolt.DB
	desk *notify.Desk
	post *post
	now  time.Time
	r    notify.Receiver
}

func newStage(t *testing.T, r notify.Receiver) *stage {
	t.Helper()
	s := &stage{t: t, file: filepath.Join(t.TempDir(), "alerting.db"), post: &post{}, now: begin, r: r}
	s.r.Name, s.r.Sender = "facility", s.post
	if s.r.From == "" {
		s.r.From = contract.Info
	}
	s.open()
	t.Cleanup(func() { _ = s.db.Close() })
	return s
}

func (s *stage) open() {
	s.t.Helper()
	db, err := bbolt.Open(s.file, 0o600, &bbolt.Options{Timeout: time.Second, NoSync: true})
	if err != nil {
		s.t.Fatal(err)
	}
	s.db = db
	s.desk, err = notify.Open(db, []notify.Receiver{s.r}, notify.Options{
		Site: s.site, SendTimeout: time.Second,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		s.t.Fatal(err)
	}
}

// site is asked of somebody who may be writing to the file, and whose lock is
// taken meanwhile: asked from within a transaction, neither would go on.
func (s *stage) site() contract.Site {
	wrote := make(chan error, 1)
	go func() { wrote <- s.db.Update(func(*bbolt.Tx) error { return nil }) }()
	select {
	case err := <-wrote:
		if err != nil {
			s.t.Error(err)
		}
	case <-time.After(5 * time.Second):
		s.t.Error("asked for the site within a transaction that writes: whoever writes and is asked waits for ever")
	}
	if n := s.db.Stats().OpenTxN; n > 0 {
		s.t.Errorf("asked for the site within %d transactions that read: a file that grows waits for them", n)
	}
	return contract.Site{Name: "Main Street", TimeZone: "Europe/Berlin"}
}

// restart is what a kill leaves: the file.
func (s *stage) restart() {
	s.t.Helper()
	if err := s.db.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.open()
}

func (s *stage) change(kind engine.Kind, severity contract.Severity, subject string, hushed ...bool) {
	s.t.Helper()
	a := contract.Alert{ID: "x/" + subject + "/1", Rule: "x", Severity: severity, Subject: subject, State: contract.Firing}
	if len(hushed) > 0 {
		a.Hushed = &contract.Hushed{Who: "ada"}
	}
	err := s.db.Update(func(tx *bbolt.Tx) error {
		return s.desk.Enter(tx, []engine.Change{{Kind: kind, Alert: a}}, device.MicrosOf(s.now))
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// wait lets time pass, second by second, and serves.
func (s *stage) wait(d time.Duration) {
	s.t.Helper()
	for end := s.now.Add(d); s.now.Before(end); {
		s.now = s.now.Add(time.Second)
		s.desk.Serve(s.t.Context(), s.now)
	}
}

func (s *stage) want(lines ...string) {
	s.t.Helper()
	if d := cmp.Diff(lines, s.post.took()); d != "" {
		s.t.Errorf("messages (-want +got):\n%s", d)
	}
}

func TestWhatComesTogetherIsOneMessage(t *testing.T) {
	s := newStage(t, notify.Receiver{Wait: 30 * time.Second, Over: true})
	s.change(engine.Raised, contract.Warning, "a")
	s.wait(20 * time.Second)
	s.change(engine.Raised, contract.Critical, "b")
	s.want()
	s.wait(10 * time.Second)
	s.want("began b, began a")
	s.change(engine.Ended, contract.Warning, "a")
	s.change(engine.Raised, contract.Warning, "c")
	s.wait(time.Minute)
	s.want("began c, over a")
	s.wait(time.Hour)
	s.want()
}

func TestWithoutWaitingItGoesAtOnce(t *testing.T) {
	s := newStage(t, notify.Receiver{})
	s.change(engine.Raised, contract.Info, "a")
	s.desk.Serve(t.Context(), s.now)
	s.want("began a")
}

func TestNobodyHearsThatItIsOverOfWhatHeWasNotTold(t *testing.T) {
	s := newStage(t, notify.Receiver{Wait: 30 * time.Second, Over: true})
	s.change(engine.Ended, contract.Critical, "never raised")
	s.change(engine.Raised, contract.Critical, "hushed", true)
	s.change(engine.Ended, contract.Critical, "hushed", true)
	s.change(engine.Raised, contract.Info, "short")
	s.change(engine.Ended, contract.Info, "short")
	s.change(engine.Raised, contract.Warning, "seen")
	s.change(engine.Updated, contract.Warning, "seen", true) // acknowledged before it was sent
	s.change(engine.Late, contract.Critical, "history")
	s.wait(time.Minute)
	s.want()
	s.change(engine.Raised, contract.Warning, "was")
	s.change(engine.Ended, contract.Warning, "was")
	s.wait(time.Minute)
	s.want("was was")
	s.change(engine.Ended, contract.Warning, "was")
	s.wait(time.Minute)
	s.want()
}

func TestReceiversChoose(t *testing.T) {
	s := newStage(t, notify.Receiver{From: contract.Warning}) // and not what is over
	s.change(engine.Raised, contract.Info, "a")
	s.change(engine.Raised, contract.Warning, "b")
	s.change(engine.Flapping, contract.Critical, "c")
	s.wait(time.Second)
	s.want("flaps c, began b")
	s.change(engine.Ended, contract.Warning, "b")
	s.change(engine.Reminder, contract.Critical, "c")
	s.wait(time.Second)
	s.want("still c")
	s.change(engine.Wakened, contract.Warning, "slept")
	s.wait(time.Second)
	s.want("began slept")
	err := s.db.Update(func(tx *bbolt.Tx) error {
		return s.desk.Enter(tx, []engine.Change{{Kind: engine.Raised, Alert: contract.Alert{ID: "y", Severity: contract.Critical, Subject: "y"}, Receivers: []string{"others"}}}, 1)
	})
	if err != nil {
		t.Fatal(err)
	}
	s.wait(time.Second)
	s.want()
}

func TestInformationWaitsForTheDigest(t *testing.T) {
	at := rule.Clock(8 * 60)
	s := newStage(t, notify.Receiver{Digest: &at, Over: true})
	s.change(engine.Raised, contract.Info, "a") // at one in Berlin
	s.wait(time.Hour)
	s.change(engine.Raised, contract.Warning, "b")
	s.wait(time.Second)
	s.want("began b")
	s.change(engine.Raised, contract.Info, "c")
	s.now = begin.Add(18*time.Hour + 58*time.Minute)
	s.wait(time.Minute)
	s.want()
	s.wait(2 * time.Minute)
	s.want("began a, began c")
	s.change(engine.Raised, contract.Info, "d")
	s.change(engine.Raised, contract.Info, "e")
	s.change(engine.Ended, contract.Info, "e") // left on over night, off in the morning
	s.wait(time.Hour)
	s.want()
	s.now = begin.Add(42*time.Hour + 59*time.Minute)
	s.wait(2 * time.Minute)
	s.want("began d, was e")
}

func TestNotMoreOftenThanTheReceiverWants(t *testing.T) {
	s := newStage(t, notify.Receiver{Most: 2})
	for n := range 10 {
		s.change(engine.Raised, contract.Warning, fmt.Sprint(n))
		s.wait(time.Minute)
	}
	s.want("began 0", "began 1")
	s.change(engine.Raised, contract.Critical, "fire") // takes the others along
	s.wait(time.Second)
	s.want("began fire, began 2, began 3, began 4, began 5, began 6, began 7, began 8, began 9")
	s.restart()
	s.change(engine.Raised, contract.Warning, "next")
	s.wait(40 * time.Minute)
	s.want()
	s.wait(20 * time.Minute)
	s.want("began next")
}

func TestAReceiverThatIsAwayMissesNothing(t *testing.T) {
	s := newStage(t, notify.Receiver{Over: true})
	s.post.fail(errors.New("connection refused"), false)
	s.change(engine.Raised, contract.Warning, "a")
	s.wait(time.Minute)
	if f := s.desk.Failing(); f != 1 {
		t.Errorf("%d fail", f)
	}
	s.change(engine.Raised, contract.Warning, "b")
	s.change(engine.Ended, contract.Warning, "a")
	s.change(engine.Raised, contract.Warning, "c")
	s.change(engine.Ended, contract.Warning, "c")
	if st := s.desk.Statuses()[0]; st.Waiting != 3 || !st.Flying || st.Failing == 0 || st.Fault != "connection refused" {
		t.Errorf("%+v", st)
	}
	s.restart()
	s.wait(10 * time.Hour)
	s.want()
	s.post.fail(nil, false)
	s.wait(10 * time.Minute)
	s.want("began a", "began b, over a, was c")
	if st := s.desk.Statuses()[0]; st.Waiting != 0 || st.Flying || st.Failing != 0 || st.Sent == 0 {
		t.Errorf("%+v", st)
	}
}

func TestAnAnswerThatIsLostRepeatsTheKey(t *testing.T) {
	s := newStage(t, notify.Receiver{})
	s.post.fail(errors.New("connection reset"), true)
	s.change(engine.Raised, contract.Warning, "a")
	s.wait(time.Second)
	s.restart()
	s.wait(time.Minute)
	s.post.fail(nil, false)
	s.wait(10 * time.Minute)
	s.post.mu.Lock()
	defer s.post.mu.Unlock()
	keys := make(map[string]int)
	for _, m := range s.post.came {
		keys[m.Key]++
	}
	if len(s.post.came) < 3 || len(keys) != 1 {
		t.Errorf("%d messages, keys %v", len(s.post.came), keys)
	}
}

type refusal struct{ error }

func (refusal) Refused() bool { return true }

func TestWhatIsRefusedIsTriedSeldom(t *testing.T) {
	s := newStage(t, notify.Receiver{})
	s.post.fail(refusal{errors.New("no such user")}, true)
	s.change(engine.Raised, contract.Warning, "a")
	s.wait(29 * time.Minute)
	s.want("began a")
	s.wait(10 * time.Minute)
	s.want("began a")
}

func TestAThousandAreOneMessageThatSaysSo(t *testing.T) {
	s := newStage(t, notify.Receiver{Wait: time.Second})
	for n := range 1000 {
		s.change(engine.Raised, contract.Warning, fmt.Sprintf("%04d", n))
	}
	s.wait(2 * time.Second)
	got := s.post.took()
	if len(got) != 1 || strings.Count(got[0], "began") != notify.MaxItems || !strings.HasSuffix(got[0], "and 800 more") {
		t.Errorf("%d messages: %.100q", len(got), got)
	}
}

func TestATrialGoesAtOnce(t *testing.T) {
	at := rule.Clock(8 * 60)
	s := newStage(t, notify.Receiver{Wait: time.Hour, Digest: &at, Most: 1})
	if err := s.desk.Try("nobody", "ada", device.MicrosOf(s.now)); !errors.Is(err, notify.ErrUnknown) {
		t.Errorf("got %v", err)
	}
	if err := s.desk.Try("facility", "ada", device.MicrosOf(s.now)); err != nil {
		t.Fatal(err)
	}
	s.desk.Serve(t.Context(), s.now)
	s.want("trial site")
}

func TestRunServesUntilItsContextEnds(t *testing.T) {
	s := newStage(t, notify.Receiver{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.desk.Run(ctx) }()
	s.change(engine.Raised, contract.Warning, "a")
	s.desk.Poke()
	for deadline := time.Now().Add(10 * time.Second); !slices.Equal(s.post.took(), []string{"began a"}); {
		if time.Now().After(deadline) {
			t.Fatal("nothing came")
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-done
}
