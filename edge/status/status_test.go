package status_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/edge/status"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

var (
	update  = flag.Bool("update", false, "write the golden files anew")
	discard = slog.New(slog.DiscardHandler)
	now     = time.Date(2026, time.November, 23, 17, 10, 5, 0, time.UTC)
)

func TestMain(m *testing.M) {
	time.Local = time.UTC // the page speaks the gateway's zone
	goleakMain(m)
}

func TestThePageTellsWhatWaits(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*status.View)
		want   []string
		not    []string
	}{
		"cloud away": {
			want: []string{
				"Cloud unreachable since 14:02:05 (3 h 8 min), 1,234,567 readings waiting, oldest of 14:01:55.",
				"dial tcp 127.0.0.1:1883", "kept here until", "134.2 MB", "121.0 MB <span class=\"soft\">of 2.1 GB", "set aside", "9f3c00000000abcd-7", "readings dropped",
				"sp_f2.g3", "locked", "61.8 W", "Protected: server &amp; switch", "12 implausible", "never",
			},
			not: []string{"<script>", "is not set", "moved aside"},
		},
		"cloud there": {
			change: func(v *status.View) {
				v.Cloud = status.Cloud{Reachable: true, Since: ago(26 * time.Hour)}
				v.Status.Outbox = contract.OutboxStatus{Limit: 2_147_483_648}
			},
			want: []string{"Cloud reachable since 2026-11-22 15:10:05 (1 d 2 h), no readings waiting."},
			not:  []string{"kept here until", "set aside", "dropped"},
		},
		"no clock": {
			change: func(v *status.View) {
				v.Status.Clock.Set, v.Status.Time, v.Cloud.Since = false, 90_000_000, 30_000_000
				v.Status.Outbox = contract.OutboxStatus{Readings: 1, Unclocked: 1}
			},
			want: []string{"Cloud unreachable since 30 s after boot (1 min 0 s), 1 reading waiting, 1 of them until the clock is set.", "clock of this gateway is not set"},
		},
		"damaged outbox": {
			change: func(v *status.View) { v.Status.Outbox.Damaged = "outbox.db.damaged-1" },
			want:   []string{"moved aside to <code>outbox.db.damaged-1</code>"},
		},
		"plugs around": {
			change: func(v *status.View) {
				v.Status.ConfigVersion, v.Status.ConfigRefused = 4, &contract.ConfigRefused{Version: 5, Reason: "gone back from: <nothing> answered"}
				v.Found = &contract.Found{At: ago(time.Minute), More: 3, Plugs: []contract.FoundPlug{
					{MAC: "50:C7:BF:00:00:01", Model: "HS110(EU)", Firmware: "1.5.4", Address: "10.0.0.7", Alias: "<script>alert(1)</script>", Seen: ago(time.Minute)},
					{MAC: "50:C7:BF:00:00:02", Address: "10.0.0.8", Device: "sp_f2.g3", Problem: "vanished", Seen: ago(time.Hour)},
					{MAC: "50:C7:BF:00:00:03", Address: "10.0.0.9", Device: "sp_f2.g4", Seen: ago(time.Minute)},
				}}
			},
			want: []string{
				"Configuration 5 is not run; version 4 holds.", "&lt;nothing&gt; answered", "3 plugs around and 3 more, looked for 1 min 0 s ago",
				"50:C7:BF:00:00:01", "firmware 1.5.4", "&lt;script&gt;alert(1)", "<strong>vanished</strong>", "10.0.0.8",
			},
			not: []string{"<script>", "50:C7:BF:00:00:03"},
		},
		"nothing at all": {
			change: func(v *status.View) { *v = status.View{} },
			want:   []string{"none configured", "none yet"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := sample(t)
			if tc.change != nil {
				tc.change(&v)
			}
			_, _, body := get(t, handler(v), http.MethodGet, "/")
			for _, want := range tc.want {
				if !strings.Contains(body, want) {
					t.Errorf("no %q in the page", want)
				}
			}
			for _, not := range tc.not {
				if strings.Contains(body, not) {
					t.Errorf("%q in the page", not)
				}
			}
		})
	}
}

func TestGoldenAnswers(t *testing.T) {
	for path, file := range map[string]string{"/": "page.html", "/status.json": "status.json"} {
		_, _, got := get(t, handler(sample(t)), http.MethodGet, path)
		name := filepath.Join("testdata", file)
		if *update {
			if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs from %s; look at it and run with -update", path, name)
		}
	}
}

