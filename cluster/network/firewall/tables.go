package firewall

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster/network"
)

// textData is the type of user data that holds a rule's text; nft shows what it knows, the comment, and passes over the rest.
const textData = userdata.Type(200)

// elementsPerMessage keeps a list of elements within the 64 KiB that the length of a netlink attribute can say.
const elementsPerMessage = 512

// socketBuffer holds the largest transaction: a table with the elements of all ports of a large node.
const socketBuffer = 8 << 20

// Tables reads and changes the nftables tables of one namespace: one use, then Close. What was staged by a failed Change dies with
// it.
type Tables struct{ conn *nftables.Conn }

// OpenTables connects to the namespace with the given descriptor.
func OpenTables(namespace int) (*Tables, error) {
	conn, err := nftables.New(nftables.WithNetNSFd(namespace), nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		return errors.Join(c.SetWriteBuffer(socketBuffer), c.SetReadBuffer(socketBuffer))
	}))
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return &Tables{conn}, nil
}

// Close ends the connection to the kernel.
func (t *Tables) Close() error { return t.conn.CloseLasting() }

var families = map[string]nftables.TableFamily{"bridge": nftables.TableFamilyBridge, "ip": nftables.TableFamilyIPv4, "ip6": nftables.TableFamilyIPv6}

// Read reads the tables that bear name.
func (t *Tables) Read(name string) (map[network.TableID]network.Table, error) {
	tables := map[network.TableID]network.Table{}
	for family, number := range families {
		listed, err := t.conn.ListTablesOfFamily(number)
		if err != nil {
			return nil, fmt.Errorf("list nftables tables: %w", err)
		}
		for _, table := range listed {
			if table.Name != name {
				continue
			}
			id := network.TableID{Family: family, Name: name}
			if tables[id], err = t.readTable(id, table); err != nil {
				return nil, fmt.Errorf("read nftables table %s: %w", id, err)
			}
		}
	}
	return tables, nil
}

