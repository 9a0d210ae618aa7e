package flash_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/ulikunitz/xz"

	"github.com/wattline/wattline/provisioning/flash"
	"github.com/wattline/wattline/provisioning/flash/fat"
)

func TestAnImageIsItsBaseAndTheSeed(t *testing.T) {
	packers := map[string]func(io.Writer) (io.WriteCloser, error){
		"as it is":     nil,
		"packed by xz": func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) },
		"packed by gzip": func(w io.Writer) (io.WriteCloser, error) {
			return gzip.NewWriter(w), nil
		},
	}
	for name, packer := range packers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw := base(t, raspberry())
			from := raw
			if packer != nil {
				from = pack(t, raw, packer)
			}
			out := filepath.Join(t.TempDir(), "f2.img")
			var steps []flash.Step
			r, err := flash.Image(t.Context(), flash.Options{Base: from, Out: out, Edge: anyProgram(t), Box: box(t)}, func(s flash.Step, done, total int64) {
				if len(steps) == 0 || steps[len(steps)-1] != s {
					steps = append(steps, s)
				}
				if done > total {
					t.Errorf("%s: %d of %d", s, done, total)
				}
			})
			check(t, err)
			if len(steps) != 3 || r.Arch != flash.AMD64 || !strings.Contains(r.System, "Raspberry Pi OS") {
				t.Errorf("steps %v, result %+v", steps, r)
			}
			before, _ := opened(t, raw)
			after, fs := opened(t, out)
			if !bytes.Equal(second(t, before), second(t, after)) {
				t.Error("the second partition is not the base's")
			}
			for name, want := range map[string]string{"config.txt": "arm_64bit=1\n", "cmdline.txt": "console=tty1\n", "a-long-name-of-a-device-tree.dtb": "tree"} {
				if got := read(t, fs, name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			edge, err := os.ReadFile(program(t))
			check(t, err)
			if read(t, fs, "wattline-edge") != string(edge) {
				t.Error("the program in the image is another one")
			}
			if user := read(t, fs, "user-data"); !strings.HasPrefix(user, "#cloud-config\n{") || !strings.Contains(user, joinToken) {
				t.Errorf("user-data:\n%s", user)
			}
			var meta map[string]string
			check(t, json.Unmarshal([]byte(read(t, fs, "meta-data")), &meta))
			if !strings.HasPrefix(meta["instance-id"], "edge-f2-") || meta["local-hostname"] != "edge-f2" || meta["dsmode"] != "local" {
				t.Errorf("meta-data %v", meta)
			}
			tool(t, "fsck.fat", "-n", extract(t, after))
			if info, err := os.Stat(out); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("an image with secrets has mode %v, %v", info.Mode(), err)
			}
		})
	}
}

func TestAnEFIPartitionBecomesTheSeed(t *testing.T) {
	from := base(t, layout{fat: filesystem.TypeFat16, size: 20, label: "EFI", files: map[string]string{"EFI/BOOT/BOOTX64.EFI": "starts"}})
	out := filepath.Join(t.TempDir(), "pc.img")
	var asked flash.Arch
	_, err := flash.Image(t.Context(), flash.Options{Base: from, Out: out, Box: box(t), Edge: func(a flash.Arch) (string, error) {
		asked = a
		return program(t), nil
	}}, nil)
	check(t, err)
	_, fs := opened(t, out)
	if got := strings.TrimSpace(fs.Label()); got != "CIDATA" || asked != flash.AMD64 {
		t.Errorf("label %q, program asked for %q", got, asked)
	}
	if got := read(t, fs, "EFI/BOOT/BOOTX64.EFI"); got != "starts" {
		t.Errorf("the starter is %q", got)
	}
}

