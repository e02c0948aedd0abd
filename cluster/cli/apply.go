package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/cluster/config"
	"github.com/ciaocloud/ciao/terminal"
)

// applied is one line of the result.
type applied struct {
	Kind   string `json:"kind"` // workload or instance
	Name   string `json:"name"`
	Result string `json:"result"` // created, unchanged or, of a dry run, missing
}

var appliedColumns = []column[applied]{
	{Title: "kind", Value: func(a applied) string { return a.Kind }},
	{Title: "name", Value: func(a applied) string { return a.Name }},
	{Title: "result", Value: func(a applied) string { return a.Result }},
}

func (s *session) apply() *cobra.Command {
	var name string
	var dry bool
	var wait waitFlags
	command := &cobra.Command{
		Use: "apply", Short: "Create what a YAML file names and is not there yet", Args: terminal.Arguments(),
		Example: `  ciao apply --wait -f - <<END
  workloads:
    - name: web
      kind: container
      image: busybox
      command: [httpd, -f]
  instances:
    - {name: front, workload: web, count: 2, labels: {tier: front}}
  END`,
		RunE: func(command *cobra.Command, args []string) error {
			if name == "" {
				return terminal.Usage("say which file: -f FILE, or -f - for standard input")
			}
			manifest, err := manifestFile(name, command.InOrStdin())
			if err != nil {
				return err
			}
			return s.user(func(ctx context.Context, c *client.Client, _ []string, streams terminal.Streams) error {
				return s.applyManifest(ctx, c, manifest, dry, wait, streams)
			})(command, args)
		},
	}
	flags := command.Flags()
	flags.StringVarP(&name, "file", "f", "", "the file, or - for standard input")
	flags.BoolVar(&dry, "dry-run", false, "change nothing: say what is missing")
	wait.add(flags)
	flags.StringVarP(&s.output.Format, "output", "o", "table", "form of the result: table, json or yaml")
	offer(command, "output", terminal.Formats())
	return command
}

func manifestFile(name string, in io.Reader) (config.Manifest, error) {
	if name == "-" {
		return config.ReadManifest("standard input", in)
	}
	return config.LoadManifest(name)
}

// applyManifest looks at everything before it changes anything: a file that contradicts what is there changes nothing.
func (s *session) applyManifest(ctx context.Context, c *client.Client, m config.Manifest, dry bool, wait waitFlags, streams terminal.Streams) error {
	tenant, err := actingTenant(ctx, c, nil) // what others have is not to be compared with
	if err != nil {
		return err
	}
	c = c.ForTenant(tenant)
	workloads, err := c.Workloads(ctx)
	if err != nil {
		return err
	}
	instances, err := c.Instances(ctx, client.InstanceFilter{})
	if err != nil {
		return err
	}
	p, err := planOf(m, workloads, instances)
	if err != nil {
		return err
	}
	if !dry {
		if err := p.carryOut(ctx, c); err != nil {
			return err
		}
		if wait.wait {
			if _, err := wait.until(ctx, c, streams, "active", append(p.created, p.there...), client.Active); err != nil {
				return err
			}
		}
	}
	return terminal.List(streams.Out, terminal.Output{Format: s.output.Format}, p.results(dry), appliedColumns)
}

// plan is what a manifest needs of what is there.
type plan struct {
	manifest  config.Manifest
	workloads []api.CreateWorkload  // that are missing
	requests  []api.CreateInstances // that make the missing instances
	missing   map[thing]bool
	there     []api.Instance
	created   []api.Instance
}

type thing struct{ kind, name string }

