package registry

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/cloud/registry/audit"
	"github.com/wattline/wattline/cloud/registry/enrolment"
	"github.com/wattline/wattline/cloud/registry/tokens"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
)

const (
	folder   = "registry" // below the data directory; the site's authority is there too
	fileName = "registry.db"
	lockWait = time.Second
)

// The buckets of the registry itself. Values are JSON.
var (
	bucketMeta     = []byte("registry")
	bucketGateways = []byte("gateways")
	bucketPlaces   = []byte("places") // by id with the floor spelled out
	bucketPlugs    = []byte("plugs")
	bucketGone     = []byte("gone")
	bucketVersions = []byte("versions") // of the gateways' configurations

	keySite     = []byte("site")
	keyRevision = []byte("revision")
	keyImported = []byte("imported")
)

// Store is the registry in its file. Everything is in memory too, so that it can
// be read at once; it is changed in transactions, one at a time, each on the disk
// before it counts. Safe for concurrent use.
type Store struct {
	path  string
	db    *bbolt.DB
	log   *slog.Logger
	rooms map[string]Room
	trust truster
	audit *audit.Store
	// people are the tokens, which a new site needs before anybody can ask.
	people *tokens.Store

	said hook.Sparing // what is logged again and again

	writing sync.Mutex // held by whoever changes the registry

	mu       sync.RWMutex // protects the fields below; taken after writing
	state    *state
	heard    map[string]beat    // of the gateways that are registered
	unsaved  map[string]bool    // plugs that were only seen again
	budgets  map[string]*budget // changes that gateways cause; under writing
	versions map[string]version
	imported string // hash of the inventory that was imported first
}

// Open opens the registry below a data directory and makes it if need be. The
// error says what to do: it wraps [ErrLocked] or [ErrDamaged] where that is why.
func Open(data string, log *slog.Logger) (*Store, error) {
	dir := filepath.Join(data, folder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the registry: %w", err)
	}
	s := &Store{
		path: filepath.Join(dir, fileName), log: log, state: newState(), heard: make(map[string]beat),
		unsaved: make(map[string]bool), budgets: make(map[string]*budget), versions: make(map[string]version),
	}
	var file *os.File
	err := guard(func() (err error) {
		s.db, err = bbolt.Open(s.path, 0o600, &bbolt.Options{
			Timeout: lockWait, FreelistType: bbolt.FreelistMapType,
			OpenFile: func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
				file, err = os.OpenFile(name, flag, mode)
				return file, err
			},
		})
		if err != nil {
			return inWords(err)
		}
		if err := s.checkLength(); err != nil {
			return err
		}
		if err := s.load(); err != nil {
			return err
		}
		s.state.settle()
		return s.furnish(dir)
	})
	if err != nil && s.db == nil && file != nil {
		// bbolt 1.5.0 panics on some damage and leaves the lock, which its mapping of
		// the file would keep beyond the closing.
		_ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN)
		_ = file.Close()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", s.path, err), s.Close())
	}
	s.takeOver(filepath.Join(data, versionsFile))
	return s, nil
}

// Exists tells whether there is a registry below a data directory, so that no
// first inventory is needed.
func Exists(data string) bool {
	_, err := os.Stat(filepath.Join(data, folder, fileName))
	return err == nil
}

// furnish opens the rooms.
func (s *Store) furnish(dir string) (err error) {
	if s.audit, err = audit.Open(s.db); err != nil {
		return err
	}
	if s.people, err = tokens.Open(s.db); err != nil {
		return err
	}
	trust, err := enrolment.Open(s.db, enrolment.Options{
		Dir: dir, Note: s.audit.Note,
		Known: func(tx *bbolt.Tx, gateway string) bool { return tx.Bucket(bucketGateways).Get([]byte(gateway)) != nil },
	}, s.log)
	if err != nil {
		return err
	}
	s.trust = trust
	s.rooms = map[string]Room{"audit": s.audit, "tokens": s.people, "enrolment": trust}
	return nil
}

