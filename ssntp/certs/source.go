package certs

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
)

// Source reads the files again at every call, so that a renewed certificate
// takes effect without a restart. It fits the Certificate field of ssntp's
// configurations. While the two are being replaced, one after the other, they
// do not belong together: the pair that was read last is used then. That is told
// to the logger (nil: to nobody) once for each change of the files, for one that
// is not mended goes unnoticed until the pair in use expires. It may be called
// concurrently.
func Source(certFile, keyFile string, logger *slog.Logger) func() (*tls.Certificate, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	s := &source{certFile: certFile, keyFile: keyFile, logger: logger}
	return s.read
}

type source struct {
	certFile, keyFile string
	logger            *slog.Logger

	mu   sync.Mutex
	last *tls.Certificate // that could be used
	bad  []fs.FileInfo    // of the files that were told of
}

func (s *source) read() (*tls.Certificate, error) {
	now := s.look()
	pair, err := Load(s.certFile, s.keyFile)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.last, s.bad = pair.TLS(), nil
		return s.last, nil
	}
	if s.last == nil || errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if !sameFiles(now, s.bad) {
		s.bad = now
		s.logger.Warn("the certificate and the key in the files cannot be used; those that were there before are, until they expire",
			"certificate", s.certFile, "key", s.keyFile, "expires", s.last.Leaf.NotAfter, "error", err)
	}
	return s.last, nil
}

// look is how the files are now; one that has gone meanwhile is nil.
func (s *source) look() []fs.FileInfo {
	certificate, _ := os.Stat(s.certFile)
	key, _ := os.Stat(s.keyFile)
	return []fs.FileInfo{certificate, key}
}

func sameFiles(a, b []fs.FileInfo) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !sameFile(a[i], b[i]) {
			return false
		}
	}
	return true
}

// sameFile says whether a file has not been replaced or written to.
func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
