package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"

	"github.com/wattline/wattline/cloud/server"
	"github.com/wattline/wattline/edge/gateway"
	"github.com/wattline/wattline/shared/config"
)

// startProgram runs one of the programs on its configuration; where profiles are
// wanted it runs the same inside this one.
func (b *bench) startProgram(name, program, conf string) (*process, error) {
	if b.profile == "" {
		return b.start(name, filepath.Join(b.bin, program), "-config", conf)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return b.start(name, self, "-profile", b.profile, program, conf)
}

// startRole runs roles of the cloud alone, as startProgram does.
func (b *bench) startRole(name, roles, conf string) (*process, error) {
	if b.profile == "" {
		return b.start(name, filepath.Join(b.bin, "wattline-cloud"), "-roles", roles, "-config", conf)
	}
	return b.startProgram(name, "wattline-cloud:"+roles, conf)
}

// profiled is a program inside this one, with a CPU profile of its life.
func profiled(ctx context.Context, program, conf, dir string, stderr io.Writer) error {
	program, names, _ := strings.Cut(program, ":")
	roles, err := server.ParseRoles(names)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(dir, program+"-*.pprof")
	if err != nil {
		return fmt.Errorf("make the profile: %w", err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return fmt.Errorf("start the profile: %w", err)
	}
	log := slog.New(slog.NewJSONHandler(stderr, nil))
	switch program {
	case "wattline-edge":
		cfg := gateway.DefaultConfig()
		if err = config.Load(conf, &cfg); err == nil {
			err = gateway.Run(ctx, cfg, gateway.Options{Version: "bench"}, log)
		}
	case "wattline-cloud":
		cfg := server.DefaultConfig()
		if err = config.Load(conf, &cfg); err == nil {
			err = server.Run(ctx, cfg, roles, server.Options{Version: "bench"}, log)
		}
	default:
		err = fmt.Errorf("no program %q", program)
	}
	pprof.StopCPUProfile()
	return errors.Join(err, file.Close())
}