func planOf(m config.Manifest, workloads []api.Workload, instances []api.Instance) (*plan, error) {
	p := &plan{manifest: m, missing: map[thing]bool{}}
	var contradictions []string
	for _, wanted := range m.Workloads {
		request := api.NewWorkload(wanted.Name, wanted.Visibility, wanted.Spec)
		at := slices.IndexFunc(workloads, func(w api.Workload) bool { return w.Name == wanted.Name && w.Visibility == cluster.Private })
		if at < 0 {
			p.workloads = append(p.workloads, request)
			p.missing[thing{"workload", wanted.Name}] = true
		} else if fields := differences(request, workloads[at]); fields != nil {
			contradictions = append(contradictions, fmt.Sprintf("workload %s is there with another %s: a workload does not change, so give this one another name",
				wanted.Name, strings.Join(fields, ", ")))
		}
	}
	there := map[string]api.Instance{}
	for _, instance := range instances {
		there[instance.Name] = instance
	}
	for _, wanted := range m.Instances {
		contradictions = append(contradictions, p.planInstances(wanted, there)...)
	}
	if contradictions != nil {
		return nil, fmt.Errorf("%w: nothing was changed: %s", cluster.ErrConflict, strings.Join(contradictions, "; "))
	}
	return p, nil
}

// planInstances asks for all instances at once if none is there, so that all or none are made, and else for each that is missing.
func (p *plan) planInstances(wanted config.Instances, there map[string]api.Instance) (contradictions []string) {
	names := wanted.Names()
	var missing []string
	for _, name := range names {
		instance, found := there[name]
		switch {
		case !found:
			missing = append(missing, name)
			p.missing[thing{"instance", name}] = true
		case instance.State == cluster.Deleting:
			contradictions = append(contradictions, fmt.Sprintf("instance %s is being deleted: apply the file again when it is gone (`ciao delete instance %s --wait`)", name, name))
		case instance.Workload != wanted.Workload || !maps.Equal(instance.Labels, wanted.Labels):
			contradictions = append(contradictions, fmt.Sprintf("instance %s is there with another workload or other labels: delete it first", name))
		default:
			p.there = append(p.there, instance)
		}
	}
	request := api.CreateInstances{Workload: wanted.Workload, Count: 1, Labels: wanted.Labels}
	if len(missing) == len(names) {
		request.Name, request.Count = wanted.Name, wanted.Count
		p.requests = append(p.requests, request)
		return contradictions
	}
	for _, name := range missing {
		request.Name = name
		p.requests = append(p.requests, request)
	}
	return contradictions
}

func (p *plan) carryOut(ctx context.Context, c *client.Client) error {
	for _, request := range p.workloads {
		if _, err := c.CreateWorkload(ctx, request); err != nil {
			return fmt.Errorf("create workload %s: %w", request.Name, err)
		}
	}
	for _, request := range p.requests {
		created, err := c.CreateInstances(ctx, request)
		if err != nil {
			return fmt.Errorf("create instances of %s: %w", request.Workload, workloads.hint(ctx, c, request.Workload, err))
		}
		p.created = append(p.created, created...)
	}
	return nil
}

// results are in the order of the file.
func (p *plan) results(dry bool) (list []applied) {
	add := func(kind, name string) {
		result := "unchanged"
		switch missing := p.missing[thing{kind, name}]; {
		case missing && dry:
			result = "missing"
		case missing:
			result = "created"
		}
		list = append(list, applied{kind, name, result})
	}
	for _, w := range p.manifest.Workloads {
		add("workload", w.Name)
	}
	for _, i := range p.manifest.Instances {
		for _, name := range i.Names() {
			add("instance", name)
		}
	}
	return list
}

// differences names the fields, as files have them, in which a workload is not as it is wanted: all that a request can say is compared, but for
// what it was found by.
func differences(wanted api.CreateWorkload, have api.Workload) (fields []string) {
	return differing("", reflect.ValueOf(wanted), reflect.ValueOf(have))
}

// foundBy are the fields by which a workload is found.
var foundBy = []string{"Name", "Visibility"}

func differing(at string, wanted, have reflect.Value) (fields []string) {
	for i := range wanted.NumField() {
		field := wanted.Type().Field(i)
		if at == "" && slices.Contains(foundBy, field.Name) {
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		w, h := wanted.Field(i), have.FieldByName(field.Name)
		switch kind := w.Kind(); {
		case kind == reflect.Struct:
			fields = append(fields, differing(at+name+".", w, h)...)
		case (kind == reflect.Slice || kind == reflect.Map) && w.Len() == 0 && h.Len() == 0: // nil and empty are the same
		case !reflect.DeepEqual(w.Interface(), h.Interface()):
			fields = append(fields, at+name)
		}
	}
	return fields
}
