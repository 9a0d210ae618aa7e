package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"time"
)

// parcel is a package: what it installs, and what dpkg is told (deb(5),
// deb-control(5)).
type parcel struct {
	Arch, Version string
	Time          time.Time // of all files
	files         []entry
	scripts       []entry
	conffiles     []string
}

// entry is a file of the package.
type entry struct {
	name string // without the slash it begins with
	mode int64
	data []byte
}

var released = regexp.MustCompile(`^v?([0-9]+\.[0-9].*)$`)

// debianVersion makes a version by which dpkg sorts: that of a release, with what
// git adds behind a +; the time where there is none yet.
func debianVersion(git string, at time.Time) string {
	plain := func(s string) string { return regexp.MustCompile(`[^A-Za-z0-9.+~]+`).ReplaceAllString(s, "+") }
	if m := released.FindStringSubmatch(git); m != nil {
		return plain(m[1])
	}
	return "0~" + at.UTC().Format("200601021504") + "." + plain(git)
}

// collect reads what goes into the package.
func (p *parcel) collect(root, edge string) error {
	var failed error
	read := func(name string) []byte {
		data, err := os.ReadFile(name)
		if failed == nil && err != nil {
			failed = err
		}
		return data
	}
	in := func(name string) []byte { return read(filepath.Join(root, filepath.FromSlash(name))) }
	p.files = []entry{
		{"etc/wattline/edge.yaml", 0o640, in("docker/deb/edge.yaml")},
		{"usr/bin/wattline-edge", 0o755, read(edge)},
		{"usr/lib/systemd/system/wattline-edge.service", 0o644, in("docker/systemd/wattline-edge.service")},
		{"usr/share/doc/wattline-edge/copyright", 0o644, in("LICENSE")},
		{"usr/share/doc/wattline-edge/edge.yaml", 0o644, in("docs/samples/edge.yaml")},
	}
	if p.Arch == "armhf" {
		p.files[0].data = append(p.files[0].data, "\n# bbolt maps this file into memory, where 32 bits have room for 2 GiB.\noutbox:\n  limit_bytes: 1610612736\n"...)
	}
	p.conffiles = []string{"/etc/wattline/edge.yaml"}
	for _, name := range []string{"postinst", "prerm", "postrm"} {
		p.scripts = append(p.scripts, entry{name, 0o755, in("docker/deb/" + name)})
	}
	return failed
}

func (p *parcel) control() []byte {
	size := 0
	for _, f := range p.files {
		size += len(f.data)
	}
	return fmt.Appendf(nil, `Package: wattline-edge
Version: %s
Architecture: %s
Maintainer: Wattline <maintainers@wattline.example>
Installed-Size: %d
Depends: passwd
Recommends: systemd-timesyncd | time-daemon
Section: net
Priority: optional
Description: gateway of one floor for smart plugs
 Polls the smart plugs of a floor, keeps their readings through outages of
 network, cloud and power, forwards them over MQTT, and switches plugs when
 asked. Readings that wait survive upgrade, removal and purge.
`, p.Version, p.Arch, (size+1023)/1024)
}

// write writes the package: an ar archive of a version and two tar archives.
func (p *parcel) write(name string) error {
	var sums, conf bytes.Buffer
	for _, f := range p.files {
		fmt.Fprintf(&sums, "%x  %s\n", md5.Sum(f.data), f.name)
	}
	for _, f := range p.conffiles {
		fmt.Fprintln(&conf, f)
	}
	about := append([]entry{{"control", 0o644, p.control()}, {"md5sums", 0o644, sums.Bytes()}, {"conffiles", 0o644, conf.Bytes()}}, p.scripts...)
	control, err := p.tar(about, "./")
	if err != nil {
		return err
	}
	data, err := p.tar(p.files, "./")
	if err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.WriteString(f, "!<arch>\n"); err != nil {
		return err
	}
	for _, m := range []entry{{"debian-binary", 0, []byte("2.0\n")}, {"control.tar.gz", 0, control}, {"data.tar.gz", 0, data}} {
		head := fmt.Sprintf("%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, p.Time.Unix(), 0, 0, "100644", len(m.data))
		if len(m.data)%2 == 1 {
			m.data = append(m.data, '\n')
		}
		if _, err := f.Write(append([]byte(head), m.data...)); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// tar packs files with the directories above them, all of them root's.
func (p *parcel) tar(files []entry, prefix string) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	t := tar.NewWriter(z)
	made := map[string]bool{}
	var folder func(dir string) error
	folder = func(dir string) error {
		if made[dir] {
			return nil
		}
		made[dir] = true
		name := prefix
		if dir != "." {
			if err := folder(path.Dir(dir)); err != nil {
				return err
			}
			name += dir + "/"
		}
		return t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, ModTime: p.Time, Uname: "root", Gname: "root", Format: tar.FormatGNU})
	}
	for _, f := range files {
		if err := folder(path.Dir(f.name)); err != nil {
			return nil, err
		}
		h := &tar.Header{Name: prefix + f.name, Mode: f.mode, Size: int64(len(f.data)), ModTime: p.Time, Uname: "root", Gname: "root", Format: tar.FormatGNU}
		if err := t.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := t.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := t.Close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
