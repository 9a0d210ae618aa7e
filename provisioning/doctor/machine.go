package doctor

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	here     = "this machine"
	maxFiles = 2000 // looked at below one directory
	maxPEM   = 1 << 20
)

// machine looks at what every box has: clock, disks, certificates in files.
func (o Options) machine(r *Report) {
	var t unix.Timex
	if state, err := unix.Adjtimex(&t); err == nil {
		const unsynchronised = 5 // TIME_ERROR, adjtimex(2)
		synced := state != unsynchronised && t.Status&unix.STA_UNSYNC == 0
		r.verdict(!synced, Warn, here, "clock", "timedatectl set-ntp true, or chronyd; a machine without a network keeps what it has", "%s",
			yesNo(synced, "the kernel says that it is synchronised", "the kernel does not say that it is synchronised with a time server"))
	}
	for _, dir := range o.Data {
		o.disk(r, dir)
		o.certificates(r, dir)
	}
}

// disk judges the room where a directory is.
func (o Options) disk(r *Report, dir string) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		if !errors.Is(err, syscall.ENOENT) {
			r.add(Warn, here, "disk", "", "%s: %v", dir, err)
		}
		return
	}
	size, free := float64(s.Blocks)*float64(s.Bsize), float64(s.Bavail)*float64(s.Bsize)
	if size == 0 {
		return
	}
	left := free / size
	text := "%s: %s free of %s"
	const cure = "make room, or a larger disk: a full one drops readings and stops the database"
	switch {
	case free < 200e6 || left < 0.02:
		r.add(Fail, here, "disk", cure, text, dir, bytesText(int64(free)), bytesText(int64(size)))
	case left < 0.1:
		r.add(Warn, here, "disk", cure, text, dir, bytesText(int64(free)), bytesText(int64(size)))
	default:
		r.add(OK, here, "disk", "", text, dir, bytesText(int64(free)), bytesText(int64(size)))
	}
	if s.Files > 0 && float64(s.Ffree)/float64(s.Files) < 0.02 {
		r.add(Fail, here, "disk", "remove small files: without inodes nothing can be written", "%s: almost no inodes free", dir)
	}
	if s.Flags&unix.ST_RDONLY != 0 {
		r.add(Fail, here, "disk", "a worn-out card turns read-only: exchange it", "%s is read-only", dir)
	}
}

// certificates judges those that lie in files below a directory.
func (o Options) certificates(r *Report, dir string) {
	looked := 0
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error { // what cannot be read is passed over
		if looked++; looked > maxFiles {
			return fs.SkipAll
		}
		if err != nil || d.IsDir() || !d.Type().IsRegular() {
			return nil //nolint:nilerr // passed over
		}
		if ext := strings.ToLower(filepath.Ext(path)); ext != ".pem" && ext != ".crt" {
			return nil
		}
		o.certificateFile(r, path)
		return nil
	})
}

func (o Options) certificateFile(r *Report, path string) {
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxPEM {
		return
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return
	}
	for len(text) > 0 {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") && info.Mode().Perm()&0o077 != 0 {
			r.add(Fail, here, "key", "chmod 600 "+path, "%s holds a private key and others may read it", path)
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			o.expiry(r, here, "certificate", path+": ", c.NotAfter, "a gateway renews its own while it is connected; otherwise give it a new join token")
		}
	}
}
