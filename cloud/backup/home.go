package backup

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Folder has what is the backup's own, below the data directory.
const Folder = "backup"

const homeFile = "home.json"

// Home is what a site remembers of its backups, beside its data.
type Home struct {
	// Site is the site's name in stores; a restored site goes on with it.
	Site string `json:"site"`
	// Line is drawn for each life of the data: a restored site has another.
	Line string `json:"line"`
	// Stores are the ids of stores that were begun, by where they are.
	Stores map[string]string `json:"stores,omitempty"`
	// Damaged are objects that were found damaged; what is in them is copied
	// again.
	Damaged []string `json:"damaged,omitempty"`
}

// LoadHome reads it. New tells that there was none, and that what is given is
// newly drawn and not kept yet.
func LoadHome(data string) (h Home, isNew bool, err error) {
	path := filepath.Join(data, Folder, homeFile)
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Home{Site: draw(8), Line: draw(8), Stores: map[string]string{}}, true, nil
	case err != nil:
		return h, false, fmt.Errorf("read what is known of backups: %w", err)
	}
	if err := json.Unmarshal(text, &h); err != nil || h.Site == "" || h.Line == "" {
		return h, false, fmt.Errorf("%s is damaged: move it away and adopt the store with wattline-cloud backup -adopt (%w)", path, err)
	}
	if h.Stores == nil {
		h.Stores = map[string]string{}
	}
	return h, false, nil
}

// Save keeps it.
func (h Home) Save(data string) error {
	text, err := json.MarshalIndent(h, "", "  ")
	if err == nil {
		err = WriteFile(filepath.Join(data, Folder, homeFile), append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("keep what is known of backups: %w", err)
	}
	return nil
}

// Renew is for a site whose data were restored: no day is taken for unchanged.
func (h Home) Renew(site string) Home {
	h.Line = draw(8)
	if site != "" {
		h.Site = site
	}
	return h
}

// MarkDamaged remembers that objects are damaged, so that the next backup copies
// again what is in them.
func MarkDamaged(data string, objects []string) error {
	home, isNew, err := LoadHome(data)
	if err != nil || isNew || len(objects) == 0 {
		return err
	}
	home.Damaged = append(home.Damaged, objects...)
	slices.Sort(home.Damaged)
	home.Damaged = slices.Compact(home.Damaged)
	return home.Save(data)
}

// WriteFile puts a file in place, whole and for good, readable by its owner alone.
// The directories above are made.
func WriteFile(path string, content []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*.new")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone by then, unless something failed
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return Place(f.Name(), path)
}

// Place renames a file that is on the disk, for good.
func Place(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func draw(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}
