package webhook_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wattline/wattline/shared/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// The example of the Standard Webhooks libraries' own tests.
func TestASignatureIsThatOfStandardWebhooks(t *testing.T) {
	key, err := webhook.ParseSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	at, body := time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`)
	const want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	if got := key.Sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, body); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	verify := func(signature string, now time.Time) error {
		return key.Verify("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", signature, body, now)
	}
	if err := verify("v1,AAAA "+want, at.Add(time.Minute)); err != nil {
		t.Error(err)
	}
	if verify("v1,AAAA", at) == nil || verify("", at) == nil || verify(want, at.Add(6*time.Minute)) == nil {
		t.Error("a wrong or late message is trusted")
	}
}

func TestSecretsAreChecked(t *testing.T) {
	if _, err := webhook.ParseSecret(webhook.NewSecret()); err != nil {
		t.Error(err)
	}
	for _, wrong := range []string{"", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_not base64 at all, really not", "whsec_" + strings.Repeat("A", 400)} {
		if _, err := webhook.ParseSecret(wrong); err == nil || len(wrong) > 7 && strings.Contains(err.Error(), wrong[6:]) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

// sender sends to a handler.
func sender(t *testing.T, handle http.HandlerFunc, change func(*webhook.Options)) *webhook.Sender {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	o := webhook.Options{URL: server.URL + "/token-in-path", Secret: secret, Timeout: 5 * time.Second, WaitLeast: time.Millisecond, WaitMost: 5 * time.Millisecond}
	if change != nil {
		change(&o)
	}
	s, err := webhook.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

var message = webhook.Message{ID: "m-1", ContentType: "text/plain", Body: []byte("hello"), Header: map[string]string{"X-More": "yes"}}

func TestAMessageIsSentAgainUntilItIsTaken(t *testing.T) {
	key, _ := webhook.ParseSecret(secret)
	for name, fail := range map[string]func(http.ResponseWriter){
		"500":             func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		"408":             func(w http.ResponseWriter) { w.WriteHeader(http.StatusRequestTimeout) },
		"429":             func(w http.ResponseWriter) { w.WriteHeader(http.StatusTooManyRequests) },
		"hangs up":        func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"a broken answer": func(w http.ResponseWriter) { hijack(t, w, "garbage\r\n\r\n") },
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			s := sender(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				err := key.Verify(r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), r.Header.Get("webhook-signature"), body, time.Now())
				if err != nil || string(body) != "hello" || r.Header.Get("X-More") != "yes" || r.Header.Get("Content-Type") != "text/plain" {
					t.Errorf("%q, %v: %v", body, r.Header, err)
				}
				if asked.Add(1) < 4 {
					fail(w)
				}
			}, nil)
			if err := s.Send(t.Context(), message); err != nil || asked.Load() != 4 {
				t.Errorf("after %d: %v", asked.Load(), err)
			}
			asked.Store(-100)
			err := s.Send(t.Context(), message)
			e, ok := errors.AsType[*webhook.Error](err)
			if !ok || e.Refused() || asked.Load() != -96 || strings.Contains(err.Error(), "token") {
				t.Errorf("%d: %v", asked.Load(), err)
			}
		})
	}
}

// Seen to fail when it is tried again after the longest pause, whatever it asks.
func TestWhoAsksToBeLeftAloneIsLeftAlone(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		var asked atomic.Int32
		s := sender(t, func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(status)
		}, nil)
		err := s.Send(t.Context(), message)
		e, ok := errors.AsType[*webhook.Error](err)
		if !ok || e.Refused() || e.Status != status || e.RetryAfter() != time.Hour || asked.Load() != 1 {
			t.Errorf("%d: asked %d times, %v", status, asked.Load(), err)
		}
	}
}

func TestWithoutASecretNothingIsSigned(t *testing.T) {
	var got http.Header
	s := sender(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header }, func(o *webhook.Options) { o.Secret = "" })
	if err := s.Send(t.Context(), message); err != nil {
		t.Fatal(err)
	}
	if _, signed := got[http.CanonicalHeaderKey(webhook.HeaderSignature)]; signed || got.Get(webhook.HeaderID) != message.ID || got.Get(webhook.HeaderTimestamp) == "" {
		t.Errorf("%v", got)
	}
}

func hijack(t *testing.T, w http.ResponseWriter, answer string) {
	hijacker, _ := w.(http.Hijacker)
	conn, _, err := hijacker.Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	_, _ = io.WriteString(conn, answer)
	_ = conn.Close()
}

func TestWhatIsRefusedIsSentOnce(t *testing.T) {
	for _, status := range []int{400, 401, 404, 410, 413, 422, 501, 301, 302, 307, 308} {
		var asked, elsewhere atomic.Int32
		other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
		s := sender(t, func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			w.Header().Set("Location", other.URL)
			w.WriteHeader(status)
			_, _ = w.Write(append([]byte("no\x00\x1b[31m "), bytes.Repeat([]byte("x"), 100_000)...))
		}, nil)
		err := s.Send(t.Context(), message)
		other.Close()
		e, ok := errors.AsType[*webhook.Error](err)
		if !ok || !e.Refused() || e.Status != status || asked.Load() != 1 || elsewhere.Load() != 0 || len(e.Answer) > 500 || strings.ContainsAny(e.Answer, "\x00\x1b") {
			t.Errorf("%d: asked %d times, elsewhere %d: %v", status, asked.Load(), elsewhere.Load(), err)
		}
	}
}

// Seen to fail without Timeout: the call goes on for ever.
func TestASlowReceiverIsGivenUp(t *testing.T) {
	for name, answer := range map[string]string{
		"silent": "", "headers without end": "HTTP/1.1 200 OK\r\nX-A: ", "a refusal without end": "HTTP/1.1 400 No\r\n\r\nbecause",
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			end := make(chan struct{})
			t.Cleanup(func() { close(end); _ = listener.Close() })
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					go func() { // drips until it is hung up on
						defer conn.Close()
						_, _ = io.WriteString(conn, answer)
						for {
							select {
							case <-end:
								return
							case <-time.After(10 * time.Millisecond):
							}
							if _, err := io.WriteString(conn, "x"); answer == "" && name != "silent" || err != nil {
								return
							}
						}
					}()
				}
			}()
			s := sender(t, nil, func(o *webhook.Options) {
				o.URL, o.Timeout, o.Attempts = "http://"+listener.Addr().String(), 200*time.Millisecond, 2
			})
			begin := time.Now()
			if err := s.Send(t.Context(), message); err == nil || time.Since(begin) > 5*time.Second {
				t.Errorf("after %v: %v", time.Since(begin), err)
			}
		})
	}
}

func TestA2xxIsTakenHoweverItGoesOn(t *testing.T) {
	var asked atomic.Int32
	s := sender(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		for range 1000 { // a hundred megabytes
			if _, err := w.Write(make([]byte, 100_000)); err != nil {
				return
			}
		}
	}, nil)
	begin := time.Now()
	if err := s.Send(t.Context(), message); err != nil || asked.Load() != 1 || time.Since(begin) > 2*time.Second {
		t.Errorf("%d times, %v: %v", asked.Load(), time.Since(begin), err)
	}
}

func TestSendEndsWithItsContext(t *testing.T) {
	s := sender(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, func(o *webhook.Options) { o.WaitLeast, o.WaitMost = time.Hour, time.Hour })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Send(ctx, message); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestCertificatesAreVerified(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	server.Config.ErrorLog = nil
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, ca := range []string{"", file} {
		s := sender(t, nil, func(o *webhook.Options) { o.URL, o.CA = server.URL, ca })
		if err := s.Send(t.Context(), message); (err == nil) != (ca != "") {
			t.Errorf("with authority %q: %v", ca, err)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("asked %d times", asked.Load())
	}
	if _, err := webhook.New(webhook.Options{URL: server.URL, Secret: secret, CA: os.Args[0]}); err == nil {
		t.Error("a program is no authority")
	}
}

func TestProxiesOfTheEnvironmentAreNotAsked(t *testing.T) {
	var asked atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(proxy.Close)
	t.Setenv("HTTP_PROXY", proxy.URL)
	s := sender(t, nil, func(o *webhook.Options) {
		o.URL, o.Attempts = "http://192.0.2.1:9/", 1
		o.Timeout = 50 * time.Millisecond
	})
	if err := s.Send(t.Context(), message); err == nil || asked.Load() != 0 {
		t.Errorf("the proxy was asked %d times: %v", asked.Load(), err)
	}
}

func TestAddressesAreCheckedAndNotRepeated(t *testing.T) {
	for _, wrong := range []string{"", "ftp://h/", "http://", "http://user:hidden@h/", "http://h/#x", "http://h\x7f/hidden", "/path"} {
		if err := webhook.CheckURL(wrong); err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	s := sender(t, nil, func(o *webhook.Options) { o.URL, o.Attempts = "http://127.0.0.1:1/hidden?token=hidden", 2 })
	if err := s.Send(t.Context(), message); err == nil || strings.Contains(err.Error(), "hidden") {
		t.Errorf("got %v", err)
	}
	if err := s.Send(t.Context(), webhook.Message{ID: "a.b"}); err == nil {
		t.Error("an id with a point can be mistaken for another message")
	}
}

func FuzzVerify(f *testing.F) {
	key, _ := webhook.ParseSecret(secret)
	f.Add("m-1", "1614265330", "v1,x", []byte("body"))
	f.Fuzz(func(t *testing.T, id, timestamp, signatures string, body []byte) {
		if key.Verify(id, timestamp, signatures, body, time.Unix(1614265330, 0)) == nil {
			t.Errorf("%q %q %q is trusted", id, timestamp, signatures)
		}
	})
}
