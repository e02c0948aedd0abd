package seed

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Problem is one thing wrong with cloud-config, at a place in it.
type Problem struct {
	Line, Column int    // from 1
	Field        string // such as "runcmd[2]", or "" for the whole
	Text         string
}

func (p *Problem) Error() string {
	if p.Field == "" {
		return fmt.Sprintf("cloud-config, line %d, column %d: %s", p.Line, p.Column, p.Text)
	}
	return fmt.Sprintf("cloud-config, line %d, column %d: %s %s", p.Line, p.Column, p.Field, p.Text)
}

// IsCloudConfig tells whether user data is cloud-config by its first line.
func IsCloudConfig(userData []byte) bool {
	first, _, _ := bytes.Cut(userData, []byte("\n"))
	return strings.TrimRight(string(first), " \t\r") == "#cloud-config"
}

// shape is a set of node kinds.
type shape uint8

const (
	text shape = 1 << iota
	flag
	list
	mapping
)

func (s shape) String() string {
	var names []string
	for i, name := range []string{"text", "true or false", "a list", "a mapping"} {
		if s&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " or ")
}

// shapes are the top-level keys whose wrong type cloud-init answers with a machine that is set up in part, in silence. Keys that
// are not here are left to cloud-init.
func shapes() map[string]shape {
	return map[string]shape{
		"apt": mapping, "bootcmd": list, "ca_certs": mapping, "chpasswd": mapping, "datasource": mapping, "datasource_list": list,
		"disable_root": flag, "disk_setup": mapping, "final_message": text, "fqdn": text, "fs_setup": list,
		"groups": text | list | mapping, "growpart": mapping, "hostname": text, "locale": text | flag, "manage_etc_hosts": flag | text,
		"mounts": list, "ntp": mapping, "output": mapping, "package_reboot_if_required": flag, "package_update": flag,
		"package_upgrade": flag, "packages": list, "phone_home": mapping, "power_state": mapping, "preserve_hostname": flag,
		"reporting": mapping, "resize_rootfs": flag | text, "rsyslog": mapping, "runcmd": list, "snap": mapping,
		"ssh_authorized_keys": list, "ssh_deletekeys": flag, "ssh_genkeytypes": list, "ssh_import_id": list, "ssh_keys": mapping,
		"ssh_pwauth": flag | text, "swap": mapping, "timezone": text, "user": text | mapping, "users": list | text | mapping,
		"write_files": list, "yum_repos": mapping,
	}
}

// Validate checks cloud-config: it must be YAML, a mapping, and the well-known keys must have their types. The error joins every
// [*Problem] found.
func Validate(cloudConfig []byte) error {
	file, err := parser.ParseBytes(cloudConfig, 0)
	if err != nil {
		return syntax(err)
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return nil // nothing but comments: an empty configuration
	}
	if len(file.Docs) > 1 {
		return at(file.Docs[1].Body, "", "a second document begins; cloud-config has one")
	}
	root, ok := file.Docs[0].Body.(ast.MapNode)
	if !ok {
		return at(file.Docs[0].Body, "", "must be a mapping of keys to values")
	}
	if err := decodes(cloudConfig); err != nil {
		return err
	}
	return check(root)
}

// decodes finds what only decoding finds, such as keys given twice.
func decodes(b []byte) error {
	var v map[string]any
	if err := yaml.Unmarshal(b, &v); err != nil {
		return syntax(err)
	}
	return nil
}

func check(root ast.MapNode) error {
	var errs []error
	known := shapes()
	for i := root.MapRange(); i.Next(); {
		key, value := i.Key().String(), i.Value()
		want, ok := known[key]
		if !ok || kind(value) == 0 {
			continue
		}
		if kind(value)&want == 0 {
			errs = append(errs, at(value, key, "must be "+want.String()))
			continue
		}
		switch key {
		case "runcmd", "bootcmd":
			errs = append(errs, checkCommands(key, value)...)
		case "write_files":
			errs = append(errs, checkFiles(value)...)
		}
	}
	return errors.Join(errs...)
}

// checkCommands refuses what cloud-init's shellify refuses, which would drop all commands: an item that is neither a line of
// shell nor a list of words.
func checkCommands(key string, n ast.Node) (errs []error) {
	for i, item := range items(n) {
		field := fmt.Sprintf("%s[%d]", key, i)
		switch k := kind(item); {
		case k&(text|list) == 0 && item.Type() != ast.NullType:
			errs = append(errs, at(item, field, "must be a line of shell or a list of words (quote it if it contains a colon followed by a space)"))
		case k == list:
			for j, word := range items(item) {
				if kind(word)&(text|flag) == 0 {
					errs = append(errs, at(word, fmt.Sprintf("%s[%d]", field, j), "must be text"))
				}
			}
		}
	}
	return errs
}

func checkFiles(n ast.Node) (errs []error) {
	for i, item := range items(n) {
		field := fmt.Sprintf("write_files[%d]", i)
		m, ok := item.(ast.MapNode)
		if !ok {
			errs = append(errs, at(item, field, "must be a mapping"))
			continue
		}
		found := false
		for j := m.MapRange(); j.Next(); {
			found = found || j.Key().String() == "path"
		}
		if !found {
			errs = append(errs, at(item, field, "has no path"))
		}
	}
	return errs
}

func items(n ast.Node) []ast.Node {
	if s, ok := n.(*ast.SequenceNode); ok {
		return s.Values
	}
	return nil
}

// kind returns the shape of a node; 0 for null and for what cannot be told without resolving it (aliases).
func kind(n ast.Node) shape {
	switch n.Type() {
	case ast.StringType, ast.LiteralType, ast.IntegerType, ast.FloatType:
		return text
	case ast.BoolType:
		return flag
	case ast.SequenceType:
		return list
	case ast.MappingType, ast.MappingValueType:
		return mapping
	}
	return 0
}

func at(n ast.Node, field, text string) error {
	p := &Problem{Line: 1, Column: 1, Field: field, Text: text}
	if n != nil && n.GetToken() != nil && n.GetToken().Position != nil {
		p.Line, p.Column = n.GetToken().Position.Line, n.GetToken().Position.Column
	}
	return p
}

func syntax(err error) error {
	var e yaml.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("cloud-config: %w", err)
	}
	p := &Problem{Line: 1, Column: 1, Text: e.GetMessage()}
	if t := e.GetToken(); t != nil && t.Position != nil {
		p.Line, p.Column = t.Position.Line, t.Position.Column
	}
	return p
}
