package logs_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/logs"
)

func TestDurationsAreTexts(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 1500 * time.Millisecond: "1.5s", 1234567 * time.Microsecond: "1.23s", 987654 * time.Nanosecond: "988µs",
		26*time.Hour + 3*time.Minute + 4*time.Second + 5*time.Millisecond: "26h3m4s", -1500 * time.Microsecond: "-1.5ms", 12 * time.Nanosecond: "12ns",
	} {
		var b bytes.Buffer
		logs.New(&b, false).With(slog.Duration("since", d)).Info("x", slog.Group("g", slog.Duration("duration", d)), slog.Any("any", d))
		var line struct {
			Since, Any string
			G          struct{ Duration string }
		}
		if err := json.Unmarshal(b.Bytes(), &line); err != nil {
			t.Fatalf("%v in %s", err, b.String())
		}
		if line.Since != want || line.Any != want || line.G.Duration != want {
			t.Errorf("%v: %s, want %s", d, b.String(), want)
		}
	}
}

func TestDetailsAreWrittenWhenAskedFor(t *testing.T) {
	for debug, want := range map[bool]bool{true: true, false: false} {
		var b bytes.Buffer
		logs.New(&b, debug).Debug("x")
		if got := b.Len() > 0; got != want {
			t.Errorf("debug %v: written %v", debug, got)
		}
	}
}
