package doctor

import (
	"context"
	"os/exec"
	"strings"
	"time"
)

// programs puts in the output of commands, such as versions and the journal.
func (p *packer) programs(ctx context.Context) error {
	for name, command := range p.b.Programs {
		p.step(strings.Join(command, " "))
		path, err := exec.LookPath(command[0])
		if err != nil {
			p.leave(name, err)
			continue
		}
		text, err := output(ctx, path, command[1:])
		if err != nil {
			p.leave(name, err)
		}
		if err := p.put(name, text); err != nil {
			return err
		}
	}
	return nil
}

func output(ctx context.Context, path string, args []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, programTimeout)
	defer cancel()
	text := &tail{limit: maxEntry}
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // a program that the caller names
	cmd.Stdout, cmd.Stderr = text, text
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	return text.String(), err
}

// tail keeps the end of what is written.
type tail struct {
	limit int
	b     []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > 2*t.limit {
		t.b = append(t.b[:0], t.b[len(t.b)-t.limit:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.b[max(0, len(t.b)-t.limit):]) }
