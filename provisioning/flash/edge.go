package flash

import (
	"bytes"
	"cmp"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// Arch is a processor that gateways are built for.
type Arch string

// The processors: Raspberry Pi 1 and Zero; Pi 2 and later with 32 bits; Pi 3 and
// later with 64 bits; PCs.
const (
	ARMv6 Arch = "armv6"
	ARMv7 Arch = "armv7"
	ARM64 Arch = "arm64"
	AMD64 Arch = "amd64"
)

// Arches are all of them.
func Arches() []Arch { return []Arch{ARMv6, ARMv7, ARM64, AMD64} }

// runs lists the processors whose programs a system for a runs, the best first.
func (a Arch) runs() []Arch {
	switch a {
	case ARMv7:
		return []Arch{ARMv7, ARMv6}
	case "":
		return Arches()
	default:
		return []Arch{a}
	}
}

// maxEdge is the longest program, in bytes; it has a tenth of that.
const maxEdge = 256 << 20

// ErrNotEdge says that a file is no wattline-edge for the box.
var ErrNotEdge = errors.New("not the program for this box")

// readEdge reads the gateway's program, and sees to it that it is one and runs on
// arch, where that is known.
func readEdge(name string, arch Arch) ([]byte, Arch, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, "", fmt.Errorf("program of the gateway: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxEdge+1))
	if err != nil {
		return nil, "", fmt.Errorf("program of the gateway: %w", err)
	}
	if len(data) > maxEdge {
		return nil, "", fmt.Errorf("%s: %w: more than %d bytes", name, ErrNotEdge, maxEdge)
	}
	is, err := archOf(data)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", name, err)
	}
	if !slices.Contains(arch.runs(), is) {
		return nil, "", fmt.Errorf("%s: %w: it is built for %s, the box is %s", name, ErrNotEdge, is, arch)
	}
	return data, is, nil
}

// archOf reads for what a Go program was built.
func archOf(data []byte) (Arch, error) {
	info, err := buildinfo.Read(bytes.NewReader(data))
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotEdge, err)
	}
	set := map[string]string{}
	for _, s := range info.Settings {
		set[s.Key] = s.Value
	}
	switch {
	case !strings.HasSuffix(info.Path, "/edge/cmd/wattline-edge"):
		return "", fmt.Errorf("%w: it is %s", ErrNotEdge, cmp.Or(info.Path, "another program"))
	case set["GOOS"] != "linux":
		return "", fmt.Errorf("%w: it is built for %s", ErrNotEdge, set["GOOS"])
	}
	switch set["GOARCH"] {
	case "arm64":
		return ARM64, nil
	case "amd64":
		return AMD64, nil
	case "arm":
		if v := set["GOARM"]; strings.HasPrefix(v, "7") {
			return ARMv7, nil
		} else if strings.HasPrefix(v, "6") || strings.HasPrefix(v, "5") {
			return ARMv6, nil
		}
	}
	return "", fmt.Errorf("%w: it is built for %s %s", ErrNotEdge, set["GOARCH"], set["GOARM"])
}
