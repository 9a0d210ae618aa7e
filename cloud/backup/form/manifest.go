package form

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/wattline/wattline/shared/contract"
)

// Version is that of the format, which readers check.
const Version = 1

// maxManifest bounds a manifest in memory, in bytes: some hundred years of days.
const maxManifest = 256 << 20

// Names in a store.
const (
	MarkerName     = "wattline-backup.json"
	ManifestPrefix = "backups/"
	ObjectPrefix   = "objects/"
)

// ErrDamaged is what a file is that is not what its name or its manifest says.
var ErrDamaged = errors.New("the file is damaged")

// Marker is the file that says whose store it is.
type Marker struct {
	Format int `json:"format"`
	// Store is drawn when the store is begun, Site when a site makes its first
	// backup; both are hex.
	Store string    `json:"store"`
	Site  string    `json:"site"`
	Name  string    `json:"name"` // of the site, for people
	Since time.Time `json:"since"`
}

// Manifest says what one backup holds.
type Manifest struct {
	Format   int    `json:"format"`
	ID       string `json:"id"`       // time and random, such as 20261124T031500Z-9f3c0a17
	Sequence int64  `json:"sequence"` // counts from 1 in a store; it orders, not the clock
	Basis    string `json:"basis"`    // id of the backup whose unchanged days are taken over; "" for a full one
	Site     string `json:"site"`     // as in the marker
	// Line is drawn when a data directory makes its first backup, and again after
	// a restore: what a backup of another line says of days need not be so here.
	Line     string        `json:"line"`
	SiteInfo contract.Site `json:"site_info"`
	Started  time.Time     `json:"started"`
	Finished time.Time     `json:"finished"`
	Surveyed time.Time     `json:"surveyed"` // when all days were last counted
	Wattline string        `json:"wattline"` // version of the program
	InfluxDB string        `json:"influxdb"` // version of the server
	// LedgerUntil is the newest time of the ledger that is in it, exclusive.
	LedgerUntil time.Time       `json:"ledger_until"`
	Position    json.RawMessage `json:"position,omitempty"` // in the ledger's feed
	Encrypted   []string        `json:"encrypted,omitempty"`
	Days        []Day           `json:"days"`
	States      []State         `json:"states"`
	// LeftOut says in words what is not in it.
	LeftOut []string `json:"left_out"`
}

// Day is one day of one group of measurements.
type Day struct {
	Database string `json:"database"`
	Group    string `json:"group"`
	Date     Date   `json:"date"`
	Parts    []Part `json:"parts"`
	File     File   `json:"file"`
}

// Key tells days apart.
func (d Day) Key() string { return d.Database + "/" + d.Group + "/" + string(d.Date) }

// Points counts those of all measurements.
func (d Day) Points() (n int64) {
	for _, p := range d.Parts {
		n += p.Points
	}
	return n
}

// Part is what a day has of one measurement.
type Part struct {
	Measurement string `json:"measurement"`
	Points      int64  `json:"points"`
	Values      int64  `json:"values"` // of fields; what InfluxDB counts
	From        int64  `json:"from"`   // time of the first point, in nanoseconds
	To          int64  `json:"to"`     // of the last
	// Digest is of the points in any order: two servers that sort differently
	// agree on it.
	Digest string `json:"digest"`
}

// State is a file of a role.
type State struct {
	Role string `json:"role"`
	Path string `json:"path"` // below the data directory, with slashes
	// Secret files are in a backup only when it is encrypted.
	Secret bool `json:"secret,omitempty"`
	File   File `json:"file"`
}

// sealedSuffix is that of secrets which their role had encrypted before it gave
// them away; they are encrypted once more than the rest.
const sealedSuffix = ".age"

// Sealed is the path of a secret that its role has encrypted.
func Sealed(path string) string { return path + sealedSuffix }

// IsSealed tells whether the role had encrypted it.
func (s State) IsSealed() bool { return s.Secret && strings.HasSuffix(s.Path, sealedSuffix) }

// Target is where it belongs, below the data directory.
func (s State) Target() string {
	if s.IsSealed() {
		return strings.TrimSuffix(s.Path, sealedSuffix)
	}
	return s.Path
}

// File is an object and what is in it.
type File struct {
	Object     string `json:"object"` // SHA-256 of the bytes that are stored, hex
	Bytes      int64  `json:"bytes"`  // that are stored
	Plain      string `json:"plain"`  // SHA-256 of the content
	PlainBytes int64  `json:"plain_bytes"`
}

// Name is that of the object in a store.
func (f File) Name() string { return ObjectPrefix + f.Object[:2] + "/" + f.Object }

// Files lists all objects that the backup needs, each once.
func (m *Manifest) Files() []File {
	var files []File
	seen := make(map[string]bool)
	add := func(f File) {
		if !seen[f.Object] {
			seen[f.Object] = true
			files = append(files, f)
		}
	}
	for _, d := range m.Days {
		add(d.File)
	}
	for _, s := range m.States {
		add(s.File)
	}
	return files
}