func (t *Tables) readTable(id network.TableID, table *nftables.Table) (network.Table, error) {
	read := network.Table{ID: id}
	sets, err := t.conn.GetSets(table)
	if err != nil {
		return read, err
	}
	for _, set := range sets {
		found := network.Set{Name: set.Name, Type: set.KeyType.Name, Noted: set.Dynamic, Elements: map[string]bool{}}
		if !found.Noted {
			elements, err := t.conn.GetSetElements(set)
			if err != nil {
				return read, err
			}
			for _, element := range elements {
				found.Elements[decode(found.Type, element.Key)] = true
			}
		}
		read.Sets = append(read.Sets, found)
	}
	chains, err := t.conn.ListChainsOfTableFamily(table.Family)
	if err != nil {
		return read, err
	}
	for _, chain := range chains {
		if chain.Table.Name != table.Name {
			continue
		}
		found, err := t.readChain(table, chain)
		if err != nil {
			return read, err
		}
		read.Chains = append(read.Chains, found)
	}
	slices.SortFunc(read.Sets, func(a, b network.Set) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(read.Chains, func(a, b network.Chain) int { return strings.Compare(a.Name, b.Name) })
	return read, nil
}

func (t *Tables) readChain(table *nftables.Table, chain *nftables.Chain) (network.Chain, error) {
	read := network.Chain{Name: chain.Name, Type: string(chain.Type)}
	if chain.Hooknum != nil && chain.Priority != nil && chain.Policy != nil {
		read.Hook, read.Priority = hookName(*chain.Hooknum), int(*chain.Priority)
		read.Policy = policyName(*chain.Policy)
	}
	rules, err := t.conn.GetRules(table, chain)
	if err != nil {
		return read, err
	}
	for _, rule := range rules {
		name, _ := userdata.GetString(rule.UserData, userdata.TypeComment)
		read.Rules = append(read.Rules, network.Rule{Name: name, Text: string(userdata.Get(rule.UserData, textData))})
	}
	return read, nil
}

// Counters are the packets that each named rule with a counter met, over all chains of the tables that bear name.
func (t *Tables) Counters(name string) (map[string]uint64, error) {
	counters := map[string]uint64{}
	for _, family := range families {
		chains, err := t.conn.ListChainsOfTableFamily(family)
		if err != nil {
			return nil, fmt.Errorf("list nftables chains: %w", err)
		}
		for _, chain := range chains {
			if chain.Table.Name != name {
				continue
			}
			rules, err := t.conn.GetRules(chain.Table, chain)
			if err != nil {
				return nil, fmt.Errorf("read nftables chain %s: %w", chain.Name, err)
			}
			for _, rule := range rules {
				comment, _ := userdata.GetString(rule.UserData, userdata.TypeComment)
				for _, e := range rule.Exprs {
					if counter, ok := e.(*expr.Counter); ok {
						counters[comment] += counter.Packets
					}
				}
			}
		}
	}
	return counters, nil
}

// Change makes all changes in one transaction.
func (t *Tables) Change(changes []network.TableChange) error {
	for _, change := range changes {
		if err := t.stage(change); err != nil {
			return err
		}
	}
	if err := t.conn.Flush(); err != nil {
		return fmt.Errorf("change nftables: %w", err)
	}
	return nil
}

func (t *Tables) stage(change network.TableChange) error {
	id := change.Table.ID
	table := &nftables.Table{Name: id.Name, Family: families[id.Family]}
	if change.Remove || change.Replace {
		t.conn.AddTable(table) // so that it is there to be deleted
		t.conn.DelTable(table)
	}
	if change.Remove {
		return nil
	}
	if change.Replace {
		t.conn.AddTable(table)
		return t.stageTable(table, change.Table)
	}
	for _, del := range change.Del {
		if err := t.stageElements(table, change.Table, del, t.conn.SetDeleteElements); err != nil {
			return err
		}
	}
	for _, add := range change.Add {
		if err := t.stageElements(table, change.Table, add, t.conn.SetAddElements); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tables) stageTable(table *nftables.Table, wanted network.Table) error {
	for i, set := range wanted.Sets {
		key, err := keyType(set.Type)
		if err != nil {
			return err
		}
		made := &nftables.Set{Table: table, Name: set.Name, ID: uint32(i + 1), KeyType: key, Concatenation: strings.Contains(set.Type, " . ")}
		if set.Noted {
			made.Dynamic, made.Size = true, maxNoted
		}
		if err := t.conn.AddSet(made, nil); err != nil {
			return err
		}
		all := network.SetElements{Set: set.Name}
		for element := range set.Elements {
			all.Elements = append(all.Elements, element)
		}
		if err := t.stageElements(table, wanted, all, t.conn.SetAddElements); err != nil {
			return err
		}
	}
	for _, chain := range wanted.Chains {
		if err := t.stageChain(table, chain); err != nil {
			return err
		}
	}
	return nil
}

// maxNoted bounds what rules add to a set; a node has far fewer ports.
const maxNoted = 65535

// TakeNoted returns what rules have added to a set, and takes it from there. A table that is not there yet has nothing.
func (t *Tables) TakeNoted(id network.TableID, name string) ([]string, error) {
	table := &nftables.Table{Name: id.Name, Family: families[id.Family]}
	set, err := t.conn.GetSetByName(table, name)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find the set %s of nftables table %s: %w", name, id, err)
	}
	elements, err := t.conn.GetSetElements(set)
	if err != nil {
		return nil, fmt.Errorf("read the set %s of nftables table %s: %w", name, id, err)
	}
	var found []string
	for some := range slices.Chunk(elements, elementsPerMessage) {
		var taken []nftables.SetElement
		for _, element := range some {
			found = append(found, decode(set.KeyType.Name, element.Key))
			taken = append(taken, nftables.SetElement{Key: element.Key})
		}
		if err := t.conn.SetDeleteElements(&nftables.Set{Table: table, Name: name}, taken); err != nil {
			return nil, err
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	if err := t.conn.Flush(); err != nil {
		return nil, fmt.Errorf("empty the set %s of nftables table %s: %w", name, id, err)
	}
	return found, nil
}

func (t *Tables) stageChain(table *nftables.Table, wanted network.Chain) error {
	hook, policy := hookNumber(wanted.Hook), policies[wanted.Policy]
	priority := nftables.ChainPriority(wanted.Priority)
	chain := t.conn.AddChain(&nftables.Chain{Name: wanted.Name, Table: table, Type: nftables.ChainType(wanted.Type),
		Hooknum: &hook, Priority: &priority, Policy: &policy})
	for _, rule := range wanted.Rules {
		exprs, err := Compile(familyName(table.Family), rule.Text)
		if err != nil {
			return err
		}
		data := userdata.AppendString(nil, userdata.TypeComment, rule.Name)
		data = userdata.Append(data, textData, []byte(rule.Text))
		t.conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs, UserData: data})
	}
	return nil
}

func (t *Tables) stageElements(table *nftables.Table, wanted network.Table, change network.SetElements,
	send func(*nftables.Set, []nftables.SetElement) error) error {
	at := slices.IndexFunc(wanted.Sets, func(s network.Set) bool { return s.Name == change.Set })
	kind := wanted.Sets[at].Type
	for some := range slices.Chunk(change.Elements, elementsPerMessage) {
		var elements []nftables.SetElement
		for _, element := range some {
			key, err := encode(kind, element)
			if err != nil {
				return err
			}
			elements = append(elements, nftables.SetElement{Key: key})
		}
		if err := send(&nftables.Set{Table: table, Name: change.Set, ID: uint32(at + 1)}, elements); err != nil {
			return err
		}
	}
	return nil
}

func familyName(number nftables.TableFamily) string {
	for name, candidate := range families {
		if candidate == number {
			return name
		}
	}
	return ""
}

var policies = map[string]nftables.ChainPolicy{"accept": nftables.ChainPolicyAccept, "drop": nftables.ChainPolicyDrop}

func policyName(policy nftables.ChainPolicy) string {
	if policy == nftables.ChainPolicyDrop {
		return "drop"
	}
	return "accept"
}

// hooks are in the kernel's order, the same for all families (linux/netfilter.h, linux/netfilter_bridge.h).
var hooks = []string{"prerouting", "input", "forward", "output", "postrouting"}

func hookName(number nftables.ChainHook) string { return hooks[number] }

func hookNumber(name string) nftables.ChainHook {
	return nftables.ChainHook(slices.Index(hooks, name))
}
