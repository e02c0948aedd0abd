package workload

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// cloudConfig is a cloud-config with the order of its keys and the place of each.
type cloudConfig struct {
	keys   []string
	values map[string]any // nil, bool, int64, uint64, float64, string, []any or *object
	at     map[string]Position
}

// object is a map that keeps its order.
type object struct {
	keys   []string
	values map[string]any
}

func (o *object) set(key string, value any) {
	if _, ok := o.values[key]; !ok {
		o.keys = append(o.keys, key)
	}
	o.values[key] = value
}

// MarshalJSON writes the keys in their order.
func (o *object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, key := range o.keys {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := plainJSON(key)
		if err != nil {
			return nil, err
		}
		value, err := plainJSON(o.values[key])
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// plainJSON leaves <, > and & as they are: people read the result.
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// parseCloudConfig reads an expanded cloud-config and checks the types of what cloud-init would otherwise trip over in the guest.
func parseCloudConfig(doc rendered) (*cloudConfig, error) {
	body, err := parseYAML(doc)
	if err != nil {
		return nil, err
	}
	config := &cloudConfig{values: map[string]any{}, at: map[string]Position{}}
	if body == nil {
		return config, nil
	}
	top, ok := pairs(unwrap(body))
	if !ok {
		return nil, Problems{{position(doc, body), "", "a cloud-config is a map of keys such as runcmd and users, and here is " + kindOf(body)}}
	}
	c := &converter{doc: doc, anchors: map[string]any{}}
	for _, pair := range top {
		key := keyText(pair.Key)
		if _, twice := config.values[key]; twice {
			c.problems.add(position(doc, pair.Key), key, "this key is given twice")
			continue
		}
		config.keys = append(config.keys, key)
		config.at[key] = position(doc, pair.Key)
		config.values[key] = c.value(pair.Value, key)
	}
	if err := c.problems.err(); err != nil {
		return nil, err
	}
	return config, check(config)
}

// converter turns nodes into values as YAML 1.1 and cloud-init understand them.
type converter struct {
	doc      rendered
	problems Problems
	anchors  map[string]any
	copied   int // values that aliases stand for
}

func (c *converter) value(n ast.Node, path string) any {
	switch n := n.(type) {
	case *ast.StringNode:
		if v, ok := plainBool(n); ok {
			return v
		}
		return n.Value
	case *ast.LiteralNode:
		return n.Value.Value
	case *ast.BoolNode:
		return n.Value
	case *ast.IntegerNode:
		return integral(n)
	case *ast.FloatNode:
		return n.Value
	case *ast.SequenceNode:
		items := make([]any, len(n.Values))
		for i, item := range n.Values {
			items[i] = c.value(item, fmt.Sprintf("%s[%d]", path, i))
		}
		return items
	case *ast.MappingNode, *ast.MappingValueNode:
		return c.object(n, path)
	case *ast.AnchorNode:
		v := c.value(n.Value, path)
		c.anchors[n.Name.GetToken().Value] = v
		return v
	case *ast.AliasNode:
		return c.alias(n, path)
	case *ast.TagNode:
		return c.tagged(n, path)
	case *ast.InfinityNode, *ast.NanNode:
		c.problems.add(position(c.doc, n), path, "a cloud-config has no use for this number")
	}
	return nil
}

func (c *converter) object(n ast.Node, path string) any {
	values, _ := pairs(n)
	o := &object{values: map[string]any{}}
	for _, pair := range values {
		if pair.Key.IsMergeKey() {
			c.problems.add(position(c.doc, pair.Key), path, "merge keys (<<) are not supported: write the keys out")
			continue
		}
		key := keyText(pair.Key)
		if _, twice := o.values[key]; twice {
			c.problems.add(position(c.doc, pair.Key), fieldPath(path, key), "this key is given twice")
		}
		o.set(key, c.value(pair.Value, fieldPath(path, key)))
	}
	return o
}

func (c *converter) alias(n *ast.AliasNode, path string) any {
	name := n.Value.GetToken().Value
	v, ok := c.anchors[name]
	if !ok {
		c.problems.add(position(c.doc, n), path, "there is no anchor &%s above this alias", name)
		return nil
	}
	before := c.copied
	if c.copied += size(v); c.copied > maxValues {
		if before > maxValues { // said already
			return nil
		}
		c.problems.add(position(c.doc, n), path, "the aliases of this document stand for more than %d values", maxValues)
		return nil
	}
	return v
}

func (c *converter) tagged(n *ast.TagNode, path string) any {
	switch tag := n.Start.Value; tag {
	case "!!str":
		if s, ok := n.Value.(ast.ScalarNode); ok {
			return s.GetToken().Value
		}
		return c.value(n.Value, path)
	case "!!binary", "!!map", "!!seq", "!!int", "!!bool", "!!float", "!!null":
		return c.value(n.Value, path)
	default:
		c.problems.add(position(c.doc, n), path, "the tag %s is not known to cloud-init", tag)
		return nil
	}
}

// integral is an integer as JSON can hold it; YAML 1.1's octal 0644 has already become its value.
func integral(n *ast.IntegerNode) any {
	switch v := n.Value.(type) {
	case uint64:
		if v <= math.MaxInt64 {
			return int64(v)
		}
		return v
	case int64:
		return v
	}
	if v, err := strconv.ParseInt(fmt.Sprint(n.Value), 0, 64); err == nil {
		return v
	}
	return n.Token.Value
}

// size is the number of values in a value.
func size(v any) int {
	n := 1
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			n += size(item)
		}
	case *object:
		for _, item := range v.values {
			n += size(item)
		}
	}
	return n
}

// encode writes user-data. JSON is YAML in which no word can be taken for a truth value, a date or a number, whatever version of
// YAML the guest speaks.
func (c *cloudConfig) encode() ([]byte, error) {
	all := &object{values: map[string]any{}}
	for _, key := range c.keys {
		if v := c.values[key]; v != nil {
			all.set(key, v)
		}
	}
	var b strings.Builder
	b.WriteString("#cloud-config\n")
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(all); err != nil {
		return nil, fmt.Errorf("encode the cloud-config: %w", err)
	}
	return []byte(b.String()), nil
}
