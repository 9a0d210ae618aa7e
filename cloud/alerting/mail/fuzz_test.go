package mail_test

import (
	"bytes"
	"log/slog"
	netmail "net/mail"
	"testing"

	"github.com/wattline/wattline/cloud/alerting/mail"
	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/shared/contract"
)

// FuzzNames holds that no name makes a message that is more, or less, than one.
func FuzzNames(f *testing.F) {
	sender, err := mail.New(mail.Config{Server: "mail.example.org:587", From: "w@example.org", To: []string{anna}}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("Desk 7", "It draws too much.", "m-1")
	f.Add("Desk\r\nBcc: all@example.org\r\n\r\n.\r\n", "=?utf-8?q?=0D=0ABcc:_x?=", "\x00\xff")
	f.Fuzz(func(t *testing.T, name, text, key string) {
		m := notify.Message{Key: key, Site: name, Link: text, Items: []notify.Item{{Event: notify.Event(name), Alert: contract.Alert{
			ID: key, Rule: name, Subject: name, Label: name, Unit: name, Severity: contract.Severity(text), Summary: text, Advice: text, Covers: []string{name},
		}}}}
		raw, err := sender.Render(m)
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
		for line := range bytes.SplitSeq(raw, []byte("\r\n")) {
			if len(line) > 998 || bytes.ContainsFunc(line, func(r rune) bool { return r > '~' || r < ' ' && r != '\t' }) {
				t.Fatalf("line %q", line)
			}
		}
		got, err := netmail.ReadMessage(bytes.NewReader(raw))
		if err != nil {
			t.Fatalf("%v in %q", err, head)
		}
		want := 8 // without threads
		if key != "" {
			want++ // References
			if name != string(notify.Began) {
				want++ // In-Reply-To
			}
		}
		if len(got.Header) != want {
			t.Errorf("headers %v in %q", got.Header, head)
		}
	})
}