// counts tells how many places, gateways and plugs there are.
func (s *Store) counts() (places, gateways, plugs int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.state.places), len(s.state.gateways), len(s.state.plugs)
}

// Tokens is the room of people's tokens.
func (s *Store) Tokens() *tokens.Store { return s.people }

// load makes the buckets of a new file and reads everything into memory.
func (s *Store) load() error {
	missing := errors.New("missing")
	err := s.db.View(func(tx *bbolt.Tx) error {
		if tx.Bucket(bucketVersions) == nil { // the last one that is made
			return missing
		}
		return s.read(tx)
	})
	if !errors.Is(err, missing) {
		return err
	}
	return s.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketMeta, bucketGateways, bucketPlaces, bucketPlugs, bucketGone, bucketVersions} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return fmt.Errorf("make bucket %s: %w", name, err)
			}
		}
		return s.read(tx)
	})
}

func (s *Store) read(tx *bbolt.Tx) error {
	meta := tx.Bucket(bucketMeta)
	if revision := meta.Get(keyRevision); len(revision) == 8 {
		s.state.revision = binary.BigEndian.Uint64(revision)
	}
	s.imported = string(meta.Get(keyImported))
	if text := meta.Get(keySite); text != nil {
		site := &contract.Site{}
		if err := decode(bucketMeta, keySite, text, site); err != nil {
			return err
		}
		s.state.site = site
	}
	return cmp.Or(
		each(tx, bucketGateways, func(key string, g *gateway, _ []byte) { s.state.gateways[key] = g }),
		each(tx, bucketPlaces, func(_ string, p *contract.Place, text []byte) {
			s.state.setPlace(s.state.full(p.Device), p, append([]byte(nil), text...))
		}),
		each(tx, bucketPlugs, func(key string, p *plug, _ []byte) { s.state.setPlug(key, p) }),
		each(tx, bucketGone, func(key string, g *gone, _ []byte) { s.state.gone[key] = *g }),
		each(tx, bucketVersions, func(key string, v *version, _ []byte) { s.versions[key] = *v }),
	)
}

// each reads all of a bucket.
func each[T any](tx *bbolt.Tx, bucket []byte, take func(key string, value *T, text []byte)) error {
	b := tx.Bucket(bucket)
	if b == nil {
		return fmt.Errorf("%w (the bucket %s is missing)", ErrDamaged, bucket)
	}
	return b.ForEach(func(k, v []byte) error {
		value := new(T)
		if err := decode(bucket, k, v, value); err != nil {
			return err
		}
		take(string(k), value, v)
		return nil
	})
}

func decode(bucket, key, text []byte, into any) error {
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%w (%s %s: %w)", ErrDamaged, bucket, key, err)
	}
	return nil
}

// Close closes the file; what was only seen since the last minute is saved. It
// may be called twice.
func (s *Store) Close() error {
	if s.db == nil {
		return nil
	}
	s.saveSeen()
	return guard(s.db.Close)
}

// Init makes the registry of a new site below a data directory. A site that has
// one already is not touched.
func Init(data string, site contract.Site, who string, log *slog.Logger) (*Store, error) {
	s, err := Open(data, log)
	if err != nil {
		return nil, err
	}
	content, err := json.Marshal(site)
	if err == nil {
		if s.state.site != nil {
			err = fmt.Errorf("%s has a site already: %s", s.path, cmp.Or(s.state.site.Name, "without a name"))
		} else if answer := s.Answer(context.Background(), siteResource, contract.RegistryRequest{Verb: "create", Who: who, Content: content}); answer.Problem != nil {
			err = fmt.Errorf("make the site: %s", describeProblem(answer.Problem))
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// describeProblem is a problem with its mistakes, in words.
func describeProblem(p *contract.Problem) string {
	texts := []string{p.Detail}
	for _, m := range p.Mistakes {
		texts = append(texts, m.Field+": "+m.Detail)
	}
	return strings.Join(texts, "; ")
}

func micros() device.Micros { return device.MicrosOf(time.Now()) }
