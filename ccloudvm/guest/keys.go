package guest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Key is an ed25519 key pair in OpenSSH's formats.
type Key struct {
	PrivatePEM string // "-----BEGIN OPENSSH PRIVATE KEY-----..."; a secret
	PublicLine string // "ssh-ed25519 AAAA... comment", without a newline

	Signer ssh.Signer
}

// GenerateKey makes a new key.
func GenerateKey(comment string) (Key, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Key{}, err
	}
	block, err := ssh.MarshalPrivateKey(private, comment)
	if err != nil {
		return Key{}, err
	}
	return ParseKey(pem.EncodeToMemory(block), comment)
}

// ParseKey reads a private key without a passphrase.
func ParseKey(privatePEM []byte, comment string) (Key, error) {
	signer, err := ssh.ParsePrivateKey(privatePEM)
	if err != nil {
		return Key{}, fmt.Errorf("reading an SSH key: %w", err)
	}
	line := strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(signer.PublicKey())), "\n")
	if comment != "" {
		line += " " + comment
	}
	return Key{PrivatePEM: string(privatePEM), PublicLine: line, Signer: signer}, nil
}

// EnsureKey reads the key at path, or makes it there (mode 0600, with the public half in path.pub).
func EnsureKey(path, comment string) (Key, error) {
	b, err := os.ReadFile(path)
	if err == nil {
		k, err := ParseKey(b, comment)
		if err != nil {
			return Key{}, fmt.Errorf("%s: %w", path, err)
		}
		return k, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return Key{}, err
	}
	k, err := GenerateKey(comment)
	if err != nil {
		return Key{}, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return Key{}, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return Key{}, err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(k.PrivatePEM)
	if err := errors.Join(err, f.Close()); err != nil {
		return Key{}, err
	}
	// Link, not rename: of two who make the key at once, the second takes the first one's.
	if err := os.Link(f.Name(), path); errors.Is(err, fs.ErrExist) {
		return EnsureKey(path, comment)
	} else if err != nil {
		return Key{}, err
	}
	return k, os.WriteFile(path+".pub", []byte(k.PublicLine+"\n"), 0o644)
}
