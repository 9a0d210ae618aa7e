// Csv-hook writes every reading on Wattline's bus as a line of CSV:
//
//	csv-hook -broker tcp://127.0.0.1:1883 >readings.csv
//
// It knows nothing of Wattline but its specification. Any number may run: they
// share the messages.
package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

const (
	filter = "$share/csv-hook/data/+/influx_data/#"
	queued = 1024 // messages that wait; more are left out and counted
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	broker := flag.String("broker", "tcp://127.0.0.1:1883", "URL of the broker")
	flag.Parse()
	if err := run(ctx, *broker, os.Stdout, slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil {
		fmt.Fprintln(os.Stderr, "csv-hook:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, broker string, out io.Writer, log *slog.Logger) error {
	messages := make(chan []byte, queued)
	// The library's callback hands over and returns: no other message comes
	// meanwhile.
	hear := func(_ mqtt.Client, m mqtt.Message) {
		select {
		case messages <- m.Payload():
		default:
			log.Warn("too many messages wait, one is left out")
		}
	}
	options := mqtt.NewClientOptions().AddBroker(broker).SetClientID("csv-hook-" + rand.Text()).
		SetCleanSession(true).SetConnectRetry(true).SetConnectRetryInterval(time.Second).SetMaxReconnectInterval(5 * time.Second).
		SetOnConnectHandler(func(c mqtt.Client) { // on each connection: the broker remembers nothing
			go func() {
				if t := c.Subscribe(filter, 1, hear); t.Wait() && t.Error() != nil {
					log.Error("not subscribed", slog.Any("err", t.Error()))
					return
				}
				log.Info("ready")
			}()
		})
	client := mqtt.NewClient(options)
	client.Connect()
	defer client.Disconnect(250)
	w := csv.NewWriter(out)
	if err := w.Write([]string{"time", "device", "measurement", "value", "unit"}); err != nil {
		return err
	}
	w.Flush()
	var lately seen
	for {
		select {
		case <-ctx.Done():
			return nil
		case payload := <-messages:
			if lately.again(payload) {
				continue // delivered twice, or sent again for want of a receipt
			}
			if err := write(w, payload); errors.Is(err, errMalformed) {
				log.Warn("message left out", slog.Any("err", err))
			} else if err != nil {
				return err
			}
		}
	}
}

func write(w *csv.Writer, payload []byte) error {
	readings, err := decode(payload)
	if err != nil {
		return err
	}
	for _, r := range readings {
		if err := w.Write([]string{r.time, r.device, r.measurement, r.value, r.unit}); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

// seen knows the newest payloads: who sends one again sends the same bytes.
type seen struct {
	digests [4096]string
	known   map[string]bool
	next    int
}

func (s *seen) again(payload []byte) bool {
	sum := sha256.Sum256(payload)
	digest := hex.EncodeToString(sum[:8])
	if s.known[digest] {
		return true
	}
	if s.known == nil {
		s.known = make(map[string]bool)
	}
	delete(s.known, s.digests[s.next])
	s.digests[s.next], s.known[digest] = digest, true
	s.next = (s.next + 1) % len(s.digests)
	return false
}