func TestStatusInJSON(t *testing.T) {
	_, header, body := get(t, handler(sample(t)), http.MethodGet, "/status.json")
	var v status.View
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatal(err)
	}
	if header.Get("Content-Type") != "application/json" || v.Status.Gateway != "f2" || len(v.Plugs) != 5 ||
		!strings.HasPrefix(v.Summary, "cloud unreachable since 14:02:05") {
		t.Errorf("%s: %+v", header.Get("Content-Type"), v)
	}
}

func TestThePageTakesNothingFromOutsideAndTrustsNothing(t *testing.T) {
	v := sample(t)
	v.Plugs[1].Detail = `<script>alert(1)</script>`
	_, header, body := get(t, handler(v), http.MethodGet, "/")
	if strings.Contains(body, "<script") || strings.Contains(body, "http://") || strings.Contains(body, "https://") {
		t.Error("the page has a script or an outside address in it")
	}
	if csp := header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") {
		t.Errorf("Content-Security-Policy: %q", csp)
	}
}

func TestOnlyReading(t *testing.T) {
	h := handler(sample(t))
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions} {
		for _, path := range []string{"/", "/status.json", "/healthz", "/metrics"} {
			if code, _, _ := get(t, h, method, path); code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, code)
			}
		}
	}
	if code, _, _ := get(t, h, http.MethodHead, "/"); code != http.StatusOK {
		t.Errorf("HEAD /: %d", code)
	}
	if code, _, _ := get(t, h, http.MethodGet, "/etc/passwd"); code != http.StatusNotFound {
		t.Errorf("GET of another path: %d", code)
	}
}

func TestHealthAndMetrics(t *testing.T) {
	var sick error
	h := status.Handler(status.Options{
		Source:  func() status.View { return sample(t) },
		Healthy: func() error { return sick },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "wattline_outbox_readings 3\n") }),
	}, discard)
	if code, _, body := get(t, h, http.MethodGet, "/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("healthz: %d %q", code, body)
	}
	if _, _, body := get(t, h, http.MethodGet, "/metrics"); !strings.Contains(body, "wattline_outbox_readings 3") {
		t.Errorf("metrics: %q", body)
	}
	sick = errors.New("outbox: no space left on device")
	if code, _, body := get(t, h, http.MethodGet, "/healthz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "no space") {
		t.Errorf("healthz of a sick gateway: %d %q", code, body)
	}
}

func TestAPanicIsAnAnswer(t *testing.T) {
	h := status.Handler(status.Options{Source: func() status.View { panic("nil map") }}, discard)
	for range 20 { // more than are worked on at once
		if code, _, _ := get(t, h, http.MethodGet, "/"); code != http.StatusInternalServerError {
			t.Fatalf("%d", code)
		}
	}
}

