package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hook"
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

// backup answers as the role does, and tells what it was asked.
func (s *site) backup() (asked chan string) {
	s.t.Helper()
	outcome := `{"backup":"20261124T031503Z-9f3c0a17","began":1700000000,"ended":1700000038.5,"days":8,"points":9,"new_bytes":10}`
	answers := map[string]string{
		"query backups list": `[{"id":"20261124T031503Z-9f3c0a17","at":1700000000,"days":8,"points":9,"bytes":10}]`,
		"query status get":   `{"enabled":true,"store":"/x","age_hours":1.5,"verified_age_hours":2,"last":` + outcome + `,"next_backup":1700000100,"next_trial":1700000200}`,
	}
	asked = make(chan string, 100)
	for _, family := range []hook.Family{hook.Queries, hook.Commands} {
		s.component(family, "backup", func(_ context.Context, r hook.Request, w *hook.Answer) error {
			var request contract.RegistryRequest
			if err := json.Unmarshal(r.Data, &request); err != nil {
				return err
			}
			what := string(family) + " " + r.Subpath + " " + request.Verb
			asked <- what + " " + string(request.Content) + request.Reason
			text := answers[what]
			if text == "" {
				text = map[string]string{"create": `{"begins":"backup"}`, "verify": `{"begins":"trial"}`}[request.Verb]
			}
			data, err := json.Marshal(contract.RegistryAnswer{Content: json.RawMessage(text)})
			if err == nil {
				w.Send(data, nil)
			}
			return err
		})
	}
	return asked
}

func TestBackupsAreListedMadeAndTried(t *testing.T) {
	s := start(t)
	asked := s.backup()
	for _, c := range []struct {
		method, path string
		status       int
		want, asked  string
	}{
		{http.MethodGet, "/api/v1/backups", http.StatusOK, `"at":"2023-11-14T22:13:20Z"`, "query backups list "},
		{http.MethodGet, "/api/v1/backups/status", http.StatusOK, `"ended":"2023-11-14T22:13:58.5Z"`, "query status get "},
		{http.MethodPost, "/api/v1/backups?full=true&reason=move", http.StatusAccepted, `"begins":"backup"`, `command backups create {"full":true}move`},
		{http.MethodPost, "/api/v1/backups/verify", http.StatusAccepted, `"begins":"trial"`, `command backups verify {"full":false}`},
	} {
		r := s.do(c.method, c.path, "")
		if r.status != c.status || !strings.Contains(string(r.body), c.want) {
			t.Errorf("%s %s: %d %s, want %s in it", c.method, c.path, r.status, r.body, c.want)
		}
		if got := <-asked; got != c.asked {
			t.Errorf("%s %s asks %q, want %q", c.method, c.path, got, c.asked)
		}
	}
	s.do(http.MethodPost, "/api/v1/backups?full=yes", "").problem(http.StatusBadRequest, "full")
	s.do(http.MethodPost, "/api/v1/backups/verify?full=true", "").problem(http.StatusBadRequest, "full")
}
