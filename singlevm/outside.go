package singlevm

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ciaocloud/ciao/cluster/network/netns"
)

// Addresses of the place outside: TEST-NET-3 (RFC 5737), and of IPv6's range for documentation (RFC 3849).
const (
	outsideSpace    = "ciao-" + ClusterName + "-outside"
	outsideLink     = "ciaooutside"
	outsideMachine  = "203.0.113.1"
	outsideServer   = "203.0.113.2"
	outsideMachine6 = "2001:db8:cb00:7100::1"
	outsideServer6  = "2001:db8:cb00:7100::2"
	outsidePort     = "80"
)

// outside is a server beyond the machine: in a namespace of its own that has one link to the machine and no route back to the
// underlay, so that only what the machine translates can be answered.
type outside struct {
	calls  []call
	server *http.Server
	space  *os.File
}

// call is a way to call it, and the caller that it sees when the machine translates.
type call struct{ url, machine string }

func newOutside() (*outside, error) {
	o := &outside{}
	for i, address := range o.addresses() {
		o.calls = append(o.calls, call{"http://" + net.JoinHostPort(address, outsidePort), []string{outsideMachine, outsideMachine6}[i]})
	}
	if err := o.make(); err != nil {
		o.close()
		return nil, fmt.Errorf("make a server beyond the machine: %w", err)
	}
	return o, nil
}

func (o *outside) make() (err error) {
	if err := removeLink(outsideLink); err != nil { // of a proof that was killed
		return err
	}
	if o.space, err = netns.Make(outsideSpace, func(*os.File) error { return nil }); err != nil {
		return err
	}
	pair := &netlink.Veth{LinkAttrs: attributes(outsideLink), PeerName: "eth0", PeerNamespace: netlink.NsFd(int(o.space.Fd()))}
	if err := netlink.LinkAdd(pair); err != nil {
		return err
	}
	if err := bringUp(pair, outsideMachine, outsideMachine6); err != nil {
		return err
	}
	return netns.Inside(o.space, o.serve)
}

// addresses are the server's.
func (o *outside) addresses() []string {
	if hasIPv6() {
		return []string{outsideServer, outsideServer6}
	}
	return []string{outsideServer}
}

// serve answers every caller with the address that it sees.
func (o *outside) serve() error {
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := bringUp(link, outsideServer, outsideServer6); err != nil {
		return err
	}
	// Of each family by its own: a process asks once whether its machine has IPv6, and the answer is not this namespace's.
	var listeners []net.Listener
	for _, address := range o.addresses() {
		listener, err := net.Listen("tcp", net.JoinHostPort(address, outsidePort))
		if err != nil {
			return err
		}
		listeners = append(listeners, listener)
	}
	o.server = &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if caller, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
			fmt.Fprintln(w, caller.Addr().Unmap())
		}
	})}
	for _, listener := range listeners {
		go func() { _ = o.server.Serve(listener) }() // close ends it, which is the only error it can have
	}
	return nil
}

func bringUp(link netlink.Link, address, address6 string) error {
	parsed, err := netlink.ParseAddr(address + "/24")
	if err != nil {
		return err
	}
	return errors.Join(netlink.AddrReplace(link, parsed), addAddress6(link, address6+"/64"), netlink.LinkSetUp(link))
}

// close removes all of it.
func (o *outside) close() {
	if o.server != nil {
		_ = o.server.Close() // the listener goes with the namespace in any case
	}
	if o.space != nil {
		_ = o.space.Close() // it was only read
	}
	_ = removeLink(outsideLink)    // cleanup finds it
	_ = netns.Remove(outsideSpace) // cleanup finds it
}