func TestWhatCannotBeFlashedLeavesNothing(t *testing.T) {
	file := func(content string) func(*testing.T) string {
		return func(t *testing.T) string {
			t.Helper()
			name := filepath.Join(t.TempDir(), "base")
			check(t, os.WriteFile(name, []byte(content), 0o600))
			return name
		}
	}
	made := func(l layout) func(*testing.T) string {
		return func(t *testing.T) string { t.Helper(); return base(t, l) }
	}
	with := func(files ...string) layout {
		l := layout{fat: filesystem.TypeFat32, label: "boot", files: map[string]string{}}
		for _, f := range files {
			l.files[f] = "x"
		}
		return l
	}
	cut := func(by int64, packer func(io.Writer) (io.WriteCloser, error)) func(*testing.T) string {
		return func(t *testing.T) string {
			t.Helper()
			name := base(t, raspberry())
			if packer != nil {
				name = pack(t, name, packer)
			}
			info, err := os.Stat(name)
			check(t, err)
			check(t, os.Truncate(name, info.Size()-by))
			return name
		}
	}
	noise := strings.Repeat("what is this? ", 100_000)
	tests := map[string]struct {
		base func(*testing.T) string
		want error
		says string
	}{
		"nothing":                  {file(""), flash.ErrNotImage, "0 bytes"},
		"a text":                   {file(noise), flash.ErrNotImage, "no partition table"},
		"a ZIP archive":            {file("PK\x03\x04" + noise), flash.ErrNotImage, "unpack it"},
		"a page of a web server":   {file("<!DOCTYPE html><title>404"), flash.ErrNotImage, "web page"},
		"a QCOW2":                  {file("QFI\xfb\x00\x00\x00\x03"), flash.ErrNotImage, "qemu-img"},
		"an xz that is none":       {file("\xfd7zXZ\x00" + noise), flash.ErrNotImage, "unpack"},
		"an xz cut short":          {cut(100, func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }), flash.ErrNotImage, "fetch it again"},
		"a gzip cut short":         {cut(100, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }), flash.ErrNotImage, "fetch it again"},
		"an image cut short":       {cut(3<<20, nil), flash.ErrNotImage, "too small"},
		"no FAT partition":         {made(layout{}), flash.ErrNotImage, "no boot partition"},
		"Raspberry Pi OS 12":       {made(with("config.txt", "cmdline.txt", "kernel8.img")), flash.ErrNoSeed, "Debian 13"},
		"Debian's for the Pi":      {made(with("sysconf.txt", "config.txt")), flash.ErrNoSeed, "which has no cloud-init"},
		"something else with FAT":  {made(with("README")), flash.ErrNoSeed, "--force"},
		"a box of another kind":    {made(with("user-data", "kernel8.img")), flash.ErrNotEdge, "arm64"},
		"a boot partition of 2 MB": {made(layout{fat: filesystem.TypeFat16, size: 9, label: "boot", files: map[string]string{"user-data": "", "big": strings.Repeat("x", 8<<20)}}), fat.ErrFull, "larger boot partition"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			err := quiet(t.Context(), flash.Options{Base: test.base(t), Out: filepath.Join(dir, "f2.img"), Edge: anyProgram(t), Box: box(t)})
			if !errors.Is(err, test.want) || err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want one of %v that says %q", err, test.want, test.says)
			}
			if err != nil && strings.Contains(err.Error(), joinToken) {
				t.Errorf("the error has the join token: %v", err)
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestAnOutputThatIsThereIsKept(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "f2.img")
	check(t, os.WriteFile(out, []byte("precious"), 0o600))
	o := flash.Options{Base: base(t, raspberry()), Out: out, Edge: anyProgram(t), Box: box(t)}
	if err := quiet(t.Context(), o); !errors.Is(err, os.ErrExist) {
		t.Errorf("error %v", err)
	}
	o.Overwrite = true
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := quiet(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if text, err := os.ReadFile(out); string(text) != "precious" {
		t.Errorf("what was there is now %d bytes, %v", len(text), err)
	}
	check(t, quiet(t.Context(), o))
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	o.Base = out
	if err := quiet(t.Context(), o); err == nil || !strings.Contains(err.Error(), "it is the base image") {
		t.Errorf("the base as its own output: %v", err)
	}
}

// Each step is interrupted, as by Ctrl-C.
func TestAnInterruptedImageLeavesNothing(t *testing.T) {
	from := base(t, raspberry())
	for _, at := range []flash.Step{flash.Copying, flash.Seeding, flash.Checking} {
		dir := t.TempDir()
		ctx, cancel := context.WithCancel(t.Context())
		_, err := flash.Image(ctx, flash.Options{Base: from, Out: filepath.Join(dir, "f2.img"), Edge: anyProgram(t), Box: box(t)}, func(s flash.Step, _, _ int64) {
			if s == at {
				cancel()
			}
		})
		if left, _ := os.ReadDir(dir); !errors.Is(err, context.Canceled) || len(left) != 0 {
			t.Errorf("while %s: error %v, left behind %v", at, err, left)
		}
		cancel()
	}
}

func TestAFullDiskLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("mounting a small disk takes root: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, 0) })
	l := raspberry()
	l.size = 24
	l.files["big"] = strings.Repeat("0123456789abcdef", 1<<20)
	raw := base(t, l)
	packed := pack(t, raw, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil })
	for _, from := range []string{raw, packed} { // the first is refused at once, the second fills the disk
		err := quiet(t.Context(), flash.Options{Base: from, Out: filepath.Join(dir, "f2.img"), Edge: anyProgram(t), Box: box(t)})
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free some room") {
			t.Errorf("error %v", err)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}
