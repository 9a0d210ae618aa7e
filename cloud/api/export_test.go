package api

import (
	"net/http"
	"net/http/httptest"

	"github.com/gofiber/fiber/v2"
)

// Routes lists what the server answers, as "GET /api/v1/devices/:id".
func (s *Server) Routes() (all []string) {
	for _, r := range s.app.GetRoutes(true) {
		all = append(all, r.Method+" "+r.Path)
	}
	return all
}

// AnswerToAPanic is what a handler's panic becomes.
func (s *Server) AnswerToAPanic() (*http.Response, error) {
	s.route(s.app, http.MethodGet, "/bug", open, func(*fiber.Ctx) error { panic("a bug") })
	return s.app.Test(httptest.NewRequest(http.MethodGet, "/bug", http.NoBody))
}
