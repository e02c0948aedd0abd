package networktest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/network"
)

// Kernel is a namespace in memory. It refuses what a kernel refuses, and prints itself. It may be used from many goroutines.
type Kernel struct {
	mu    sync.Mutex
	image network.Image
	log   []network.Step
	reads int
	fail  int // steps until the next failure; 0 is none
}

// NewKernel is an empty namespace with the settings of a kernel that has just made one.
func NewKernel() *Kernel {
	image := network.NewImage()
	for _, name := range network.SettingNames() {
		image.Settings[name] = "0"
	}
	return &Kernel{image: image}
}

// Read implements network.Kernel.
func (k *Kernel) Read(context.Context) (network.Image, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reads++
	return k.image.Clone(), nil
}

// ReadLinks implements network.Kernel.
func (k *Kernel) ReadLinks(context.Context) (map[string]network.Link, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.image.Links), nil
}

// Execute implements network.Kernel.
func (k *Kernel) Execute(ctx context.Context, steps []network.Step) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, step := range steps {
		if k.fail > 0 {
			if k.fail--; k.fail == 0 {
				return fmt.Errorf("%s: made to fail: %w", step, cluster.ErrUnavailable)
			}
		}
		if err := k.check(step); err != nil {
			return fmt.Errorf("%s: %w: %w", step, err, cluster.ErrUnavailable)
		}
		k.image.Do(step)
		k.name(step)
		k.log = append(k.log, step)
	}
	return nil
}

// name gives a new bridge a MAC, as a kernel does when nobody chose one.
func (k *Kernel) name(step network.Step) {
	if add, ok := step.(network.AddLink); ok && add.Link.Kind == network.LinkBridge && add.Link.MAC == "" {
		link := k.image.Links[add.Link.Name]
		link.MAC = fmt.Sprintf("02:ff:00:00:00:%02x", len(k.image.Links))
		k.image.Links[link.Name] = link
	}
}

// check refuses a step that names what is not there.
func (k *Kernel) check(step network.Step) error {
	link := ""
	switch step := step.(type) {
	case network.SetLink:
		link = step.Name
		if step.Attribute == network.LinkMaster && step.Value != "" && k.image.Links[step.Value].Kind != network.LinkBridge {
			return fmt.Errorf("%s is no bridge", step.Value)
		}
	case network.AddAddress:
		link = step.Address.Link
	case network.AddForward:
		link = step.Forward.Link
		if have, ok := k.image.Links[link]; ok && have.Kind != network.LinkVXLAN {
			return fmt.Errorf("%s is no VXLAN device", link)
		}
	}
	if _, ok := k.image.Links[link]; link != "" && !ok {
		return fmt.Errorf("no link %s", link)
	}
	return nil
}

// FailAfter makes the step after n more fail, once.
func (k *Kernel) FailAfter(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail = n + 1
}

// Vanish removes a link behind the back of whoever made it.
func (k *Kernel) Vanish(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.image.Do(network.DelLink{Name: name})
}

// Reads counts the whole images that were read.
func (k *Kernel) Reads() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.reads
}

// Log is the steps taken since the last call, a line each.
func (k *Kernel) Log() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var lines []string
	for _, step := range k.log {
		lines = append(lines, step.String())
	}
	k.log = nil
	return strings.Join(lines, "\n")
}

// String is the namespace as text, a line for each thing in it.
func (k *Kernel) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return Print(k.image)
}

// Print is an image as text: links, addresses, forwarding entries, then tables with their sets and rules.
func Print(image network.Image) string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(image.Links)) {
		link := image.Links[name]
		state := "down"
		if link.Up {
			state = "up"
		}
		lines = append(lines, fmt.Sprintf("link %s %s mtu %d master %q alias %s %s", link.Name, link.Kind, link.MTU, link.Master, link.Alias, state))
	}
	var rest []string
	for address := range image.Addresses {
		rest = append(rest, "addr "+address.String())
	}
	for forward := range image.Forwards {
		rest = append(rest, "fdb "+forward.String())
	}
	slices.Sort(rest)
	lines = append(lines, rest...)
	var tables []string
	for _, table := range image.Tables {
		tables = append(tables, printTable(table))
	}
	slices.Sort(tables)
	return strings.Join(append(lines, tables...), "\n")
}

func printTable(table network.Table) string {
	lines := []string{"table " + table.ID.String()}
	for _, set := range table.Sets {
		elements := slices.Sorted(maps.Keys(set.Elements))
		lines = append(lines, fmt.Sprintf("  set %s { %s }", set.Name, strings.Join(elements, ", ")))
	}
	for _, chain := range table.Chains {
		lines = append(lines, fmt.Sprintf("  chain %s %s %s %d %s", chain.Name, chain.Type, chain.Hook, chain.Priority, chain.Policy))
		for _, rule := range chain.Rules {
			lines = append(lines, "    "+rule.Text+" # "+rule.Name)
		}
	}
	return strings.Join(lines, "\n")
}

var _ network.Kernel = (*Kernel)(nil)
