package signals

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

const (
	backupTopic    = "query/backup/status"
	backupPatience = 3 * time.Second
	// backupPause is how long a backup that gives no answer is left alone: the role
	// runs elsewhere, or nowhere.
	backupPause = 5 * time.Minute
)

// Backups is how old the newest good backup is, and the last trial of one, in
// hours.
type Backups struct {
	Age      float64 `json:"age_hours"`
	Verified float64 `json:"verified_age_hours"`
}

// AskBackup asks how backups go and waits for the answer for 3 s. It gives nil where
// that is not known. Where no backups are set up, none is late.
func (q *Questions) AskBackup(ctx context.Context, asker Asker) *Backups {
	if !q.up() || time.Now().Before(q.backupDue) {
		return nil
	}
	b, err := askBackup(ctx, asker)
	if err != nil {
		q.backupDue = time.Now().Add(backupPause)
	}
	q.note(ctx, "backup", err)
	return b
}

func askBackup(ctx context.Context, asker Asker) (*Backups, error) {
	ctx, cancel := context.WithTimeout(ctx, backupPatience)
	defer cancel()
	answer, err := ask(ctx, asker, backupTopic, map[string]string{"verb": "get"}, func(json.RawMessage) error { return errMalformed })
	if err == nil && len(answer.Error) > 0 {
		err = fmt.Errorf("the backup: %s", answer.ErrorText())
	}
	if err != nil {
		return nil, err
	}
	said, err := decode[contract.RegistryAnswer](answer.Data)
	if err != nil {
		return nil, err
	}
	if said.Problem != nil {
		return nil, fmt.Errorf("the backup: %w", said.Problem)
	}
	status, err := decode[struct {
		Backups

		Enabled bool `json:"enabled"`
	}](said.Content)
	if err != nil {
		return nil, err
	}
	if !status.Enabled {
		return &Backups{}, nil
	}
	return &status.Backups, nil
}

// TakeBackup makes samples of how old backups are; none of nil.
func (s *Signals) TakeBackup(b *Backups, now device.Micros) []engine.Sample {
	s.begin(now)
	if b != nil {
		s.add(engine.Subject{}, "site.backup_age", b.Age)
		s.add(engine.Subject{}, "site.backup_verified_age", b.Verified)
	}
	return s.out
}