func TestOnlyLoopbackAddresses(t *testing.T) {
	for _, ok := range []string{"", "127.0.0.1:8081", "127.5.5.5:0", "[::1]:80", "localhost:8081"} {
		if err := (status.Config{Listen: ok}).Validate(); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
	for _, bad := range []string{"0.0.0.0:8081", ":8081", "10.0.0.4:80", "gateway.example:80", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:70000", "[::]:80"} {
		if err := (status.Config{Listen: bad}).Validate(); err == nil || !strings.HasPrefix(err.Error(), "listen: ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := status.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}

func TestTheServerStopsAlthoughAClientHolds(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	s, done := serve(t, ctx)
	response, err := http.Get("http://" + s.Addr() + "/")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	response.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nX: "); err != nil { // and no more
		t.Fatal(err)
	}
	begun := time.Now()
	stop()
	if err := <-done; err != nil || time.Since(begun) > 4*time.Second {
		t.Errorf("Run gave %v after %v", err, time.Since(begun))
	}
	if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the client's connection is still open")
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestManyIdleClientsDoNotPileUp(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	s, done := serve(t, ctx)
	var conns []net.Conn
	for range 31 { // one is left
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	client := http.Client{Timeout: 4 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for range 5 { // each gives its place back
		response, err := client.Get("http://" + s.Addr() + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
	}
	for range 200 {
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			break // the kernel's queue is full
		}
		conns = append(conns, c)
	}
	for _, c := range conns {
		c.Close()
	}
	response, err := client.Get("http://" + s.Addr() + "/healthz")
	if err != nil {
		t.Fatalf("after the clients left: %v", err)
	}
	response.Body.Close()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestATakenPortIsAnError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = status.Listen(t.Context(), status.Config{Listen: l.Addr().String()}, status.Options{}, discard)
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("%v", err)
	}
}

func serve(t *testing.T, ctx context.Context) (*status.Server, chan error) { //nolint:revive // t first, as everywhere
	t.Helper()
	s, err := status.Listen(ctx, status.Config{Listen: "127.0.0.1:0"}, status.Options{Source: func() status.View { return status.View{} }}, discard)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s, done
}

func handler(v status.View) http.Handler {
	return status.Handler(status.Options{Source: func() status.View { return v }, Metrics: http.NotFoundHandler()}, discard)
}

func get(t *testing.T, h http.Handler, method, path string) (code int, header http.Header, body string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Code, w.Header(), w.Body.String()
}

func ago(d time.Duration) device.Micros { return device.MicrosOf(now.Add(-d)) }

func sample(t *testing.T) status.View {
	t.Helper()
	id := func(s string) device.ID {
		id, err := device.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	const epoch = contract.Epoch(0x9f3c00000000abcd)
	return status.View{
		Floor: 2, Started: ago(51 * time.Hour), DiskFree: 3_400_000_000, DiskReserve: 268_435_456,
		Status: contract.Status{
			Gateway: "f2", Online: true, Epoch: epoch, Sequence: 190_412, Previous: &contract.BatchID{Epoch: 0x1122, Sequence: 41},
			Version: "v0.1.0", ConfigVersion: 17, Time: device.MicrosOf(now), BootID: "a2b7fcd8-8a79-42a7-a8a4-7bff2111c7b3",
			Monotonic: 190_000, Clock: contract.ClockStatus{Set: true, Rebased: 1},
			Outbox: contract.OutboxStatus{
				Readings: 1_234_567, Batches: 11_290, Bytes: 121_000_000, File: 134_217_728, Limit: 2_147_483_648,
				Oldest: new(ago(3*time.Hour + 8*time.Minute + 10*time.Second)), OldestID: &contract.BatchID{Epoch: epoch, Sequence: 179_123},
				SetAside: []contract.BatchID{{Epoch: epoch, Sequence: 7}}, Dropped: 1200,
			},
			Plugs: contract.PlugsStatus{Configured: 5, Reachable: 3},
		},
		Cloud: status.Cloud{Since: ago(3*time.Hour + 8*time.Minute), Broker: "tcp://127.0.0.1:1883", Err: "dial tcp 127.0.0.1:1883: connect: connection refused", LastReceipt: new(ago(3*time.Hour + 8*time.Minute + 2*time.Second))},
		Plugs: []status.Plug{
			{Device: id("sp_f2.g0"), Last: new(ago(3 * time.Second)), Power: new(device.Watts(61.753)), On: new(true), IntervalSeconds: 10, Suspects: 12},
			{Device: id("sp_f2.g3"), Offline: true, Failures: 41, Reason: "locked", Detail: "ask 127.1.2.3:9999 for get_realtime: plug locked by its firmware", Since: new(ago(40 * time.Minute)), IntervalSeconds: 10},
			{Device: id("sp_f2.p0"), Last: new(ago(8 * time.Second)), Power: new(device.Watts(0)), On: new(false), IntervalSeconds: 10, Protected: "server & switch"},
			{Device: id("sp_f2.w.r0.c0"), Failures: 1, Reason: "silent", Detail: "no whole answer in 5s", Since: new(ago(5 * time.Second)), Last: new(ago(15 * time.Second)), Power: new(device.Watts(104.2)), On: new(true), IntervalSeconds: 10, Missed: 3},
			{Device: id("sp_f2.w.r0.c1"), IntervalSeconds: 10},
		},
	}
}

// To net.Listen no address means every one of them.
func TestNoAddressIsNoPage(t *testing.T) {
	if s, err := status.Listen(t.Context(), status.Config{}, status.Options{}, discard); err == nil {
		t.Errorf("listens on %s", s.Addr())
		_ = s.Close()
	}
}
