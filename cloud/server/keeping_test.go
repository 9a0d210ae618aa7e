package server_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/cloud/backup/duty"
	"github.com/wattline/wattline/cloud/backup/restore"
	"github.com/wattline/wattline/cloud/backup/shelf"
	"github.com/wattline/wattline/cloud/backup/store"
	"github.com/wattline/wattline/cloud/influx/influxtest"
	"github.com/wattline/wattline/cloud/server"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

// asks asks the backup of a cloud over its broker.
type asks struct {
	t     *testing.T
	asker *bus.Asker
}

func askBackup(t *testing.T, url string) *asks {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	asker := bus.NewAsker("api/test", bus.Options{URL: url, ClientID: "test-asker", Username: "wattline", Password: "a password"}, nil, slog.New(slog.DiscardHandler))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = asker.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return &asks{t, asker}
}

func (a *asks) once(topic, verb string) (contract.RegistryAnswer, error) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), 2*time.Second)
	defer cancel()
	var answer contract.RegistryAnswer
	data, err := json.Marshal(contract.RegistryRequest{Verb: verb})
	if err != nil {
		a.t.Fatal(err)
	}
	if err := a.asker.Link().AwaitUp(ctx); err != nil {
		return answer, err
	}
	envelope, err := a.asker.Once(ctx, topic, data, nil)
	if err == nil {
		err = json.Unmarshal(envelope.Data, &answer)
	}
	return answer, err
}

// until asks for the status until it is as wanted.
func (a *asks) until(what string, fits func(duty.Status) bool) duty.Status {
	a.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		var s duty.Status
		answer, err := a.once("query/backup/status", "get")
		if err == nil {
			err = json.Unmarshal(answer.Content, &s)
		}
		if err == nil && fits(s) {
			return s
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("%s: %v, %+v, last %+v, tried %+v", what, err, s, s.Last, s.Tried)
		}
		time.Sleep(50 * time.Millisecond) // polling under a deadline
	}
}

func TestARunningCloudBacksItselfUpAndComesBack(t *testing.T) {
	dir, backups := t.TempDir(), filepath.Join(t.TempDir(), "store")
	c, stop := startCloud(t, dir, func(cfg *server.Config) {
		cfg.Backup.Directory, cfg.Backup.PointsPerSecond, cfg.Broker.Password = backups, 0, "a password"
	})
	c.until("/api/v1/devices", "sp_f1.g0")
	a := askBackup(t, c.mqtt)
	a.until("it is set up", func(s duty.Status) bool { return s.Enabled && s.NextBackup != nil })
	if answer, err := a.once("command/backup/backups", "create"); err != nil || answer.Problem != nil {
		t.Fatalf("%v, %v", err, answer.Problem)
	}
	s := a.until("a backup", func(s duty.Status) bool { return s.Last != nil && s.Doing == "" })
	if s.Last.Error != "" || s.Good == nil || s.AgeHours > 0.1 {
		t.Fatalf("%+v", s.Last)
	}
	if answer, err := a.once("command/backup/backups", "verify"); err != nil || answer.Problem != nil {
		t.Fatalf("%v, %v", err, answer.Problem)
	}
	s = a.until("a trial", func(s duty.Status) bool { return s.Tried != nil && s.Doing == "" })
	if s.Verified == nil || s.Verified.Backup != s.Good.Backup {
		t.Errorf("%+v", s.Tried)
	}
	answer, err := a.once("query/backup/backups", "list")
	if err != nil || !strings.Contains(string(answer.Content), s.Good.Backup) {
		t.Errorf("%v, %s", err, answer.Content)
	}
	if text := c.get("/metrics"); !strings.Contains(text, "wattline_backup_age_seconds") || !strings.Contains(text, "wattline_backup_trials_failed_total 0") {
		t.Error("the metrics lack the backup")
	}
	places := c.get("/api/v1/devices")
	stop()

	// All is destroyed, and comes back.
	again := t.TempDir()
	cfg := server.DefaultConfig()
	cfg.Data, cfg.InfluxD.Binary = again, influxtest.Config(t).Binary
	standing, err := server.OpenStanding(t.Context(), cfg, "", "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	report, err := standing.Restore(t.Context(), restore.Options{Shelf: shelf.Shelf{Store: store.NewDir(backups)}})
	standing.Close()
	if err != nil || report.Manifest.ID != s.Good.Backup {
		t.Fatalf("%v, %+v", err, report)
	}
	c, stop = startCloud(t, again, func(*server.Config) {})
	defer stop()
	c.until("/api/v1/devices", "sp_f1.g0")
	if got := c.get("/api/v1/devices"); got != places {
		t.Errorf("the places are %s, were %s", got, places)
	}
}

func TestWithoutADirectoryTheBackupSaysSo(t *testing.T) {
	c, stop := startCloud(t, t.TempDir(), func(cfg *server.Config) { cfg.Broker.Password = "a password" })
	defer stop()
	a := askBackup(t, c.mqtt)
	a.until("it answers", func(s duty.Status) bool { return !s.Enabled })
	answer, err := a.once("command/backup/backups", "create")
	if err != nil || answer.Problem == nil || !strings.Contains(answer.Problem.Detail, "backup.directory") {
		t.Errorf("%v, %+v", err, answer)
	}
}
