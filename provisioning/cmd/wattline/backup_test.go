package main

// White-box: a command of the shell has no other surface than run.

import (
	"net/http"
	"testing"
)

func TestBackupsByCommands(t *testing.T) {
	const outcome = `{"backup":"20261124T031503Z-9f3c0a17","began":"2026-11-24T03:15:03Z","ended":"2026-11-24T03:15:41Z","days":812,"points":91}`
	c := newCloud(t, map[string]string{
		"GET /api/v1/backups":         `200 {"items":[{"id":"20261124T031503Z-9f3c0a17","at":"2026-11-24T03:15:03Z","days":812,"points":91,"bytes":401233221}],"next":null}`,
		"GET /api/v1/backups/status":  `200 {"enabled":true,"store":"/mnt/backup","age_hours":7.5,"verified_age_hours":55,"last":` + outcome + `}`,
		"POST /api/v1/backups":        `202 {"begins":"backup"}`,
		"POST /api/v1/backups/verify": `202 {"begins":"trial"}`,
	})
	c.run(t, "backup").wants(t, exitDone, "401.2 MB", "")
	c.run(t, "backup", "--json").wants(t, exitDone, `"bytes": 401233221`, "")
	if got := c.asked[len(c.asked)-1]; got.Query != "" {
		t.Errorf("the list takes no parameters, and was asked for with %q", got.Query)
	}
	c.run(t, "backup", "list").wants(t, exitDone, "20261124T031503Z-9f3c0a17", "")
	c.run(t, "backup", "status").wants(t, exitDone, "/mnt/backup", "")
	c.run(t, "backup", "start", "--full", "--reason", "move").wants(t, exitDone, "wattline backup status", "")
	if got := c.asked[len(c.asked)-1]; got.Query != "full=true&reason=move" || got.Method != http.MethodPost {
		t.Errorf("asked %+v", got)
	}
	c.run(t, "backup", "verify").wants(t, exitDone, "It begins", "")
	c.run(t, "backup", "start", "now").wants(t, exitUsage, "", "now")
	c.answers["POST /api/v1/backups"] = `409 {"title":"Conflict","status":409,"detail":"a backup is being made already"}`
	c.run(t, "backup", "start").wants(t, exitConflict, "", "being made already")
}

func TestAWaitEndsWithWhatBecameOfIt(t *testing.T) {
	for name, c := range map[string]struct {
		outcome string
		code    int
		out     string
		said    string
	}{
		"made":   {`{"backup":"b","began":"2026-11-24T03:15:03Z","days":8,"points":9,"note":"a note"}`, exitDone, "b is made: 8 days, 9 points.", ""},
		"failed": {`{"began":"2026-11-24T03:15:03Z","error":"the disk is full"}`, exitNotDone, "", "the disk is full"},
	} {
		cloud := newCloud(t, map[string]string{"GET /api/v1/backups/status": `200 {"enabled":true}`, "POST /api/v1/backups": `202 {"begins":"backup"}`})
		cloud.after = func(asked int) {
			if asked == 3 {
				cloud.answers["GET /api/v1/backups/status"] = `200 {"enabled":true,"last":` + c.outcome + `}`
			}
		}
		t.Run(name, func(t *testing.T) { cloud.run(t, "backup", "start", "--wait").wants(t, c.code, c.out, c.said) })
	}
}

func TestSizesAreReadByPeople(t *testing.T) {
	for number, want := range map[string]string{"0": "0 B", "999": "999 B", "1000": "1.0 kB", "401233221": "401.2 MB", "12000000000000": "12.0 TB", "x": "x"} {
		if got := bytesText(number); got != want {
			t.Errorf("%s: %q, want %q", number, got, want)
		}
	}
}
