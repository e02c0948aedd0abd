package workload

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// parseYAML parses an expanded document; an empty one is nil.
func parseYAML(r rendered) (body ast.Node, err error) {
	defer func() {
		if v := recover(); v != nil { // the parser is not written for hostile input
			body, err = nil, Problems{{Position{File: r.file}, "", fmt.Sprintf("not YAML: %v", v)}}
		}
	}()
	file, err := parser.ParseBytes([]byte(r.text), 0)
	if err != nil {
		return nil, yamlProblem(r, err)
	}
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.NullType && doc.Body.Type() != ast.CommentType {
			bodies = append(bodies, doc.Body)
		}
	}
	switch len(bodies) {
	case 0:
		return nil, nil
	case 1:
	default:
		return nil, Problems{{position(r, bodies[1]), "", "a further YAML document begins here"}}
	}
	nodes := 0
	if !measure(bodies[0], 0, &nodes) {
		return nil, Problems{{Position{File: r.file, Line: r.at(1, 1).Line}, "",
			fmt.Sprintf("the document is nested deeper than %d levels or, with its aliases followed, has more than %d values", maxNesting, maxValues)}}
	}
	return bodies[0], nil
}

func yamlProblem(r rendered, err error) error {
	var yamlErr yaml.Error
	if !errors.As(err, &yamlErr) {
		return Problems{{Position{File: r.file}, "", "not YAML: " + err.Error()}}
	}
	at := Position{File: r.file}
	if tk := yamlErr.GetToken(); tk != nil && tk.Position != nil {
		at = r.at(tk.Position.Line, tk.Position.Column)
	}
	return Problems{{at, "", "not YAML: " + yamlErr.GetMessage()}}
}

// measure counts the values of a document before anything is converted, and gives up at the limits.
func measure(n ast.Node, depth int, nodes *int) bool {
	if *nodes++; *nodes > maxValues || depth > maxNesting {
		return false
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			if !measure(v.Value, depth+1, nodes) {
				return false
			}
		}
	case *ast.MappingValueNode:
		return measure(n.Value, depth+1, nodes)
	case *ast.SequenceNode:
		for _, v := range n.Values {
			if !measure(v, depth+1, nodes) {
				return false
			}
		}
	case *ast.AnchorNode:
		return measure(n.Value, depth+1, nodes)
	case *ast.TagNode:
		return measure(n.Value, depth+1, nodes)
	}
	return true
}

// position is where a node begins in the file.
func position(r rendered, n ast.Node) Position {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
		return position(r, m.Values[0])
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		return position(r, m.Key)
	}
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return Position{File: r.file}
	}
	p := n.GetToken().Position
	return r.at(p.Line, p.Column)
}

// pairs are the keys and values of a mapping; ok is false when n is none.
func pairs(n ast.Node) (values []*ast.MappingValueNode, ok bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

// keyText is a mapping's key as written, without quotes.
func keyText(key ast.MapKeyNode) string {
	if s, ok := key.(*ast.StringNode); ok {
		return s.Value
	}
	return key.String()
}

// kindOf names the type of a node in the words of a YAML user.
func kindOf(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a map"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	case *ast.IntegerNode:
		return "a number"
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number with a fraction"
	case *ast.BoolNode:
		return "true or false"
	case *ast.NullNode, nil:
		return "nothing"
	case *ast.AliasNode:
		return "an alias"
	default:
		return "something else"
	}
}

// plainBool is the truth value that YAML 1.1, which cloud-init reads, gives to an unquoted word and YAML 1.2 does not.
func plainBool(s *ast.StringNode) (value, ok bool) {
	if s.Token == nil || s.Token.Type != token.StringType {
		return false, false
	}
	switch s.Value {
	case "yes", "Yes", "YES", "on", "On", "ON":
		return true, true
	case "no", "No", "NO", "off", "Off", "OFF":
		return false, true
	}
	return false, false
}

// fieldPath joins the path of a mapping and a key of it.
func fieldPath(parent, key string) string {
	return strings.TrimPrefix(parent+"."+key, ".")
}
