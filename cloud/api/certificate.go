package api

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/wattline/wattline/shared/pki"
)

// lookEvery is how often the files of a certificate are looked at, so that a
// renewed one is served without a restart.
const lookEvery = 10 * time.Second

// fileCertificate is the server's certificate, from files. Safe for concurrent
// use.
type fileCertificate struct {
	files pki.Files
	log   *slog.Logger

	mu      sync.Mutex // protects the fields below
	current *tls.Certificate
	changed time.Time // when the newer of the files was written
	looked  time.Time
}

// openCertificate reads the files, which must be right the first time.
func openCertificate(t TLS, log *slog.Logger) (*fileCertificate, error) {
	f := &fileCertificate{files: pki.Files{Cert: t.Cert, Key: t.Key}, log: log, looked: time.Now()}
	f.changed = f.written()
	pair, err := f.files.Pair()
	if err != nil {
		return nil, fmt.Errorf("http.tls: %w", err)
	}
	f.current = pair
	return f, nil
}

// written is when the newer of the files was written.
func (f *fileCertificate) written() (at time.Time) {
	for _, name := range []string{f.files.Cert, f.files.Key} {
		if info, err := os.Stat(name); err == nil && info.ModTime().After(at) {
			at = info.ModTime()
		}
	}
	return at
}

// Get gives the certificate in force; one that cannot be read leaves that before.
func (f *fileCertificate) Get() (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) < lookEvery {
		return f.current, nil
	}
	f.looked = time.Now()
	at := f.written()
	if at.Equal(f.changed) {
		return f.current, nil
	}
	pair, err := f.files.Pair()
	if err != nil {
		f.log.Warn("new certificate not taken, the one before goes on", slog.Any("err", err))
		return f.current, nil
	}
	f.current, f.changed = pair, at
	f.log.Info("new certificate taken", slog.String("source", f.files.Cert))
	return f.current, nil
}
