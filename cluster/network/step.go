package network

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Step is one change of a namespace. Its string is the line that a person would type for it.
type Step interface {
	fmt.Stringer
	// on makes the change in an image.
	on(image *Image)
}

// Setting sets a kernel setting.
type Setting struct{ Name, Value string }

// DelLink removes a link and what hangs on it.
type DelLink struct{ Name string }

// AddLink makes a link: down, without alias and master.
type AddLink struct{ Link Link }

// SetLink sets one attribute of a link.
type SetLink struct {
	Name      string
	Attribute Attribute
	Value     string
}

// Attribute is what can be set of a link that is there.
type Attribute string

// Attributes of links.
const (
	LinkAlias  Attribute = "alias"
	LinkMTU    Attribute = "mtu"
	LinkMAC    Attribute = "address"
	LinkMaster Attribute = "master" // the value is the bridge's name; empty is none
	LinkState  Attribute = "state"  // up or down
)

// AddAddress and DelAddress change the addresses of a link.
type (
	AddAddress struct{ Address Address }
	DelAddress struct{ Address Address }
)

// AddForward and DelForward change the forwarding entries of a VXLAN device.
type (
	AddForward struct{ Forward Forward }
	DelForward struct{ Forward Forward }
)

// Filter changes nftables tables in one transaction: a packet meets all of it or nothing.
type Filter struct{ Changes []TableChange }

// TableChange is the change of one table: the whole of it, or elements of its sets.
type TableChange struct {
	Table   Table // as it is wanted; with Remove only its ID counts
	Remove  bool  // remove the table
	Replace bool  // put Table in the place of what is there, if anything
	Del     []SetElements
	Add     []SetElements
}

// SetElements are some elements of a set, sorted.
type SetElements struct {
	Set      string
	Elements []string
}

func (s Setting) String() string { return "sysctl " + s.Name + "=" + s.Value }
func (s DelLink) String() string { return "link del " + s.Name }
func (s AddLink) String() string { return "link add " + s.Link.describe() }

func (s SetLink) String() string {
	switch {
	case s.Attribute == LinkState:
		return "link set " + s.Name + " " + s.Value
	case s.Attribute == LinkMaster && s.Value == "":
		return "link set " + s.Name + " nomaster"
	}
	return "link set " + s.Name + " " + string(s.Attribute) + " " + s.Value
}

func (s AddAddress) String() string { return "addr add " + s.Address.String() }
func (s DelAddress) String() string { return "addr del " + s.Address.String() }
func (s AddForward) String() string { return "fdb add " + s.Forward.String() }
func (s DelForward) String() string { return "fdb del " + s.Forward.String() }

func (a Address) String() string { return a.Prefix.String() + " dev " + a.Link }
func (f Forward) String() string { return f.MAC + " dev " + f.Link + " dst " + f.To.String() }
func (t TableID) String() string { return t.Family + " " + t.Name }

func (l Link) describe() string {
	words := []string{l.Name, "type", string(l.Kind)}
	if l.Kind == LinkVXLAN {
		words = append(words, "id", fmt.Sprint(l.Key), "local", l.Local.String())
	}
	if l.Kind == LinkVeth {
		words = append(words, "peer", l.Peer.Name, "address", l.Peer.MAC)
	}
	if l.MAC != "" {
		words = append(words, "address", l.MAC)
	}
	return strings.Join(append(words, "mtu", fmt.Sprint(l.MTU)), " ")
}

func (s Filter) String() string {
	var lines []string
	for _, change := range s.Changes {
		lines = append(lines, change.lines()...)
	}
	return strings.Join(lines, "\n")
}

func (c TableChange) lines() []string {
	id := c.Table.ID.String()
	switch {
	case c.Remove:
		return []string{"nft delete table " + id}
	case c.Replace:
		return []string{"nft replace table " + id}
	}
	var lines []string
	for _, del := range c.Del {
		lines = append(lines, fmt.Sprintf("nft delete element %s %s { %s }", id, del.Set, strings.Join(del.Elements, ", ")))
	}
	for _, add := range c.Add {
		lines = append(lines, fmt.Sprintf("nft add element %s %s { %s }", id, add.Set, strings.Join(add.Elements, ", ")))
	}
	return lines
}

func (s Setting) on(i *Image)    { i.Settings[s.Name] = s.Value }
func (s AddAddress) on(i *Image) { i.Addresses[s.Address] = true }
func (s DelAddress) on(i *Image) { delete(i.Addresses, s.Address) }
func (s AddForward) on(i *Image) { i.Forwards[s.Forward] = true }
func (s DelForward) on(i *Image) { delete(i.Forwards, s.Forward) }

func (s DelLink) on(i *Image) {
	delete(i.Links, s.Name)
	for address := range i.Addresses {
		if address.Link == s.Name {
			delete(i.Addresses, address)
		}
	}
	for forward := range i.Forwards {
		if forward.Link == s.Name {
			delete(i.Forwards, forward)
		}
	}
	for name, link := range i.Links {
		if link.Master == s.Name {
			link.Master = ""
			i.Links[name] = link
		}
	}
}

func (s AddLink) on(i *Image) {
	link := s.Link
	link.Alias, link.Master, link.Up, link.Peer = "", "", false, Peer{}
	i.Links[link.Name] = link
}

func (s SetLink) on(i *Image) {
	link := i.Links[s.Name]
	switch s.Attribute {
	case LinkAlias:
		link.Alias = s.Value
	case LinkMTU:
		link.MTU, _ = strconv.Atoi(s.Value) // Plan wrote it
	case LinkMAC:
		link.MAC = s.Value
	case LinkMaster:
		link.Master = s.Value
	case LinkState:
		link.Up = s.Value == "up"
	}
	i.Links[s.Name] = link
}

func (s Filter) on(i *Image) {
	for _, change := range s.Changes {
		change.on(i)
	}
}

func (c TableChange) on(i *Image) {
	if c.Remove {
		delete(i.Tables, c.Table.ID)
		return
	}
	if c.Replace {
		i.Tables[c.Table.ID] = c.Table.clone()
		return
	}
	table := i.Tables[c.Table.ID]
	set := func(name string) map[string]bool {
		return table.Sets[slices.IndexFunc(table.Sets, func(s Set) bool { return s.Name == name })].Elements
	}
	for _, del := range c.Del {
		for _, element := range del.Elements {
			delete(set(del.Set), element)
		}
	}
	for _, add := range c.Add {
		for _, element := range add.Elements {
			set(add.Set)[element] = true
		}
	}
}

// Do makes the changes in the image.
func (i *Image) Do(steps ...Step) {
	for _, step := range steps {
		step.on(i)
	}
}
