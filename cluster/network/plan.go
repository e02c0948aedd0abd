package network

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
)

// Plan is the steps that lead from current to wanted, in an order in which each can be taken and no frame passes that wanted does
// not allow: links go before the filter forgets them, and come after the filter knows them. It is a pure function; of equal images
// the plan is empty.
func Plan(current, wanted Image) []Step {
	current = current.Clone()
	var plan []Step
	add := func(steps ...Step) {
		current.Do(steps...)
		plan = append(plan, steps...)
	}
	add(planSettings(current, wanted)...)
	add(planRemovals(current, wanted)...)
	add(planTables(current, wanted)...)
	add(planLinks(current, wanted)...)
	add(planAddresses(current, wanted)...)
	add(planForwards(current, wanted)...)
	add(planUp(current, wanted)...)
	return plan
}

// planSettings only sets: what is not wanted is left as it is.
func planSettings(current, wanted Image) (steps []Step) {
	for _, name := range slices.Sorted(maps.Keys(wanted.Settings)) {
		if value, known := current.Settings[name]; known && value != wanted.Settings[name] {
			steps = append(steps, Setting{name, wanted.Settings[name]})
		}
	}
	return steps
}

// planRemovals removes ports before the bridges they are on, so that a frame never meets half a subnet.
func planRemovals(current, wanted Image) (steps []Step) {
	links := sortedLinks(current.Links)
	slices.Reverse(links)
	for _, link := range links {
		if want, ok := wanted.Links[link.Name]; !ok || link.remake(want) {
			steps = append(steps, DelLink{link.Name})
		}
	}
	return steps
}

func planTables(current, wanted Image) []Step {
	var changes []TableChange
	for _, id := range sortedTables(current.Tables) {
		if _, ok := wanted.Tables[id]; !ok {
			changes = append(changes, TableChange{Table: Table{ID: id}, Remove: true})
		}
	}
	for _, id := range sortedTables(wanted.Tables) {
		have, ok := current.Tables[id]
		if change := changeTable(have, wanted.Tables[id]); !ok || change.Replace || len(change.Add)+len(change.Del) > 0 {
			change.Replace = change.Replace || !ok
			changes = append(changes, change)
		}
	}
	if len(changes) == 0 {
		return nil
	}
	return []Step{Filter{changes}}
}

// changeTable changes elements where that is enough: adding a port must not rewrite the rules of all the others.
func changeTable(have, want Table) TableChange {
	change := TableChange{Table: want}
	if !sameRules(have, want) {
		change.Replace = true
		return change
	}
	for i, set := range want.Sets {
		if add := missing(set.Elements, have.Sets[i].Elements, cmp.Compare[string]); len(add) > 0 {
			change.Add = append(change.Add, SetElements{set.Name, add})
		}
		if del := missing(have.Sets[i].Elements, set.Elements, cmp.Compare[string]); len(del) > 0 {
			change.Del = append(change.Del, SetElements{set.Name, del})
		}
	}
	return change
}

// sameRules compares everything but the elements of sets.
func sameRules(a, b Table) bool {
	return slices.EqualFunc(a.Sets, b.Sets, func(a, b Set) bool { return a.Name == b.Name && a.Type == b.Type && a.Noted == b.Noted }) &&
		slices.EqualFunc(a.Chains, b.Chains, func(a, b Chain) bool {
			return a.Name == b.Name && a.Type == b.Type && a.Hook == b.Hook && a.Priority == b.Priority && a.Policy == b.Policy &&
				slices.Equal(a.Rules, b.Rules)
		})
}

func planLinks(current, wanted Image) (steps []Step) {
	for _, want := range sortedLinks(wanted.Links) {
		have, ok := current.Links[want.Name]
		if !ok {
			steps = append(steps, AddLink{want})
			have = want
			have.Alias, have.Master, have.Up = "", "", false
		}
		set := func(attribute Attribute, value string) { steps = append(steps, SetLink{want.Name, attribute, value}) }
		if have.Alias != want.Alias {
			set(LinkAlias, want.Alias)
		}
		if have.MTU != want.MTU {
			set(LinkMTU, strconv.Itoa(want.MTU))
		}
		if want.MAC != "" && have.MAC != want.MAC {
			set(LinkMAC, want.MAC)
		}
		if have.Master != want.Master {
			set(LinkMaster, want.Master)
		}
	}
	return steps
}

// planUp comes last: a link that is up works.
func planUp(current, wanted Image) (steps []Step) {
	for _, want := range sortedLinks(wanted.Links) {
		if want.Up && !current.Links[want.Name].Up {
			steps = append(steps, SetLink{want.Name, LinkState, "up"})
		}
	}
	return steps
}

func planAddresses(current, wanted Image) (steps []Step) {
	order := func(a, b Address) int {
		return cmp.Or(cmp.Compare(a.Link, b.Link), a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	}
	for _, address := range missing(current.Addresses, wanted.Addresses, order) {
		steps = append(steps, DelAddress{address})
	}
	for _, address := range missing(wanted.Addresses, current.Addresses, order) {
		steps = append(steps, AddAddress{address})
	}
	return steps
}

// planForwards removes first: for a MAC that has moved, the kernel would keep the entry that is there.
func planForwards(current, wanted Image) (steps []Step) {
	order := func(a, b Forward) int {
		return cmp.Or(cmp.Compare(a.Link, b.Link), cmp.Compare(a.MAC, b.MAC), a.To.Compare(b.To))
	}
	for _, forward := range missing(current.Forwards, wanted.Forwards, order) {
		steps = append(steps, DelForward{forward})
	}
	for _, forward := range missing(wanted.Forwards, current.Forwards, order) {
		steps = append(steps, AddForward{forward})
	}
	return steps
}

// sortedLinks puts bridges first, then VXLAN devices, then ports; of one kind by name.
func sortedLinks(links map[string]Link) []Link {
	rank := map[LinkKind]int{LinkBridge: 1, LinkVXLAN: 2, LinkVeth: 3, LinkTap: 3}
	return slices.SortedFunc(maps.Values(links), func(a, b Link) int {
		return cmp.Or(cmp.Compare(rank[a.Kind], rank[b.Kind]), cmp.Compare(a.Name, b.Name))
	})
}

func sortedTables(tables map[TableID]Table) []TableID {
	return slices.SortedFunc(maps.Keys(tables), func(a, b TableID) int {
		return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Name, b.Name))
	})
}

// missing is what of want is not in have, in order.
func missing[K comparable](want, have map[K]bool, order func(a, b K) int) []K {
	var rest []K
	for key := range want {
		if !have[key] {
			rest = append(rest, key)
		}
	}
	slices.SortFunc(rest, order)
	return rest
}
