package mail_test

import (
	"flag"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/shared/contract"
)

var update = flag.Bool("update", false, "write the golden files anew")

func berlin() *time.Location {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	return zone
}

// sent is a message as the server got it, taken apart by other means than those it
// was made with.
type sent struct {
	raw     string
	header  mail.Header
	subject string
	plain   string
	rich    string
}

// deliver sends a message to a good server and reads what has arrived.
func deliver(t *testing.T, m notify.Message) sent {
	t.Helper()
	srv := newServer(t, nil)
	sender := newSender(t, srv, nil)
	if err := sender.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	letters := srv.taken()
	if len(letters) != 1 {
		t.Fatalf("%d messages arrived, want 1", len(letters))
	}
	return parse(t, letters[0].data)
}

func parse(t *testing.T, raw string) sent {
	t.Helper()
	msg, err := mail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	s := sent{raw: raw, header: msg.Header}
	if s.subject, err = new(mime.WordDecoder).DecodeHeader(msg.Header.Get("Subject")); err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("content type %q, %v", kind, err)
	}
	parts := multipart.NewReader(msg.Body, params["boundary"])
	for _, into := range []struct {
		kind string
		text *string
	}{{"text/plain; charset=utf-8", &s.plain}, {"text/html; charset=utf-8", &s.rich}} {
		part, err := parts.NextRawPart()
		if err != nil || part.Header.Get("Content-Type") != into.kind {
			t.Fatalf("part %v, %v, want %s", part, err, into.kind)
		}
		text, err := io.ReadAll(quotedprintable.NewReader(part))
		if err != nil {
			t.Fatal(err)
		}
		*into.text = strings.ReplaceAll(string(text), "\r\n", "\n")
	}
	return s
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestMessagesReadAsWritten(t *testing.T) {
	trial := notify.Message{Key: "trial-1", Receiver: "facility", Site: "Main Street", At: noon, Items: []notify.Item{{
		Event: notify.Trials, Alert: contract.Alert{Summary: "Somebody tries whether messages arrive. They do."},
	}}}
	for name, m := range map[string]notify.Message{"alarm": alarm(), "recovery": recovery(), "trial": trial} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := deliver(t, m)
			var heads strings.Builder
			for _, key := range []string{"Date", "From", "To", "Subject", "Message-Id", "In-Reply-To", "References", "Auto-Submitted"} {
				if text := s.header.Get(key); text != "" {
					if key == "Subject" {
						text = s.subject
					}
					heads.WriteString(key + ": " + text + "\n")
				}
			}
			golden(t, name+".txt", heads.String()+"\n"+s.plain)
			golden(t, name+".html", s.rich)
		})
	}
}

func TestTheWireHasShortLinesOfASCIIAndFetchesNothing(t *testing.T) {
	s := deliver(t, alarm())
	for line := range strings.SplitSeq(s.raw, "\n") {
		line = strings.TrimSuffix(line, "\r")
		if len(line) > 78 || strings.ContainsFunc(line, func(r rune) bool { return r > '~' || r < ' ' }) {
			t.Errorf("line %q", line)
		}
	}
	for _, word := range []string{"<img", "src=", "url(", "<script", "<link"} {
		if strings.Contains(s.rich, word) {
			t.Errorf("the HTML has %s", word)
		}
	}
	if strings.Contains(s.raw, "Subject:\r\n") {
		t.Error("the subject begins on the next line, and shows with a space in front")
	}
	if !strings.Contains(s.rich, "Küche &lt;Süd&gt;") {
		t.Error("the name of the place is not in the HTML, or not escaped")
	}
}

func TestNamesCannotAddHeadersOrMarkup(t *testing.T) {
	evil := "Desk\r\nBcc: victim@example.org\r\n\r\n<script>alert(1)</script>\n.\n"
	m := notify.Message{Key: evil, Receiver: evil, Site: evil, At: noon, Link: "javascript:alert(1)", Items: []notify.Item{{
		Event: notify.Began, Alert: contract.Alert{
			ID: evil, Rule: evil, Severity: contract.Severity(evil), Subject: evil, Label: evil, Summary: evil, Advice: evil, Unit: evil,
			Value: new(float64), Covers: []string{evil}, Since: noon,
		},
	}}}
	s := deliver(t, m)
	want := []string{"Date", "From", "To", "Subject", "Message-Id", "References", "Auto-Submitted", "Mime-Version", "Content-Type"}
	if len(s.header) != len(want) {
		t.Errorf("headers %v, want %v", s.header, want)
	}
	for _, key := range want {
		if len(s.header[key]) != 1 {
			t.Errorf("%s is there %d times", key, len(s.header[key]))
		}
	}
	if strings.Contains(s.rich, "<script") || strings.Contains(s.rich, `href="javascript`) {
		t.Errorf("markup came through:\n%s", s.rich)
	}
}

func TestRecoveriesStandUnderTheAlarm(t *testing.T) {
	first, last := deliver(t, alarm()), deliver(t, recovery())
	root := first.header.Get("References")
	if root == "" || last.header.Get("References") != root || last.header.Get("In-Reply-To") != root {
		t.Errorf("references %q and %q, in reply to %q", root, last.header.Get("References"), last.header.Get("In-Reply-To"))
	}
	if first.header.Get("In-Reply-To") != "" {
		t.Error("the alarm says that it is an answer")
	}
	if first.header.Get("Message-Id") == last.header.Get("Message-Id") {
		t.Error("two messages have one Message-ID")
	}
}
