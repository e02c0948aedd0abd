package workload

import "slices"

// merge adds a child's cloud-config: lists are the parent's items and then the child's, maps are merged one level deep, of anything
// else the child's wins, and a null says nothing. Two types for one key are a problem.
func (c *cloudConfig) merge(child *cloudConfig) error {
	var problems Problems
	for _, key := range child.keys {
		theirs := child.values[key]
		ours, ok := c.values[key]
		switch {
		case theirs == nil:
			continue
		case !ok || ours == nil:
			if !slices.Contains(c.keys, key) {
				c.keys = append(c.keys, key)
			}
			c.values[key], c.at[key] = theirs, child.at[key]
			continue
		case typeOf(ours) != typeOf(theirs):
			problems.add(child.at[key], key, "is %s here and %s in %s, from which this workload inherits", typeOf(theirs), typeOf(ours), c.at[key])
			continue
		}
		c.values[key], c.at[key] = join(ours, theirs), child.at[key]
	}
	return problems.err()
}

func join(parent, child any) any {
	switch parent := parent.(type) {
	case []any:
		return slices.Concat(parent, child.([]any))
	case *object:
		merged := &object{values: map[string]any{}}
		for _, from := range []*object{parent, child.(*object)} {
			for _, key := range from.keys {
				merged.set(key, from.values[key])
			}
		}
		return merged
	default:
		return child
	}
}

func typeOf(v any) string {
	switch v.(type) {
	case []any:
		return "a list"
	case *object:
		return "a map"
	case string:
		return "text"
	case bool:
		return "true or false"
	default:
		return "a number"
	}
}
