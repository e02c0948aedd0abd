package guest

import (
	"maps"
	"slices"
	"strings"
)

// environment encodes variables as words NAME=VALUE, each followed by a blank.
func environment(env map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(env)) {
		b.WriteString(quote(name+"="+env[name]) + " ")
	}
	return b.String()
}

// isAuthFailure recognises a refused login, for which x/crypto/ssh has no type on the client's side.
func isAuthFailure(err error) bool { return strings.Contains(err.Error(), "unable to authenticate") }
