package launcher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// maintenanceFile is there while the node is to take nothing new, so that a restarted launcher does not forget it.
func maintenanceFile(directory string) string { return filepath.Join(directory, "maintenance") }

func readMaintenance(directory string) (bool, error) {
	_, err := os.Stat(maintenanceFile(directory))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look whether the node is in maintenance: %w", err)
	}
	return true, nil
}

// setMaintenance has the node take nothing new, or again; what it has is the controller's to move. The cluster is told in any case: the
// controller repeats the command until it knows.
func (l *Launcher) setMaintenance(wanted bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if wanted != l.maintenance {
		if err := l.keepMaintenance(wanted); err != nil {
			return err
		}
		l.maintenance = wanted
		l.logger.Info("maintenance", "wanted", wanted)
	}
	l.outbox.statusChanged()
	return nil
}

func (l *Launcher) keepMaintenance(wanted bool) error {
	file := maintenanceFile(l.config.Directory)
	if wanted {
		return writeFile(file, nil, true)
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("end the node's maintenance: %w", err)
	}
	return nil
}
