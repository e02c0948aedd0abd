package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"

	"github.com/ciaocloud/ciao/cluster"
)

// decode reads one YAML document strictly.
func decode(name string, data []byte, into any) error {
	decoder := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict())
	err := decoder.Decode(into)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w: the file is empty", name, cluster.ErrInvalid)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, cluster.ErrInvalid, yamlProblem(err))
	}
	if err := decoder.Decode(new(any)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w: the file must hold one YAML document", name, cluster.ErrInvalid)
	}
	return nil
}

// yamlProblem is the library's message with its position first and without the quoted source.
func yamlProblem(err error) string {
	var located yaml.Error
	if !errors.As(err, &located) || located.GetToken() == nil {
		return err.Error()
	}
	at := located.GetToken().Position
	return fmt.Sprintf("line %d, column %d: %s", at.Line, at.Column, located.GetMessage())
}

// checkVersion refuses a file of another version before the strict decoding, whose complaints about unknown keys would mislead.
func checkVersion(name string, data []byte) error {
	var head struct {
		APIVersion string `yaml:"api_version"`
	}
	if err := yaml.Unmarshal(data, &head); err != nil {
		return fmt.Errorf("%s: %w: %s", name, cluster.ErrInvalid, yamlProblem(err))
	}
	switch {
	case head.APIVersion == Version:
		return nil
	case head.APIVersion == "":
		return fmt.Errorf("%s: %w: api_version is missing; this program reads %s", name, cluster.ErrInvalid, Version)
	default:
		return fmt.Errorf("%s: %w: the file is of version %q and this program reads %s; use a program as new as the file",
			name, cluster.ErrInvalid, head.APIVersion, Version)
	}
}

// locate adds line and column to the problems of a validation.
func locate(name string, data []byte, err error) error {
	var problems cluster.Problems
	if !errors.As(err, &problems) {
		return fmt.Errorf("%s: %w", name, err)
	}
	file, parseErr := parser.ParseBytes(data, 0)
	lines := make([]string, len(problems))
	for i, problem := range problems {
		lines[i] = problem.Error()
		if parseErr != nil {
			continue
		}
		path, pathErr := yaml.PathString("$." + problem.Path)
		if pathErr != nil {
			continue
		}
		if node, filterErr := path.FilterFile(file); filterErr == nil && node != nil {
			at := node.GetToken().Position
			lines[i] = fmt.Sprintf("line %d, column %d: %s", at.Line, at.Column, problem.Error())
		}
	}
	return fmt.Errorf("%s: %w: %s", name, cluster.ErrInvalid, strings.Join(lines, "; "))
}