// Bytes sums up what the backup takes in a store, shared or not.
func (m *Manifest) Bytes() (n int64) {
	for _, f := range m.Files() {
		n += f.Bytes
	}
	return n
}

// Points counts those of all days.
func (m *Manifest) Points() (n int64) {
	for _, d := range m.Days {
		n += d.Points()
	}
	return n
}

// NewID makes the id of a backup.
func NewID(at time.Time, random string) string {
	return at.UTC().Format("20060102T150405Z") + "-" + random
}

// Encode gives the manifest as it is stored, and the name that says so.
func (m *Manifest) Encode() (name string, stored []byte, err error) {
	text, err := json.Marshal(m)
	if err != nil {
		return "", nil, fmt.Errorf("encode the manifest of %s: %w", m.ID, err)
	}
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return "", nil, err
	}
	_, err = w.Write(text)
	if err = errors.Join(err, w.Close()); err != nil {
		return "", nil, fmt.Errorf("compress the manifest of %s: %w", m.ID, err)
	}
	sum := sha256.Sum256(out.Bytes())
	return fmt.Sprintf("%s%010d-%s-%s.json.zst", ManifestPrefix, m.Sequence, m.ID, hex.EncodeToString(sum[:])), out.Bytes(), nil
}

// Entry is what the name of a manifest says.
type Entry struct {
	Name     string
	Sequence int64
	ID       string
	Time     time.Time
	sum      string
}

var manifestName = regexp.MustCompile(`^backups/([0-9]{10,18})-([0-9]{8}T[0-9]{6}Z-[0-9a-f]{8})-([0-9a-f]{64})\.json\.zst$`)

// ParseEntry reads the name of a manifest; ok is false for other names.
func ParseEntry(name string) (e Entry, ok bool) {
	found := manifestName.FindStringSubmatch(name)
	if found == nil {
		return Entry{}, false
	}
	e = Entry{Name: name, ID: found[2], sum: found[3]}
	if _, err := fmt.Sscanf(found[1], "%d", &e.Sequence); err != nil {
		return Entry{}, false
	}
	at, err := time.Parse("20060102T150405Z", e.ID[:strings.IndexByte(e.ID, '-')])
	e.Time = at
	return e, err == nil
}

// Decode reads the manifest of that name. What is wrong with it wraps
// [ErrDamaged], but for one of a newer format.
func (e Entry) Decode(r io.Reader) (*Manifest, error) {
	stored, err := io.ReadAll(io.LimitReader(r, maxManifest))
	if err != nil {
		return nil, fmt.Errorf("read the manifest of %s: %w", e.ID, err)
	}
	if sum := sha256.Sum256(stored); hex.EncodeToString(sum[:]) != e.sum {
		return nil, fmt.Errorf("the manifest of %s: %w: %d bytes that are not those that were written", e.ID, ErrDamaged, len(stored))
	}
	d, err := zstd.NewReader(bytes.NewReader(stored), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxManifest))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	text, err := io.ReadAll(io.LimitReader(d, maxManifest))
	if err != nil {
		return nil, fmt.Errorf("the manifest of %s: %w: %w", e.ID, ErrDamaged, err)
	}
	m := &Manifest{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("the manifest of %s: %w: %w", e.ID, ErrDamaged, err)
	}
	return m, m.check(e)
}

var objectName = regexp.MustCompile(`^[0-9a-f]{64}$`)

// check refuses what could harm: names that lead elsewhere, days that are none.
func (m *Manifest) check(e Entry) error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("the manifest of %s: %w: %s", e.ID, ErrDamaged, fmt.Sprintf(format, args...))
	}
	switch {
	case m.Format > Version:
		return fmt.Errorf("the backup %s has format %d, and this program reads up to %d: restore it with a newer Wattline", e.ID, m.Format, Version)
	case m.ID != e.ID || m.Sequence != e.Sequence:
		return wrong("it is that of %.60q", m.ID)
	}
	for _, f := range m.Files() {
		if !objectName.MatchString(f.Object) || f.Bytes < 0 || f.PlainBytes < 0 {
			return wrong("%.80q is no object", f.Object)
		}
	}
	for _, d := range m.Days {
		if _, _, err := d.Date.Bounds(); err != nil || d.Database == "" {
			return wrong("%.80q is no day", d.Key())
		}
	}
	for _, s := range m.States {
		if !IsStatePath(s.Path) {
			return wrong("%.80q is no file of a site", s.Path)
		}
	}
	return nil
}

var statePath = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]*(/[a-z0-9][a-z0-9_.-]*)*$`)

// IsStatePath tells paths that stay below the data directory.
func IsStatePath(path string) bool {
	return len(path) <= 200 && statePath.MatchString(path) && !strings.Contains(path, "..")
}
