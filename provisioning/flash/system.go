package flash

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/wattline/wattline/provisioning/flash/fat"
)

// ErrNoSeed says that the image would not find a seed: the text says why.
var ErrNoSeed = errors.New("the image takes no seed")

// seedLabel is the label by which cloud-init's NoCloud finds a file system.
const seedLabel = "CIDATA"

// system is what a base image is, as far as a seed is concerned.
type system struct {
	name  string
	arch  Arch // "" where it does not show
	label bool // its FAT partition is to be labelled [seedLabel]
}

// findBoot finds the FAT partition that takes the seed.
func findBoot(disk fat.Disk, list []partition, force bool) (*fat.Volume, system, error) {
	var reasons []error
	for _, p := range list {
		v, err := fat.Open(disk, p.start, p.size)
		if errors.Is(err, fat.ErrNotFAT) {
			continue
		}
		if err != nil {
			return nil, system{}, fmt.Errorf("partition %d: %w", p.number, err)
		}
		s, err := recognise(v, force)
		if err == nil {
			return v, s, nil
		}
		reasons = append(reasons, fmt.Errorf("partition %d: %w", p.number, err))
	}
	if len(reasons) == 0 {
		return nil, system{}, fmt.Errorf("%w: it has no boot partition (FAT) among its %d: give an image of Raspberry Pi OS or of Debian's cloud, or make a seed", ErrNotImage, len(list))
	}
	return nil, system{}, errors.Join(reasons...)
}

// recognise tells by the files of a boot partition which system it starts.
func recognise(v *fat.Volume, force bool) (system, error) {
	var failed error
	has := func(path string) bool {
		_, err := v.Stat(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = err
		}
		return err == nil
	}
	label, err := v.Label()
	if err != nil {
		return system{}, err
	}
	s := system{name: "an unknown system"}
	pi := has("config.txt") || has("cmdline.txt")
	switch {
	case has("meta-data") || has("user-data"):
		s.name = "a system with cloud-init"
		if pi {
			s.name = "Raspberry Pi OS, or another for the Pi, with cloud-init"
		}
	case strings.EqualFold(label, seedLabel):
		s.name = "a system with a partition for seeds"
	case has("sysconf.txt") && !force:
		return s, fmt.Errorf("%w: it is Debian's image for the Raspberry Pi, which has no cloud-init; use Raspberry Pi OS (Debian 13 or later), or install the package wattline-edge", ErrNoSeed)
	case pi && !force:
		return s, fmt.Errorf("%w: Raspberry Pi OS of Debian 12 and before has no cloud-init; use one of Debian 13 or later, or install the package wattline-edge", ErrNoSeed)
	case has("EFI"):
		s.name, s.label = "a system that starts by EFI, such as Debian's generic cloud image", true
	case !force:
		return s, fmt.Errorf("%w: nothing in the boot partition %q shows cloud-init; if the image has it nevertheless, say so with --force", ErrNoSeed, label)
	default:
		s.label = true
	}
	switch {
	case has("kernel.img") || has("kernel7.img") || has("kernel7l.img"):
		s.arch = ARMv6 // its programs are for the oldest Pi, whatever the kernel
	case has("kernel8.img") || has("EFI/BOOT/BOOTAA64.EFI"):
		s.arch = ARM64
	case has("EFI/BOOT/BOOTX64.EFI"):
		s.arch = AMD64
	}
	return s, failed
}
