package cnci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
)

// stateFile holds the newest wanted state, encoded as it came.
const stateFile = "wanted.cbor"

// load reads the stored state; nil when there is none.
func load(directory string) (*payload.Concentrator, error) {
	path := filepath.Join(directory, stateFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the stored state: %w: %w", cluster.ErrUnavailable, err)
	}
	state, err := payload.Decode[payload.Concentrator](data)
	if err != nil {
		return nil, fmt.Errorf("the stored state %s is damaged: %w", path, err)
	}
	return &state, nil
}

// store replaces the stored state: whole on disk before its name is given to it.
func store(directory string, state *payload.Concentrator) error {
	data, err := payload.Encode(state)
	if err != nil {
		return err
	}
	if err := replace(directory, data); err != nil {
		return cluster.DiskFull(directory, fmt.Errorf("store the wanted state: %w: %w", cluster.ErrUnavailable, err))
	}
	return nil
}

func replace(directory string, data []byte) error {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	path := filepath.Join(directory, stateFile)
	file, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
