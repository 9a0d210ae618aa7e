package api // inside: nothing that a client sends makes a handler panic, so the test brings one that does

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/bus"
)

func TestAPanicIsAProblemOfOneRequest(t *testing.T) {
	var log strings.Builder
	s := New(DefaultConfig(), Options{Bus: bus.Options{URL: "tcp://127.0.0.1:1"}}, slog.New(slog.NewJSONHandler(&log, nil)))
	s.route(s.app, http.MethodGet, "/bug", open, func(*fiber.Ctx) error { panic("a bug") })
	for range 2 {
		answer, err := s.app.Test(httptest.NewRequest(http.MethodGet, "/bug", http.NoBody))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != http.StatusInternalServerError || strings.Contains(string(body), "a bug") {
			t.Errorf("%d %s %v", answer.StatusCode, body, err)
		}
		_ = answer.Body.Close()
	}
	if n := strings.Count(log.String(), `"err":"a bug"`); n != 2 {
		t.Errorf("logged %d times: %s", n, log.String())
	}
}
