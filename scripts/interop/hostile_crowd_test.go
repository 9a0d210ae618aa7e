package interop_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// villain does harm on one connection after the other, until ctx ends. Each
// round gets a fresh connection with a deadline.
type villain func(ctx context.Context, c net.Conn, n int)

// drip writes text byte by byte, so slowly that it never ends.
func drip(ctx context.Context, c net.Conn, text string) {
	for i := range len(text) {
		if _, err := c.Write([]byte{text[i]}); err != nil || !wait(ctx, 300*time.Millisecond) {
			return
		}
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// silence holds the connection and says nothing.
func silence(ctx context.Context, _ net.Conn, _ int) { wait(ctx, time.Hour) }

func garbage(ctx context.Context, c net.Conn, n int) {
	r := rand.New(rand.NewPCG(uint64(n), 0))
	b := make([]byte, 4096)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	_, _ = c.Write(b)
	_, _ = io.Copy(io.Discard, io.LimitReader(c, 1<<20))
	wait(ctx, 50*time.Millisecond)
}

// mqttPacket is a control packet with a right length.
func mqttPacket(first byte, body string) string {
	n := len(body)
	var b bytes.Buffer
	b.WriteByte(first)
	for {
		digit := byte(n % 128)
		if n /= 128; n > 0 {
			digit |= 128
		}
		b.WriteByte(digit)
		if n == 0 {
			break
		}
	}
	return b.String() + body
}

func mqttText(s string) string { return string([]byte{byte(len(s) >> 8), byte(len(s))}) + s }

func mqttConnect(id string) string {
	return mqttPacket(0x10, mqttText("MQTT")+"\x04\x02\x00\x3c"+mqttText(id))
}

// restVillains and brokerVillains are the kinds; each comes several times.
var restVillains = map[string]villain{
	"slow loris": func(ctx context.Context, c net.Conn, _ int) {
		drip(ctx, c, "GET /api/v1/devices HTTP/1.1\r\nHost: x\r\nX-A: "+strings.Repeat("b", 1000))
	},
	"slow body": func(ctx context.Context, c net.Conn, _ int) {
		drip(ctx, c, "PUT /api/in/sp_command HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{"+strings.Repeat(" ", 1000))
	},
	"half open": silence,
	"garbage":   garbage,
	"TLS": func(ctx context.Context, c net.Conn, n int) {
		_, _ = c.Write([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"))
		garbage(ctx, c, n)
	},
	"large headers": func(ctx context.Context, c net.Conn, _ int) {
		request(ctx, c, "GET / HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("a", 1<<20)+"\r\n\r\n")
	},
	"large body": func(ctx context.Context, c net.Conn, _ int) {
		request(ctx, c, "PUT /api/in/sp_command/x HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"+strings.Repeat(" ", 4<<20))
	},
	"deep body": func(ctx context.Context, c net.Conn, _ int) {
		body := `{"payload":` + strings.Repeat("[", 400_000) + strings.Repeat("]", 400_000) + "}"
		request(ctx, c, fmt.Sprintf("PUT /api/in/sp_command/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	},
	"asks and never reads": func(ctx context.Context, c net.Conn, _ int) {
		for range 500 {
			if _, err := io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				break
			}
		}
		wait(ctx, time.Hour)
	},
	"chunks without end": func(ctx context.Context, c net.Conn, _ int) {
		_, _ = io.WriteString(c, "PUT /api/in/sp_command/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
		for wait(ctx, 5*time.Millisecond) {
			if _, err := io.WriteString(c, "400\r\n"+strings.Repeat("x", 1024)+"\r\n"); err != nil {
				return
			}
		}
	},
}

var brokerVillains = map[string]villain{
	"half open": silence,
	"slow connect": func(ctx context.Context, c net.Conn, n int) {
		drip(ctx, c, mqttConnect(fmt.Sprint("slow", n, strings.Repeat("x", 200))))
	},
	"garbage": garbage,
	"a packet of 256 MiB": func(ctx context.Context, c net.Conn, n int) {
		_, _ = io.WriteString(c, mqttConnect(fmt.Sprint("huge", n))+"\x32\xff\xff\xff\x7f"+strings.Repeat("x", 1<<20))
		wait(ctx, 200*time.Millisecond)
	},
	"a length that never ends": func(ctx context.Context, c net.Conn, n int) {
		_, _ = io.WriteString(c, mqttConnect(fmt.Sprint("length", n))+"\x32\xff\xff\xff\xff\xff\xff\xff")
		wait(ctx, 200*time.Millisecond)
	},
	"subscribes to all and never reads": func(ctx context.Context, c net.Conn, n int) {
		_, _ = io.WriteString(c, mqttConnect(fmt.Sprint("greedy", n))+mqttPacket(0x82, "\x00\x01"+mqttText("#")+"\x01"))
		wait(ctx, time.Hour)
	},
	"publishes garbage and never reads": func(ctx context.Context, c net.Conn, n int) {
		_, _ = io.WriteString(c, mqttConnect(fmt.Sprint("flood", n)))
		for i := 1; wait(ctx, 3*time.Millisecond); i++ {
			packet := mqttPacket(0x32, mqttText(fmt.Sprintf("data/flood%d/influx_data/sp", n))+string([]byte{byte(i >> 8), byte(i) | 1})+"garbage")
			if _, err := io.WriteString(c, packet); err != nil {
				return
			}
		}
	},
	"retains": func(ctx context.Context, c net.Conn, n int) {
		_, _ = io.WriteString(c, mqttConnect(fmt.Sprint("retain", n)))
		for i := 0; wait(ctx, 3*time.Millisecond); i++ {
			if _, err := io.WriteString(c, mqttPacket(0x31, mqttText(fmt.Sprintf("junk/%d/%d", n, i))+strings.Repeat("x", 10_000))); err != nil {
				return
			}
		}
	},
	"asks and never listens": func(ctx context.Context, c net.Conn, n int) {
		_, _ = io.WriteString(c, mqttConnect(fmt.Sprint("asker", n)))
		for wait(ctx, 100*time.Millisecond) {
			if _, err := io.WriteString(c, mqttPacket(0x30, mqttText("query/influx_query/sp/power")+`{"response_topic":"responses/x/y","data":{}}`)); err != nil {
				return
			}
		}
	},
	"the same client id": func(ctx context.Context, c net.Conn, _ int) {
		_, _ = io.WriteString(c, mqttConnect("same"))
		wait(ctx, 500*time.Millisecond)
	},
	"subscribes for ever": func(ctx context.Context, c net.Conn, n int) {
		_, _ = io.WriteString(c, mqttConnect(fmt.Sprint("filters", n)))
		for i := 0; wait(ctx, 3*time.Millisecond); i++ {
			if _, err := io.WriteString(c, mqttPacket(0x82, "\x00\x01"+mqttText(fmt.Sprintf("a/%d/+/b/%d", i, n))+"\x00")); err != nil {
				return
			}
		}
	},
}

// request writes a request and reads what is answered, for a while.
func request(ctx context.Context, c net.Conn, text string) {
	_, _ = io.WriteString(c, text)
	_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
	_, _ = io.Copy(io.Discard, c)
	wait(ctx, 20*time.Millisecond)
}

const crowd = 200

// testCrowd lets two hundred of them loose at once, half on the REST port and
// half on the broker, and meanwhile is an ordinary client. In the long form they
// come five times; what the first ones were given must be enough for the others.
func testCrowd(t *testing.T, b *besieged) {
	if !long() {
		b.siege(t, 6*time.Second)
		return
	}
	for range 5 {
		b.siege(t, 15*time.Second)
	}
}

func (b *besieged) siege(t *testing.T, lasting time.Duration) {
	t.Helper()
	var rounds atomic.Int64
	ctx, cancel := context.WithTimeout(t.Context(), lasting)
	defer cancel()
	var all sync.WaitGroup
	begun := map[string]float64{}
	for _, name := range []string{"wattline_influx_data_malformed_total", "wattline_api_requests_total", "wattline_broker_messages_in_total"} {
		begun[name] = b.metric(name)
	}
	loose := func(address string, kinds map[string]villain) {
		n := 0
		for n < crowd/2 {
			for _, v := range kinds {
				n++
				number := n
				all.Go(func() {
					for ctx.Err() == nil {
						c, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "tcp", address)
						if err != nil {
							wait(ctx, 100*time.Millisecond)
							continue
						}
						_ = c.SetDeadline(time.Now().Add(lasting))
						stop := context.AfterFunc(ctx, func() { _ = c.Close() })
						v(ctx, c, number)
						stop()
						_ = c.Close()
						rounds.Add(1)
					}
				})
			}
		}
	}
	loose(b.ip+":8080", restVillains)
	loose(b.ip+":1883", brokerVillains)
	ordinary(ctx, t, b)
	all.Wait()
	t.Logf("%d rounds of %d hostile clients", rounds.Load(), crowd)
	for name, count := range begun {
		eventually(t, 20*time.Second, name+" tells of it", func() bool { return b.metric(name) > count })
	}
	b.unmoved(t)
}

// ordinary is a client as any other: most of its questions are answered and most
// of its switches carried out, and where a busy machine does not, it is told so.
func ordinary(ctx context.Context, t *testing.T, b *besieged) {
	t.Helper()
	var slowest, oldest time.Duration
	peak, asked, refused := 0, 0, 0
	try := func(method, path, body string) (a answer, ok bool) {
		began := time.Now()
		a = b.do(method, path, body)
		slowest = max(slowest, time.Since(began))
		asked++
		if a.status == http.StatusOK {
			return a, true
		}
		refused++
		if err := clearError(a); err != nil || a.status != http.StatusServiceUnavailable && a.status != http.StatusGatewayTimeout {
			t.Errorf("%s %s: %v, %v", method, path, a, err)
		}
		return a, false
	}
	for i := 0; ctx.Err() == nil; i++ {
		if a, ok := try(http.MethodGet, "/api/v1/readings?measurement=energy&operation=last&id=sp_g1", ""); ok {
			var newest struct {
				Series []struct{ Points []struct{ Time time.Time } }
			}
			a.into(t, &newest)
			oldest = max(oldest, time.Since(newest.Series[0].Points[0].Time))
		}
		if i%4 == 0 {
			try(http.MethodPut, "/api/v1/devices/sp_g2/relay", fmt.Sprintf(`{"on": %v}`, i%8 == 0))
		}
		peak = max(peak, b.clouds[0].anonymous())
		wait(ctx, 250*time.Millisecond)
	}
	t.Logf("an ordinary client asked %d times, was refused %d times and waited %v at most; the newest reading was %v old at most; the cloud's memory %d MiB at most", asked, refused, slowest, oldest, peak)
	if refused > asked/2 || slowest > 20*time.Second || oldest > 30*time.Second || peak > mostMemory {
		t.Error("the crowd did harm")
	}
}
