package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/contract"
)

const (
	// archivist is the component that makes backups.
	archivist = "backup"

	backupsRoute = "/api/v1/backups"
)

// backupSeconds is a time as the bus writes it, in what the backup answers.
var backupSeconds = regexp.MustCompile(`"(at|began|ended|next_backup|next_trial)":(-?[0-9]+(?:\.[0-9]+)?)([,}])`)

// backupRoutes see to copies of everything.
func (s *Server) backupRoutes(app *fiber.App) {
	s.route(app, http.MethodGet, backupsRoute, looksAll, s.backups)
	s.route(app, http.MethodPost, backupsRoute, changes, s.wantsBackup("create"))
	s.route(app, http.MethodGet, backupsRoute+"/status", looksAll, s.backupStatus)
	s.route(app, http.MethodPost, backupsRoute+"/verify", changes, s.wantsBackup("verify"))
}

func (s *Server) askBackup(family, resource string, r contract.RegistryRequest) (contract.RegistryAnswer, error) {
	answer, err := s.askAs(archivist, family, resource, r, s.config.HTTP.AnswerTimeout)
	answer.Content = datedBy(backupSeconds, answer.Content)
	return answer, err
}

// backups is GET /api/v1/backups, the newest first, all on one page.
func (s *Server) backups(c *fiber.Ctx) error {
	answer, err := s.askForBackup(c, "backups", "list")
	if err != nil {
		return err
	}
	if !isArray(answer.Content) {
		return fmt.Errorf("%w: the backup gave no list", errBadAnswer)
	}
	return sendPage(c, answer.Content, "")
}

// backupStatus is GET /api/v1/backups/status: how it goes, and how it went.
func (s *Server) backupStatus(c *fiber.Ctx) error {
	answer, err := s.askForBackup(c, "status", "get")
	if err != nil {
		return err
	}
	return sendAsIs(c, http.StatusOK, answer)
}

func (s *Server) askForBackup(c *fiber.Ctx, resource, verb string) (contract.RegistryAnswer, error) {
	q := readQuery(c)
	q.allow()
	if err := mistaken(q.mistakes); err != nil {
		return contract.RegistryAnswer{}, err
	}
	r, err := s.requestOf(c, verb)
	if err != nil {
		return contract.RegistryAnswer{}, err
	}
	return s.askBackup("query", resource, r)
}

// wantsBackup is POST /api/v1/backups and .../verify: it begins as soon as it can,
// and the status tells how it goes.
func (s *Server) wantsBackup(verb string) fiber.Handler {
	return func(c *fiber.Ctx) error {
		q := readQuery(c)
		q.allow("full", "reason")
		r, err := s.requestOf(c, verb)
		if err != nil {
			return err
		}
		r.Reason = q.text("reason")
		full := q.text("full")
		if full != "" && full != "true" && full != "false" || full != "" && verb != "create" {
			q.mistake("full", "true or false, of a new backup")
		}
		if err := mistaken(q.mistakes); err != nil {
			return err
		}
		if r.Content, err = json.Marshal(map[string]bool{"full": full == "true"}); err != nil {
			return err
		}
		answer, err := s.askBackup("command", "backups", r)
		if err != nil {
			return err
		}
		return sendAsIs(c, http.StatusAccepted, answer)
	}
}
