package registry_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/cloud/registry"
	"github.com/wattline/wattline/shared/contract"
)

func TestADamagedFileSaysWhatToDo(t *testing.T) {
	o := newOffice(t)
	var rows strings.Builder
	rows.WriteString("device,label\n")
	for n := range 2000 {
		fmt.Fprintf(&rows, "sp_f1.g%d,desk %d\n", n, n)
	}
	if a := o.imports(false, "csv", rows.String()); a.Problem != nil {
		t.Fatal(a.Problem)
	}
	o.Close()
	file := filepath.Join(o.dir, "registry", "registry.db")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	garbled := bytes.Clone(whole)
	for i := 2 * os.Getpagesize(); i < len(garbled); i++ {
		garbled[i] ^= 0x55
	}
	places := bytes.ReplaceAll(whole, []byte(`{"device":"sp_f1.g7"`), []byte(`{"device":"spXf1.g7"`))
	for name, text := range map[string][]byte{
		"no bbolt file": bytes.Repeat([]byte("nonsense"), 4096), "garbled": garbled, "cut off": whole[:len(whole)/2],
		"a head alone": whole[:100], "a record that does not read": places,
	} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := registry.Open(o.dir, quiet)
		if !errors.Is(err, registry.ErrDamaged) || !strings.Contains(err.Error(), "restore it from a backup") || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			s.Close()
		}
		if after, err := os.ReadFile(file); err != nil || !bytes.Equal(after, text) {
			t.Errorf("%s: the file was changed: %v", name, err)
		}
	}
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	o.Store = reopened(t, o.dir)
}

// The child may write files of the size that the registry has and no larger
// ones, which bbolt meets as it meets a full disk: at the commit.
func TestAFullDiskChangesNothing(t *testing.T) {
	const variable = "REGISTRY_FULL"
	if dir := os.Getenv(variable); dir != "" {
		fillUp(t, dir)
		return
	}
	o := newOffice(t)
	o.do("places", "create", "sp_f1.g0", `{"label":"one"}`)
	o.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAFullDiskChangesNothing$", "-test.v")
	cmd.Env = append(os.Environ(), variable+"="+o.dir)
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("held")) {
		t.Fatalf("%v\n%s", err, out)
	}
	o.Store = reopened(t, o.dir)
	if all, _ := o.list("places", 1000, nil); len(all) != 1 {
		t.Errorf("%d places after the restart", len(all))
	}
}

func fillUp(t *testing.T, dir string) {
	o := &office{reopened(t, dir), t, dir}
	defer o.Close()
	before := o.export()
	info, err := os.Stat(filepath.Join(dir, "registry", "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	small := syscall.Rlimit{Cur: uint64(info.Size()), Max: old.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder
	rows.WriteString("device,label\n")
	for n := range 5000 {
		fmt.Fprintf(&rows, "sp_f1.g%d,desk %d\n", n, n)
	}
	a := o.imports(false, "csv", rows.String())
	if a.Problem == nil || a.Problem.Kind != contract.NotNow || !strings.Contains(a.Problem.Detail, "nothing was changed") {
		t.Errorf("on a full disk: %+v", a.Problem)
	}
	if o.export() != before {
		t.Error("something was changed")
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if p := o.do("places", "change", "sp_f1.g0", `{"label":"two"}`); p["label"] != "two" {
		t.Errorf("with room again: %v", p)
	}
	if !t.Failed() {
		fmt.Println("held")
	}
}

// One record of the enrolment that cannot be read is that gateway's harm alone:
// the others, places and tokens are published on.
func TestAnEnrolmentThatCannotBeReadKeepsNobodyElseFromBeingTold(t *testing.T) {
	o := newOffice(t)
	before, err := registry.Say(o.Store)
	if err != nil {
		t.Fatal(err)
	}
	err = registry.File(o.Store).Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("enrolment")).Put([]byte("f1"), []byte("nonsense")) })
	if err != nil {
		t.Fatal(err)
	}
	if after, err := registry.Say(o.Store); err != nil || after != before {
		t.Errorf("%d topics instead of %d: %v", after, before, err)
	}
}

func reopened(t *testing.T, dir string) *registry.Store {
	t.Helper()
	s, err := registry.Open(dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What was answered survives the end of the process; an import that was under way
// is there whole or not at all.
func TestAKillLosesNothingThatWasAnswered(t *testing.T) {
	const variable = "REGISTRY_KILLED"
	if dir := os.Getenv(variable); dir != "" {
		o := &office{reopened(t, dir), t, dir}
		for n := 0; ; n++ {
			var rows strings.Builder
			rows.WriteString("device,label\n")
			for i := range 100 {
				fmt.Fprintf(&rows, "sp_f1.g%d,desk %d\n", 100*n+i, n)
			}
			if a := o.imports(false, "csv", rows.String()); a.Problem != nil {
				t.Fatal(a.Problem)
			}
			fmt.Printf("\nimported %d\n", n)
		}
	}
	o := newOffice(t)
	o.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAKillLosesNothingThatWasAnswered$", "-test.v")
	cmd.Env = append(os.Environ(), variable+"="+o.dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := -1
	for buffer := make([]byte, 64); last < 20; {
		n, err := out.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(buffer[:n])) {
			_, _ = fmt.Sscanf(line, "imported %d", &last)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	o.Store = reopened(t, o.dir)
	all, _ := o.list("places", 1000, nil)
	if len(all)%100 != 0 || len(all) < 100*(last+1) {
		t.Errorf("%d places, import %d was answered", len(all), last)
	}
}
