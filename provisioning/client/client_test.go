package client_test

import (
	"bufio"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wattline/wattline/provisioning/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, o client.Options) *client.Client {
	t.Helper()
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestATokenStaysOnThisMachineOrInTLS(t *testing.T) {
	for server, fine := range map[string]bool{
		"http://127.0.0.1:8080": true, "http://localhost:1": true, "http://[::1]:1": true, "https://example.com": true,
		"http://10.0.0.1": false, "http://example.com:8080": false, "http://127.0.0.1.example.com": false,
		"ftp://localhost": false, "localhost:8080": false, "http://user:pw@localhost": false, "": false,
	} {
		_, err := client.New(client.Options{Server: server, Token: "t"})
		if (err == nil) != fine {
			t.Errorf("%q: %v", server, err)
		}
		if err != nil && strings.Contains(err.Error(), ":pw@") {
			t.Errorf("the password is told: %v", err)
		}
	}
}

func TestARedirectIsNotFollowedWithTheToken(t *testing.T) {
	got := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got++ }))
	defer other.Close()
	server := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	_, err := open(t, client.Options{Server: server.URL, Token: "t"}).Get(t.Context(), "/x", nil, nil)
	if err == nil || !strings.Contains(err.Error(), "leads on to") || got > 0 {
		t.Errorf("followed %d times: %v", got, err)
	}
}

func TestTLSIsByTheSitesAuthority(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"name":"Wattline"}`) }))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // it tells of each handshake
	server.StartTLS()
	defer server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	var d struct{ Name string }
	if _, err := open(t, client.Options{Server: server.URL, CA: ca, Token: "t"}).Get(t.Context(), "/", nil, &d); err != nil || d.Name != "Wattline" {
		t.Errorf("with the authority: %v, %v", d, err)
	}
	for name, c := range map[string]struct {
		options client.Options
		want    string
	}{
		"nobody vouches": {client.Options{Server: server.URL}, "--ca"},
		"another name":   {client.Options{Server: strings.Replace(server.URL, "127.0.0.1", "localhost", 1), CA: ca}, "another name"},
		"in the clear":   {client.Options{Server: strings.Replace(server.URL, "https", "http", 1)}, "use https://"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := open(t, c.options).Get(t.Context(), "/", nil, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want something with %q", err, c.want)
			}
		})
	}
	if _, err := client.New(client.Options{Server: server.URL, CA: []byte("no PEM")}); err == nil {
		t.Error("an authority without certificates is taken")
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	_, err := open(t, client.Options{Server: strings.Replace(plain.URL, "http", "https", 1)}).Get(t.Context(), "/", nil, nil)
	if err == nil || !strings.Contains(err.Error(), "speaks no TLS") {
		t.Errorf("TLS to a server without: %v", err)
	}
}

func TestASilentOrGarbledServerIsAnError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answers := make(chan string, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				io.WriteString(conn, <-answers)
			}
			defer conn.Close() // at the end: it is silent until then
		}
	}()
	defer func() { l.Close(); close(answers); <-done }()
	for name, c := range map[string]struct{ answer, want string }{
		"silent":    {"", "gave no answer within"},
		"garbage":   {"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"},
		"cut off":   {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "gave no answer within"},
		"not JSON":  {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/html\r\n\r\nhello", "is this a Wattline server?"},
		"not ready": {"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Type: application/problem+json\r\nContent-Length: 24\r\n\r\n{\"detail\":\"not so soon\"}", "not so soon"},
	} {
		t.Run(name, func(t *testing.T) {
			answers <- c.answer
			var into map[string]any
			_, err := open(t, client.Options{Server: "http://" + l.Addr().String(), Timeout: 300 * time.Millisecond}).Get(t.Context(), "/", nil, &into)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want something with %q", err, c.want)
			}
			if p, ok := errors.AsType[*client.ProblemError](err); ok && p.RetryAfter != 7*time.Second {
				t.Errorf("wants to be asked again in %v", p.RetryAfter)
			}
		})
	}
}

func TestAListEndsEvenIfTheServerDoesNot(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		switch r.URL.Query().Get("cursor") {
		case "":
			io.WriteString(w, `{"items":[1,2],"next":"a"}`)
		default:
			io.WriteString(w, `{"items":[3],"next":"a"}`) // again and again
		}
	}))
	defer server.Close()
	var items []string
	err := open(t, client.Options{Server: server.URL}).List(t.Context(), "/l", nil, func(item json.RawMessage) error {
		items = append(items, string(item))
		return nil
	})
	if got := strings.Join(items, ""); err != nil || got != "123" || asked != 2 {
		t.Errorf("got %s in %d requests, %v", got, asked, err)
	}
}

func TestAnEndlessAnswerIsCut(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		block := make([]byte, 1<<20)
		for r.Context().Err() == nil {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	_, err := open(t, client.Options{Server: server.URL}).Get(t.Context(), "/", nil, nil)
	if err == nil || !strings.Contains(err.Error(), "larger than 64 MiB") {
		t.Errorf("got %v", err)
	}
}
