package mail

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/cloud/alerting/wording"
)

// maxLine is how long a line of a header may be (RFC 5322 section 2.1.1), without
// its end.
const maxLine = 76

// render writes a message as it goes over the wire (RFC 5322), all in ASCII. The
// same message gives the same bytes.
func (s *Sender) render(m notify.Message) ([]byte, error) {
	zone := s.zone()
	if zone == nil {
		zone = time.UTC
	}
	p := newPage(m, zone)
	plain, rich, err := bodies(p)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	header(&b, "Date", m.At.Time().In(zone).Format(time.RFC1123Z))
	header(&b, "From", s.from.String())
	header(&b, "To", list(s.to))
	header(&b, "Subject", encoded(p.Subject))
	header(&b, "Message-ID", s.id("message", m.Key))
	s.thread(&b, m)
	header(&b, "Auto-Submitted", "auto-generated") // RFC 3834: no answers from machines
	header(&b, "MIME-Version", "1.0")
	parts := multipart.NewWriter(&b)
	if err := parts.SetBoundary("wattline-" + digest("boundary", m.Key)); err != nil {
		return nil, fmt.Errorf("write the message: %w", err)
	}
	header(&b, "Content-Type", "multipart/alternative; boundary="+parts.Boundary())
	b.WriteString("\r\n")
	for _, part := range []struct {
		kind string
		body []byte
	}{{"text/plain", plain}, {"text/html", rich}} { // the better one last (RFC 2046 section 5.1.4)
		if err := write(parts, part.kind, part.body); err != nil {
			return nil, fmt.Errorf("write the message: %w", err)
		}
	}
	if err := parts.Close(); err != nil {
		return nil, fmt.Errorf("write the message: %w", err)
	}
	return b.Bytes(), nil
}

func write(parts *multipart.Writer, kind string, body []byte) error {
	w, err := parts.CreatePart(textproto.MIMEHeader{
		"Content-Type":              {kind + "; charset=utf-8"},
		"Content-Transfer-Encoding": {"quoted-printable"},
	})
	if err != nil {
		return err
	}
	q := quotedprintable.NewWriter(w)
	if _, err := q.Write(body); err != nil {
		return err
	}
	return q.Close()
}

// thread lets mail programs put what is told later of an alert under what was told
// first: all refer to a message of the alert's own, which is never sent. Programs
// join what has the same ancestor, there or not (RFC 5256, REFERENCES). The alert
// that the headline names decides, for a message can stand in one thread only.
func (s *Sender) thread(b *bytes.Buffer, m notify.Message) {
	lead := wording.Lead(m.Items)
	if lead == nil || lead.Alert.ID == "" {
		return
	}
	root := s.id("alert", lead.Alert.ID)
	if lead.Event != notify.Began {
		header(b, "In-Reply-To", root)
	}
	header(b, "References", root)
}

// id is the same for the same key, whatever characters that has.
func (s *Sender) id(kind, key string) string {
	_, domain, _ := strings.Cut(s.from.Address, "@")
	return fmt.Sprintf("<%s@%s>", digest(kind, key), domain)
}

func digest(kind, key string) string {
	sum := sha256.Sum256([]byte(kind + "\x00" + key))
	return hex.EncodeToString(sum[:16])
}

// list of recipients, each as its own word.
func list(to []*mail.Address) string {
	all := make([]string, len(to))
	for i, a := range to {
		all[i] = a.String()
	}
	return strings.Join(all, ", ")
}

// maxWord is how long an encoded word is here: the first must fit behind the name
// of its header, for a line break before it shows as a space in some programs.
const maxWord = 60

// encoded writes a text in encoded words (RFC 2047) unless it is ASCII. Readers
// drop the spaces between them.
func encoded(text string) string {
	if mime.QEncoding.Encode("utf-8", text) == text {
		return text
	}
	var words []string
	rest := text
	for rest != "" {
		end := len(rest)
		for len(word(rest[:end])) > maxWord {
			_, size := utf8.DecodeLastRuneInString(rest[:end])
			end -= size
		}
		words = append(words, word(rest[:end]))
		rest = rest[end:]
	}
	return strings.Join(words, " ")
}

// word is one encoded word, of ASCII too: in between plain words spaces count.
func word(text string) string {
	var b strings.Builder
	b.WriteString("=?utf-8?q?")
	for _, c := range []byte(text) {
		switch {
		case c == ' ':
			b.WriteByte('_')
		case c > ' ' && c <= '~' && c != '=' && c != '?' && c != '_':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	b.WriteString("?=")
	return b.String()
}

// header writes one, folded at spaces. No text can end it early: line breaks that
// come in become spaces.
func header(b *bytes.Buffer, name, text string) {
	words := slices.Collect(strings.FieldsSeq(text))
	b.WriteString(name + ":")
	length := len(name) + 1
	for i, word := range words {
		if i > 0 && length+1+len(word) > maxLine {
			b.WriteString("\r\n")
			length = 0
		}
		b.WriteString(" " + word)
		length += 1 + len(word)
	}
	b.WriteString("\r\n")
}
