package workload

import "fmt"

// shape is what a key of a cloud-config must look like for cloud-init to make anything of it.
type shape struct {
	want string // in words
	fits func(any) bool
}

// shapes are the keys whose wrong types cloud-init reports only inside the guest, where nobody looks, or not at all.
func shapes() map[string]shape {
	commands := shape{"a list of commands, each of them text or a list of words", listOf(isCommand)}
	names := shape{"a list of texts", listOf(isText)}
	truth := shape{"true or false", isBool}
	word := shape{"text", isText}
	return map[string]shape{
		"runcmd":              commands,
		"bootcmd":             commands,
		"packages":            {"a list of package names, or of [name, version]", listOf(isCommand)},
		"users":               {"a list of users, each a name or a map", listOf(isTextOrMap)},
		"groups":              {"a list or text", func(v any) bool { return isText(v) || typeOf(v) == "a list" || isMap(v) }},
		"write_files":         {"a list of maps with a path and a content", listOf(hasPath)},
		"mounts":              {"a list of lists", listOf(func(v any) bool { return typeOf(v) == "a list" })},
		"ssh_authorized_keys": names,
		"ssh_keys":            {"a map of key types and keys", isMap},
		"hostname":            word,
		"fqdn":                word,
		"timezone":            word,
		"locale":              {"text or false", func(v any) bool { return isText(v) || isBool(v) }},
		"final_message":       word,
		"package_update":      truth,
		"package_upgrade":     truth,
		"disable_root":        truth,
		"apt":                 {"a map", isMap},
		"growpart":            {"a map", isMap},
		"ntp":                 {"a map", isMap},
		"chpasswd":            {"a map", isMap},
		"power_state":         {"a map", isMap},
		"ca_certs":            {"a map", isMap},
	}
}

// check finds the keys of wrong shape, all of them at once.
func check(config *cloudConfig) error {
	var problems Problems
	known := shapes()
	for _, key := range config.keys {
		v := config.values[key]
		want, ok := known[key]
		if !ok || v == nil || want.fits(v) {
			continue
		}
		problems.add(config.at[key], key, "must be %s, and is %s", want.want, describe(v, want))
	}
	return problems.err()
}

// describe says what is there instead: the type, and for a list the first item that does not fit.
func describe(v any, want shape) string {
	items, ok := v.([]any)
	if !ok {
		return typeOf(v)
	}
	for i, item := range items {
		if !want.fits([]any{item}) {
			return fmt.Sprintf("a list whose item %d is %s", i+1, itemType(item))
		}
	}
	return "a list"
}

func itemType(v any) string {
	if v == nil {
		return "nothing"
	}
	return typeOf(v)
}

func listOf(fits func(any) bool) func(any) bool {
	return func(v any) bool {
		items, ok := v.([]any)
		if !ok {
			return false
		}
		for _, item := range items {
			if !fits(item) {
				return false
			}
		}
		return true
	}
}

func isText(v any) bool      { _, ok := v.(string); return ok }
func isBool(v any) bool      { _, ok := v.(bool); return ok }
func isMap(v any) bool       { _, ok := v.(*object); return ok }
func isTextOrMap(v any) bool { return isText(v) || isMap(v) }

// isCommand accepts text or a list of words; a number among the words is a word.
func isCommand(v any) bool {
	words, ok := v.([]any)
	if !ok {
		return isText(v)
	}
	for _, word := range words {
		if word == nil || isMap(word) || typeOf(word) == "a list" {
			return false
		}
	}
	return len(words) > 0
}

func hasPath(v any) bool {
	o, ok := v.(*object)
	return ok && isText(o.values["path"])
}
