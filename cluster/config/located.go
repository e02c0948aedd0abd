package config

import (
	"encoding"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// located is a value that is written as text of its own form; an error in it says where in the file it is.
type located[T any, P interface {
	*T
	encoding.TextUnmarshaler
}] struct{ value T }

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (l *located[T, P]) UnmarshalYAML(node ast.Node) error {
	token := node.GetToken()
	if _, scalar := node.(ast.ScalarNode); !scalar {
		return &yaml.SyntaxError{Message: "one value is wanted here, not a list or more keys", Token: token}
	}
	if err := P(&l.value).UnmarshalText([]byte(token.Value)); err != nil {
		return &yaml.SyntaxError{Message: err.Error(), Token: token}
	}
	return nil
}
