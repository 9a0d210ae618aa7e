package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/wattline/wattline/edge/controller"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// keptFile holds the configuration that the gateway was given last, so that it
// starts without the cloud.
const keptFile = "floor.json"

// kept is the content of that file.
type kept struct {
	Config      contract.GatewayConfig `json:"config"`
	Protections controller.Protections `json:"protections"`
	// Learned is what was found out about plugs.
	Learned map[device.ID]learned `json:"learned,omitempty"`
	// Trial is that of Config, nil when it has proved itself.
	Trial *trial `json:"trial,omitempty"`
	// Refused is what the status tells, and Worse the configuration behind it
	// where that was tried.
	Refused *contract.ConfigRefused `json:"refused,omitempty"`
	Worse   *contract.GatewayConfig `json:"worse,omitempty"`
}

func readKept(file string, log *slog.Logger) (k kept) {
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return kept{}
	}
	if err == nil {
		err = json.Unmarshal(text, &k)
	}
	if err != nil {
		log.Error("kept configuration not read: waiting for the cloud's", slog.String("file", file), slog.Any("err", err))
		return kept{}
	}
	return k
}

// kept is what is to be kept now; the caller holds the lock.
func (f *floor) kept() kept {
	k := kept{Config: f.config, Protections: f.gateway.controller.Protections(), Learned: f.forgetting(), Refused: f.refused, Worse: f.worse}
	if f.trial != nil {
		k.Trial = new(*f.trial)
	}
	return k
}

// keep writes it so that a crash leaves the old or the new one.
func (f *floor) keep(k kept) error {
	text, err := json.MarshalIndent(k, "", " ")
	if err != nil {
		return fmt.Errorf("encode the configuration: %w", err)
	}
	return writeFile(f.file, text)
}

// writeFile replaces a file in one step that a power cut can't halve.
func writeFile(path string, text []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	_, err = file.Write(text)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(file.Name()))
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a new name in a directory outlive a power cut.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}

// sweep removes what a crash in the middle of writeFile left.
func sweep(path string) {
	dir, name := filepath.Split(path)
	left, _ := fs.Glob(os.DirFS(filepath.Clean(dir)), name+".*") // fails for a bad pattern only
	for _, name := range left {
		_ = os.Remove(filepath.Join(dir, name))
	}
}
