package workload

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// decoder reads a spec document field by field. It goes on after a problem, so that the user sees all of them, and remembers where
// each field was written.
type decoder struct {
	doc      rendered
	problems Problems
	origins  map[string]Position
}

// field reads one value into the place that it closes over; path is the value's path.
type field func(d *decoder, n ast.Node, path string)

// mapping reads a map with the given keys and no others. A null value means that the key is not there.
func (d *decoder) mapping(n ast.Node, path string, fields map[string]field) {
	values, ok := pairs(unwrap(n))
	if !ok {
		d.mismatch(n, path, "a map of "+strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
		return
	}
	seen := map[string]bool{}
	for _, pair := range values {
		key, at := keyText(pair.Key), position(d.doc, pair.Key)
		read, known := fields[key]
		switch {
		case !known:
			d.problems.add(at, fieldPath(path, key), "this key is not known here: %s", didYouMean(key, slices.Sorted(maps.Keys(fields))))
		case seen[key]:
			d.problems.add(at, fieldPath(path, key), "this key is given twice")
		case pair.Value == nil || pair.Value.Type() == ast.NullType:
		default:
			d.origins[fieldPath(path, key)] = at
			read(d, unwrap(pair.Value), fieldPath(path, key))
		}
		seen[key] = true
	}
}

// list reads a list whose items are maps with the fields that item gives for a fresh element.
func list[T any](into *[]T, item func(*T) map[string]field) field {
	return func(d *decoder, n ast.Node, path string) {
		seq, ok := n.(*ast.SequenceNode)
		if !ok {
			d.mismatch(n, path, "a list")
			return
		}
		for i, v := range seq.Values {
			var element T
			at := fmt.Sprintf("%s[%d]", path, i)
			d.origins[at] = position(d.doc, v)
			d.mapping(v, at, item(&element))
			*into = append(*into, element)
		}
	}
}

func texts(into *[]string) field {
	return func(d *decoder, n ast.Node, path string) {
		seq, ok := n.(*ast.SequenceNode)
		if !ok {
			d.mismatch(n, path, "a list of texts")
			return
		}
		for i, v := range seq.Values {
			var s string
			at := fmt.Sprintf("%s[%d]", path, i)
			d.origins[at] = position(d.doc, v)
			text(&s)(d, unwrap(v), at)
			*into = append(*into, s)
		}
	}
}

func text(into *string) field {
	return func(d *decoder, n ast.Node, path string) {
		switch n := n.(type) {
		case *ast.StringNode:
			*into = n.Value
		case *ast.LiteralNode:
			*into = strings.TrimSuffix(n.Value.Value, "\n")
		default:
			d.mismatch(n, path, "text (a number that is meant as text needs quotes)")
		}
	}
}

func boolean(into *bool) field {
	return func(d *decoder, n ast.Node, path string) {
		if s, ok := n.(*ast.StringNode); ok {
			if v, ok := plainBool(s); ok {
				*into = v
				return
			}
		}
		b, ok := n.(*ast.BoolNode)
		if !ok {
			d.mismatch(n, path, "true or false")
			return
		}
		*into = b.Value
	}
}

func integer(into *int) field {
	return func(d *decoder, n ast.Node, path string) {
		number, ok := n.(*ast.IntegerNode)
		if !ok {
			d.mismatch(n, path, "a whole number")
			return
		}
		v, err := strconv.ParseInt(strings.ReplaceAll(fmt.Sprint(number.Value), "_", ""), 10, 64)
		if err != nil || v > math.MaxInt32 || v < math.MinInt32 {
			d.problems.add(position(d.doc, n), path, "%s is out of any range", number.Token.Value)
			return
		}
		*into = int(v)
	}
}

func (d *decoder) mismatch(n ast.Node, path, want string) {
	d.problems.add(position(d.doc, n), path, "must be %s, and here is %s", want, kindOf(n))
}

// unwrap looks through anchors and tags, which change nothing in a spec.
func unwrap(n ast.Node) ast.Node {
	for {
		switch wrapped := n.(type) {
		case *ast.AnchorNode:
			n = wrapped.Value
		case *ast.TagNode:
			n = wrapped.Value
		default:
			return n
		}
	}
}
