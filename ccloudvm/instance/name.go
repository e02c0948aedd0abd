package instance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/workload"
)

// namePattern is what both an instance and the host name of its guest can be called (RFC 1123).
var namePattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

// CheckName refuses what cannot be the name of an instance.
func CheckName(name string) error {
	if !namePattern.MatchString(name) {
		return &ccloudvm.Error{Class: ccloudvm.ErrInvalid,
			Text: fmt.Sprintf("%q cannot be an instance's name: use 1 to 63 letters, digits and dashes, with no dash at either end", name)}
	}
	return nil
}

// Names are the instances there are, sorted, whatever state they are in.
func (m *Manager) Names() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(m.Layout.State, instancesDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, hostError("the instances cannot be listed", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && namePattern.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Resolve is the instance that is meant by name; an empty name means the only one there is.
func (m *Manager) Resolve(name string) (string, error) {
	names, err := m.Names()
	if err != nil {
		return "", err
	}
	switch {
	case name != "":
		if err := CheckName(name); err != nil {
			return "", err
		}
		if !slices.Contains(names, name) {
			return "", m.notFound(name)
		}
		return name, nil
	case len(names) == 1:
		return names[0], nil
	case len(names) == 0:
		return "", &ccloudvm.Error{Class: ccloudvm.ErrNotFound, Text: "there are no instances: make one with `ccloudvm create debian-12`"}
	default:
		return "", &ccloudvm.Error{Class: ccloudvm.ErrInvalid, Text: "say which instance: there are " + strings.Join(names, ", ")}
	}
}

func (m *Manager) notFound(name string) error {
	names, _ := m.Names()
	text := fmt.Sprintf("there is no instance %q", name)
	if near := workload.Nearest(name, names); len(near) > 0 {
		text += ": did you mean " + strings.Join(near, " or ") + "?"
	} else if len(names) > 0 {
		text += ": there are " + strings.Join(names, ", ")
	} else {
		text += ": there are none (make one with `ccloudvm create debian-12`)"
	}
	return &ccloudvm.Error{Class: ccloudvm.ErrNotFound, Text: text}
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9]+`)

// chooseName is the name that was asked for, if it is free, or one made of the workload's: ciao, ciao-2, ciao-3, …
func chooseName(asked, ref string, taken []string) (string, error) {
	if asked != "" {
		if err := CheckName(asked); err != nil {
			return "", err
		}
		if slices.Contains(taken, asked) {
			return "", &ccloudvm.Error{Class: ccloudvm.ErrExists,
				Text: fmt.Sprintf("there is an instance %s already: choose another --name, or delete it with `ccloudvm delete %s`", asked, asked)}
		}
		return asked, nil
	}
	base := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(ref), ".yaml"), ".yml")
	base = strings.Trim(notInName.ReplaceAllString(base, "-"), "-")
	base = strings.Trim(base[:min(len(base), 50)], "-")
	if base == "" {
		base = "vm"
	}
	name := base
	for i := 2; slices.Contains(taken, name); i++ {
		name = base + "-" + strconv.Itoa(i)
	}
	return name, nil
}
