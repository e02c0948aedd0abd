package workload

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ciaocloud/ciao/ccloudvm"
)

// Workload is a workload with everything it inherits.
type Workload struct {
	// Name is what it was asked for by.
	Name string
	// Spec is the merged, completed and checked spec.
	Spec ccloudvm.Spec
	// Origins says where each field of Spec was written, by its path; a default has no entry.
	Origins map[string]Position

	chain []*level // the root first
}

// Load finds the workload ref and its ancestors and merges their specs. A field that names the command line may still be changed
// in Spec; check it again with Check.
func Load(ctx context.Context, finder Finder, ref string, ws Workspace) (*Workload, error) {
	chain, err := ancestors(ctx, finder, ref, &ws)
	if err != nil {
		return nil, err
	}
	w := &Workload{Name: ref, Origins: map[string]Position{}, chain: chain}
	for _, l := range chain {
		w.Spec = inherit(w.Spec, l.spec)
		maps.Copy(w.Origins, scalars(l.origins))
	}
	w.Spec = complete(w.Spec)
	w.Spec.Workload = said(w.Spec.Workload, ref)
	return w, Check(w.Spec, w.Origins)
}

// ancestors reads the chain of files, the root first.
func ancestors(ctx context.Context, finder Finder, ref string, ws *Workspace) ([]*level, error) {
	var chain []*level
	seen := map[string]bool{}
	from := ""
	for ref != "" || len(chain) == 0 {
		src, err := finder.Find(ctx, ref, from)
		if err != nil {
			return nil, inherited(chain, err)
		}
		if seen[src.Origin] || len(chain) == maxDepth {
			at := chain[len(chain)-1].origins["inherits"]
			return nil, Problems{{at, "inherits", fmt.Sprintf("%s is an ancestor of itself, or the chain is longer than %d files", src.Origin, maxDepth)}}
		}
		seen[src.Origin] = true
		l, err := parseLevel(src, ws)
		if err != nil {
			return nil, err
		}
		chain = append(chain, l)
		ref, from = l.spec.Inherits, src.Origin
	}
	slices.Reverse(chain)
	return chain, nil
}

// inherited says who asked for a workload that was not found.
func inherited(chain []*level, err error) error {
	if len(chain) == 0 {
		return err
	}
	return fmt.Errorf("%s: inherits: %w", chain[len(chain)-1].origins["inherits"], err)
}

// CloudConfig renders the cloud-config of the whole chain. before and after are ours: what every instance has, whatever its workload says;
// their lists stand before and after the workload's.
func (w *Workload) CloudConfig(ws Workspace, before, after string) ([]byte, error) {
	merged := &cloudConfig{values: map[string]any{}, at: map[string]Position{}}
	add := func(doc document) error {
		if doc.empty {
			return nil
		}
		expanded, err := expand(doc, &ws, Functions())
		if err != nil {
			return err
		}
		config, err := parseCloudConfig(expanded)
		if err != nil {
			return err
		}
		return merged.merge(config)
	}
	docs := []document{{file: "ccloudvm", line: 1, text: before, empty: before == ""}}
	for _, l := range w.chain {
		docs = append(docs, l.config)
	}
	docs = append(docs, document{file: "ccloudvm", line: 1, text: after, empty: after == ""})
	for _, doc := range docs {
		if err := add(doc); err != nil {
			return nil, err
		}
	}
	return merged.encode()
}

// scalars leaves out the items of lists, whose indexes change when lists are merged; each file's own lists have been checked already.
func scalars(origins map[string]Position) map[string]Position {
	kept := maps.Clone(origins)
	maps.DeleteFunc(kept, func(path string, _ Position) bool { return strings.Contains(path, "[") })
	return kept
}
