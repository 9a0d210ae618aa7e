package broker_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/broker"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/pki"
)

const mosquittoProgram = "/usr/sbin/mosquitto" // not in everybody's PATH

// startMosquitto runs Mosquitto with the exported files.
func (s *site) startMosquitto(revoked ...pki.Revoked) (url string) {
	s.t.Helper()
	if _, err := os.Stat(mosquittoProgram); err != nil {
		if os.Getenv("CI") != "" {
			s.t.Fatal("mosquitto is not installed: make test installs it (Debian package mosquitto)")
		}
		s.t.Skip("mosquitto is not installed (Debian package mosquitto)")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	files, _ := s.issue(s.authority, pki.Server, "127.0.0.1", time.Now(), "127.0.0.1")
	both, err := os.ReadFile(files.Cert)
	if err != nil {
		s.t.Fatal(err)
	}
	list, err := s.authority.Revoke(revoked, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(broker.ServerCert, both)
	s.write(broker.ServerKey, both)
	s.write(pki.RevocationList, list)
	s.write(broker.MosquittoACL, []byte(broker.MosquittoRules()))
	conf := s.write(broker.MosquittoConf, []byte(broker.MosquittoConfig(port+" 127.0.0.1", s.dir)+"user root\npersistence false\nlog_dest file "+filepath.Join(s.dir, "log")+"\n"))
	cmd := exec.Command(mosquittoProgram, "-c", conf)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if s.t.Failed() {
			text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			s.t.Logf("mosquitto:\n%s", text)
		}
	})
	eventually(s.t, "mosquitto listens", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return "tls://127.0.0.1:" + port
}

// TestMosquittoHoldsClientsToTheSameRules plays one table against the embedded
// broker and against Mosquitto with the exported rules. What counts is what
// others hear: a broker may also swallow what it refuses (MQTT 3.1.1 section
// 3.3.5).
func TestMosquittoHoldsClientsToTheSameRules(t *testing.T) {
	for name, begin := range map[string]func(*site, string) string{
		"embedded": func(s *site, serial string) string {
			b := s.startSecure()
			b.Trust("f1", contract.Trusted, []string{serial})
			return b.SecureURL()
		},
		"mosquitto": func(s *site, _ string) string { return s.startMosquitto() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			files, serial := s.issue(s.authority, pki.Gateway, "f1", time.Now())
			roleFiles, _ := s.issue(s.authority, pki.Role, broker.RoleUser, time.Now())
			url := begin(s, serial)
			heard := hearing(t, url, s.as("observer", roleFiles), "#")
			role := link(t, url, s.as("role", roleFiles))
			ourPublishing(t, s, url, files, heard)
			ourHearing(t, s, url, files, role)
		})
	}
}

func ourPublishing(t *testing.T, s *site, url string, files pki.Files, heard <-chan bus.Message) {
	t.Helper()
	for topic, want := range map[string]bool{
		"data/f1/influx_data/sp/0000000000000001-1": true, "state/f1/sp_f1.g0": true, "gateways/f1/status": true, "gateways/f1/found": true,
		"responses/sp_command/0123/f1/abcd": true,
		"data/f2/influx_data/sp":            false, "state/f2/sp_f1.g0": false, "gateways/f2/status": false, "gateways/f1/config": false,
		"gateways/f1/command": false, "gateways/f2/found": false, "responses/sp_command/0123/f2/abcd": false, "responses/f1/receipts": false,
		"responses/f2/receipts": false, "responses/api/1/2": false, "registry/site": false, "registry/gateways/f1": false,
		"command/sp_command/row/1": false, "command/registry/enrolment": false, "query/registry/tokens": false, "alerts/x": false, "other": false,
	} {
		l := link(t, url, s.as("f1", files))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_ = l.Publish(ctx, bus.Message{Topic: topic, Payload: []byte("x")}) // a broker may hang up instead
		cancel()
		// The acknowledgement may overtake the message; what the same gateway says
		// next does not.
		end := fmt.Sprintf("data/f1/end/%d", s.epochs.Add(1))
		eventually(t, "the gateway's last word", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			return l.Publish(ctx, bus.Message{Topic: end, Payload: []byte("x")}) == nil
		})
		got := false
		for m := next(t, heard); m.Topic != end; m = next(t, heard) {
			got = got || m.Topic == topic
		}
		if got != want {
			t.Errorf("gateway f1 publishes on %s: heard %v, want %v", topic, got, want)
		}
	}
}

func ourHearing(t *testing.T, s *site, url string, files pki.Files, role *bus.Link) {
	t.Helper()
	const end = "gateways/f1/command"
	for topic, want := range map[string]bool{
		"gateways/f1/config": true, "responses/f1/receipts": true, "responses/f1/a/b": true,
		"gateways/f2/config": false, "gateways/f2/command": false, "gateways/f2/status": false, "responses/f2/receipts": false,
		"data/f2/influx_data/sp": false, "state/f2/x": false, "registry/site": false, "registry/tokens/x": false,
		"command/sp_command/row/1": false, "responses/api/1/2": false, "alerts/x": false,
	} {
		mine := make(chan bus.Message, 100)
		o := s.as("f1", files)
		o.Up = func(ctx context.Context, s *bus.Session) error {
			for _, filter := range []string{topic, strings.SplitN(topic, "/", 2)[0] + "/#", "#"} {
				_ = s.Subscribe(ctx, filter, func(m bus.Message) { mine <- m }) // may be refused
			}
			return s.Subscribe(ctx, end, func(m bus.Message) { mine <- m })
		}
		link(t, url, o)
		publish(t, role, topic, "x", false)
		publish(t, role, end, "x", false)
		got := false
		for m := next(t, mine); m.Topic != end; m = next(t, mine) {
			got = got || m.Topic == topic
		}
		if got != want {
			t.Errorf("gateway f1 hears %s: %v, want %v", topic, got, want)
		}
	}
}

func TestMosquittoLetsInWhatTheSiteHasIssued(t *testing.T) {
	s := newSite(t)
	now := time.Now()
	good, _ := s.issue(s.authority, pki.Gateway, "f1", now)
	revoked, serial := s.issue(s.authority, pki.Gateway, "f2", now)
	expired, _ := s.issue(s.authority, pki.Gateway, "f1", now.AddDate(-2, 0, 0))
	foreign, _ := s.issue(newAuthority(t, filepath.Join(s.dir, "other")), pki.Gateway, "f1", now)
	url := s.startMosquitto(pki.Revoked{Serial: serial, At: now})
	for name, c := range map[string]struct {
		files pki.Files
		want  string
	}{
		"in force":            {good, ""},
		"revoked":             {revoked, "revoked"},
		"expired":             {expired, "expired"},
		"of another site":     {foreign, "site"},
		"without certificate": {pki.Files{CA: s.ca}, "enrol first"},
	} {
		err := refusedBy(t, url, s.as("f1", c.files))
		for range 20 { // Mosquitto hangs up before its reason is read, now and then
			if err == nil || !strings.Contains(err.Error(), "hangs up") {
				break
			}
			err = refusedBy(t, url, s.as("f1", c.files))
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}
