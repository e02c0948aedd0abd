package workload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm"
)

// Finder finds workload files.
//
//	NAME                      Dirs in order (NAME.yaml, then NAME.yml), then Embedded
//	a path                    anything with a slash, or that ends in .yaml or .yml
//	http:// https:// file://  a URL
//
// A path in `inherits` is looked for beside the file that says it.
type Finder struct {
	Dirs     []string     // the user's directories, the first one wins
	Embedded fs.FS        // NAME.yaml at its top; may be nil
	Client   *http.Client // nil: http.DefaultClient
}

// Directories are the user's workload directories in the order in which they are searched: the XDG ones, then the one ccloudvm
// always had.
func Directories(getenv func(string) string, home string) []string {
	dir := func(variable, standard string) string {
		if v := getenv(variable); filepath.IsAbs(v) {
			return v
		}
		return filepath.Join(home, standard)
	}
	return []string{
		filepath.Join(dir("XDG_CONFIG_HOME", ".config"), "ccloudvm", "workloads"),
		filepath.Join(dir("XDG_DATA_HOME", ".local/share"), "ccloudvm", "workloads"),
		filepath.Join(home, ".ccloudvm", "workloads"),
	}
}

// fetchLimit is how long a workload file may take to come from a URL.
const fetchLimit = 60 * time.Second

// Find reads the workload that ref means. from is the Origin of the workload that inherits from it, or "".
func (f Finder) Find(ctx context.Context, ref, from string) (Source, error) {
	switch {
	case ref == "":
		return Source{}, &ccloudvm.Error{Class: ccloudvm.ErrInvalid, Text: "name a workload: " + strings.Join(f.Names(), ", ")}
	case strings.Contains(ref, "://"):
		return f.fetch(ctx, ref)
	case strings.ContainsRune(ref, '/') || strings.HasSuffix(ref, ".yaml") || strings.HasSuffix(ref, ".yml"):
		return f.relative(ctx, ref, from)
	default:
		return f.named(ref)
	}
}

// relative reads a path, seen from the file or URL that refers to it.
func (f Finder) relative(ctx context.Context, ref, from string) (Source, error) {
	if base, err := url.Parse(from); err == nil && (base.Scheme == "http" || base.Scheme == "https") && !strings.HasPrefix(ref, "/") {
		return f.fetch(ctx, base.JoinPath("..", ref).String())
	}
	name := ref
	if from != "" && !filepath.IsAbs(ref) && !strings.HasPrefix(from, embeddedPrefix) {
		name = filepath.Join(filepath.Dir(from), ref)
	}
	return readFile(ref, name)
}

const embeddedPrefix = "embedded:"

func (f Finder) named(name string) (Source, error) {
	for _, dir := range f.Dirs {
		for _, extension := range []string{".yaml", ".yml"} {
			src, err := readFile(name, filepath.Join(dir, name+extension))
			if !errors.Is(err, ccloudvm.ErrNotFound) {
				return src, err
			}
		}
	}
	if f.Embedded != nil {
		if text, err := fs.ReadFile(f.Embedded, name+".yaml"); err == nil {
			return Source{Ref: name, Origin: embeddedPrefix + name, Text: text}, nil
		}
	}
	return Source{}, &ccloudvm.Error{Class: ccloudvm.ErrNotFound,
		Text: fmt.Sprintf("there is no workload %q: %s", name, didYouMean(name, f.Names()))}
}

// Names are the workloads that can be named, sorted.
func (f Finder) Names() []string {
	var names []string
	add := func(entries []fs.DirEntry) {
		for _, e := range entries {
			if ext := path.Ext(e.Name()); !e.IsDir() && (ext == ".yaml" || ext == ".yml") {
				names = append(names, strings.TrimSuffix(e.Name(), ext))
			}
		}
	}
	for _, dir := range f.Dirs {
		if entries, err := os.ReadDir(dir); err == nil {
			add(entries)
		}
	}
	if f.Embedded != nil {
		if entries, err := fs.ReadDir(f.Embedded, "."); err == nil {
			add(entries)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func readFile(ref, name string) (Source, error) {
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Source{}, &ccloudvm.Error{Class: ccloudvm.ErrNotFound, Text: fmt.Sprintf("there is no workload file %s", name), Cause: err}
	}
	if err != nil {
		return Source{}, &ccloudvm.Error{Class: ccloudvm.ErrInvalid, Text: "the workload cannot be read: " + err.Error(), Cause: err}
	}
	defer file.Close()
	return readSource(ref, name, file)
}

func readSource(ref, origin string, r io.Reader) (Source, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return Source{}, &ccloudvm.Error{Class: ccloudvm.ErrInvalid, Text: fmt.Sprintf("the workload %s cannot be read: %v", origin, err), Cause: err}
	}
	return Source{Ref: ref, Origin: origin, Text: text}, nil
}

func (f Finder) fetch(ctx context.Context, ref string) (Source, error) {
	u, err := url.Parse(ref)
	if err != nil {
		return Source{}, &ccloudvm.Error{Class: ccloudvm.ErrInvalid, Text: fmt.Sprintf("%q is not a URL", ref)}
	}
	switch u.Scheme {
	case "file":
		return readFile(ref, u.Path)
	case "http", "https":
	default:
		return Source{}, &ccloudvm.Error{Class: ccloudvm.ErrInvalid,
			Text: fmt.Sprintf("a workload is fetched by http, https or file, and not by %s", u.Scheme)}
	}
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, ref, nil)
	if err != nil {
		return Source{}, &ccloudvm.Error{Class: ccloudvm.ErrInvalid, Text: fmt.Sprintf("%q is not a URL", ref), Cause: err}
	}
	client := f.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return Source{}, &ccloudvm.Error{Class: ccloudvm.ErrNotFound, Text: fmt.Sprintf("the workload %s cannot be fetched: %v", u.Redacted(), err), Cause: err}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Source{}, &ccloudvm.Error{Class: ccloudvm.ErrNotFound, Text: fmt.Sprintf("the workload %s cannot be fetched: the server says %s", u.Redacted(), resp.Status)}
	}
	return readSource(ref, u.String(), resp.Body)
}
