package api_test

import (
	"net/http"
	"testing"
)

func TestNobodyGetsTheFilesOfTheRolesByTheRelay(t *testing.T) {
	s := start(t)
	for _, path := range []string{"/api/out/registry_copy", "/api/out/registry_copy/", "/api/out/alerting_copy/x", "/api/out/%72egistry_copy", "/api/out/webhook%5Fcopy", "/api/out/backup/status"} {
		s.get(path).problem(http.StatusForbidden, "does not lead there")
	}
	for _, path := range []string{"/api/in/backup/backups", "/api/in/backup", "/api/in/registry_copy"} {
		s.put(path, `{"payload":{"verb":"create"}}`).problem(http.StatusForbidden, "does not lead there")
	}
}
