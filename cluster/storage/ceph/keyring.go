package ceph

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/storage"
)

// readKey reads a user's key from a keyring, a file of sections with lines "key = BASE64".
func readKey(path, user string) (storage.Key, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%w: the keyring cannot be read: %w", cluster.ErrInvalid, err)
	}
	key := findKey(string(data), "client."+user)
	if decoded, err := base64.StdEncoding.DecodeString(key); err != nil || len(decoded) == 0 {
		return "", fmt.Errorf("%w: the keyring %s has no key of client.%s; `ceph auth get client.%s` shows it", cluster.ErrInvalid, path, user, user)
	}
	return storage.Key(key), nil
}

func findKey(text, entity string) string {
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if name, is := strings.CutPrefix(line, "["); is {
			section = strings.TrimSuffix(name, "]")
		}
		if name, value, is := strings.Cut(line, "="); is && section == entity && strings.TrimSpace(name) == "key" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
