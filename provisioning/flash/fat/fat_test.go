package fat_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/provisioning/flash/fat"
)

// noon is a time that FAT can tell.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// program finds a program of dosfstools or mtools.
func program(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return filepath.Join(dir, name)
		}
	}
	t.Skipf("%s is not installed: make deps-test", name)
	return ""
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program(t, name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// volume is made by mkfs.fat and filled by mtools, as others make theirs.
func volume(t *testing.T, kib int, args ...string) (string, *os.File) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fat")
	run(t, "mkfs.fat", append(append([]string{"-C", "-n", "BOOTFS"}, args...), name, fmt.Sprint(kib))...)
	sample := filepath.Join(t.TempDir(), "sample")
	if err := os.WriteFile(sample, []byte("a sample of some length, two clusters of the smallest\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 30 { // long names, and gaps between them
		run(t, "mcopy", "-i", name, sample, fmt.Sprintf("::/bcm2711-rpi-%d-model-b.dtb", i))
	}
	for i := 0; i < 30; i += 3 {
		run(t, "mdel", "-i", name, fmt.Sprintf("::/bcm2711-rpi-%d-model-b.dtb", i))
	}
	run(t, "mcopy", "-i", name, sample, "::/user-data")
	run(t, "mcopy", "-i", name, sample, "::/CONFIG.TXT")
	run(t, "mmd", "-i", name, "::/overlays")
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return name, f
}

func open(t *testing.T, f *os.File) *fat.Volume {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	v, err := fat.Open(f, 0, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestFilesPutAreReadByOthers(t *testing.T) {
	for name, args := range map[string][]string{
		"FAT32, clusters of 512": {"-F", "32", "-s", "1"},
		"FAT32, clusters of 2 K": {"-F", "32", "-s", "4"},
		"FAT16":                  {"-F", "16"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kib := 160 << 10
			if args[1] == "16" {
				kib = 30 << 10
			}
			image, f := volume(t, kib, args...)
			run(t, "fsck.fat", "-n", image)
			v := open(t, f)
			big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
			want := map[string][]byte{
				"user-data": []byte("#cloud-config\n"), "meta-data": []byte("instance-id: a\n"), "network-config": nil, "wattline-edge": big,
				"config.txt": bytes.Repeat([]byte("dtoverlay=x\n"), 500), "a name of more than twenty-six characters.text.json": []byte("x"),
			}
			free := v.Free()
			for name, content := range want {
				if err := v.Put(name, content, noon); err != nil {
					t.Fatal(err)
				}
			}
			if v.Free() >= free-int64(len(big)) {
				t.Errorf("%d bytes are free after writing %d of %d", v.Free(), len(big), free)
			}
			if err := v.SetLabel("CIDATA"); err != nil {
				t.Fatal(err)
			}
			run(t, "fsck.fat", "-n", image)
			for name, content := range want {
				if got := run(t, "mtype", "-i", image, "::/"+name); got != string(content) {
					t.Errorf("mtools reads %d bytes of %s, want %d", len(got), name, len(content))
				}
				if got, err := open(t, f).ReadFile(strings.ToUpper(name), 1<<30); err != nil || !bytes.Equal(got, content) {
					t.Errorf("%s: %d bytes, %v", name, len(got), err)
				}
			}
			if got := run(t, "mtype", "-i", image, "::/bcm2711-rpi-4-model-b.dtb"); !strings.HasPrefix(got, "a sample") {
				t.Errorf("a file that was there: %q", got)
			}
			if got := run(t, "mlabel", "-s", "-i", image, "::"); !strings.Contains(got, "CIDATA") {
				t.Errorf("label: %s", got)
			}
		})
	}
}

// The last entries of a table may be for clusters behind the end: a volume is
// filled to its last byte, and nothing behind it changes.
func TestAFullVolumeEndsAtItsEnd(t *testing.T) {
	image, f := volume(t, 30<<10, "-F", "16")
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	behind := bytes.Repeat([]byte("next partition "), 10_000)
	if _, err := f.WriteAt(behind, info.Size()); err != nil {
		t.Fatal(err)
	}
	v, err := fat.Open(f, 0, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Put("too-much", make([]byte, v.Free()+1), noon); !errors.Is(err, fat.ErrFull) || !strings.Contains(err.Error(), "are free") {
		t.Errorf("error %v", err)
	}
	if v, err = fat.Open(f, 0, info.Size()); err != nil {
		t.Fatal(err)
	}
	if err := v.Put("all-of-it", bytes.Repeat([]byte{'x'}, int(v.Free())), noon); err != nil {
		t.Fatal(err)
	}
	if v.Free() != 0 {
		t.Errorf("%d bytes are free", v.Free())
	}
	got := make([]byte, len(behind))
	if _, err := f.ReadAt(got, info.Size()); err != nil || !bytes.Equal(got, behind) {
		t.Errorf("what lies behind the volume has changed, %v", err)
	}
	if err := f.Truncate(info.Size()); err != nil {
		t.Fatal(err)
	}
	run(t, "fsck.fat", "-n", image)
}

func TestADirectoryGrowsWhereItCan(t *testing.T) {
	image, f := volume(t, 40<<10, "-F", "32", "-s", "1")
	v := open(t, f)
	for i := range 200 {
		if err := v.Put(fmt.Sprintf("another-file-%d", i), []byte("x"), noon); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "fsck.fat", "-n", image)
	list, err := v.List()
	if err != nil || len(list) != 200+23 {
		t.Errorf("%d entries, %v", len(list), err)
	}
	_, f = volume(t, 30<<10, "-F", "16", "-r", "224")
	v = open(t, f)
	err = nil
	for i := 0; err == nil && i < 300; i++ {
		err = v.Put(fmt.Sprintf("another-file-%d", i), []byte("x"), noon)
	}
	if !errors.Is(err, fat.ErrFull) || !strings.Contains(err.Error(), "slots and no more") {
		t.Errorf("a root that cannot grow: %v", err)
	}
}

func TestNamesThatCannotBe(t *testing.T) {
	_, f := volume(t, 30<<10, "-F", "16")
	v := open(t, f)
	for _, name := range []string{"", ".", "a/b", "a\\b", "ä", "trailing ", "a*", strings.Repeat("x", 256), "overlays"} {
		if err := v.Put(name, nil, noon); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
	for _, label := range []string{"", "TWELVE CHARS", "small"} {
		if err := v.SetLabel(label); err == nil {
			t.Errorf("label %q was taken", label)
		}
	}
	if _, err := v.Stat("overlays/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if _, err := v.Stat("CONFIG.TXT/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

// memory is a disk for fuzzing.
type memory []byte

func (m memory) ReadAt(p []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(p)) > int64(len(m)) {
		return 0, errors.New("outside")
	}
	return copy(p, m[at:]), nil
}

func (m memory) WriteAt(p []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(p)) > int64(len(m)) {
		return 0, errors.New("outside")
	}
	return copy(m[at:], p), nil
}

// FuzzVolume lays damage over a volume that is whole: offset and bytes.
func FuzzVolume(f *testing.F) {
	mkfs := "/usr/sbin/mkfs.fat"
	if _, err := os.Stat(mkfs); err != nil {
		f.Skip("mkfs.fat is not installed: make deps-test")
	}
	var whole [][]byte
	for _, args := range [][]string{{"-F", "16", "-s", "1"}, {"-F", "32", "-s", "1"}} {
		name := filepath.Join(f.TempDir(), "fat")
		if out, err := exec.Command(mkfs, append(args, "-C", name, "4096")...).CombinedOutput(); err != nil {
			f.Fatalf("%v\n%s", err, out)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		whole = append(whole, data)
	}
	f.Add(uint8(0), uint32(11), []byte{0, 2})
	f.Add(uint8(1), uint32(32*512), []byte{0xf8, 0xff, 0xff, 0x0f, 0xff, 0xff, 0xff, 0x0f, 2, 0, 0, 0})
	f.Fuzz(func(t *testing.T, which uint8, at uint32, damage []byte) {
		m := memory(bytes.Clone(whole[int(which)%len(whole)]))
		copy(m[int(at)%len(m):], damage)
		v, err := fat.Open(m, 0, int64(len(m)))
		if err != nil {
			return
		}
		_, _ = v.Label()
		list, err := v.List()
		if err != nil {
			return
		}
		for _, e := range list {
			_, _ = v.Stat(e.Name + "/x")
			_, _ = v.ReadFile(e.Name, 1<<20)
		}
		if v.Put("user-data", []byte("#cloud-config\n"), noon) == nil {
			if got, err := v.ReadFile("user-data", 1<<20); err != nil || string(got) != "#cloud-config\n" {
				t.Errorf("read back %q, %v", got, err)
			}
		}
		_ = v.SetLabel("CIDATA")
	})
}
