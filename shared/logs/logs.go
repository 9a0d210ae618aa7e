// Package logs makes the log of a program: JSON, a line for each event, written
// as machines group it and people read it. Durations are texts such as "1.5s",
// for a number would not tell its unit. Logs are passed on from main; nobody
// finds one by itself.
package logs

import (
	"io"
	"log/slog"
	"time"
)

// New returns a log that writes to w, with debug the details too.
func New(w io.Writer, debug bool) *slog.Logger {
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: readable}))
}

// readable writes durations as people do, to three digits of what matters.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		return slog.String(a.Key, round(a.Value.Duration()).String())
	}
	return a
}

func round(d time.Duration) time.Duration {
	size, digits := d.Abs(), time.Duration(1)
	for size >= 1000 && digits < time.Second {
		size, digits = size/10, digits*10
	}
	return d.Round(digits)
}
