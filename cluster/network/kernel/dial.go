package kernel

import (
	"context"
	"fmt"
	"net"
	"os"

	"github.com/ciaocloud/ciao/cluster/network/netns"
)

// Dial opens a TCP connection to an address (IP:port) from the node's namespace, which is made, and given its address on the underlay,
// if that is still to be done. Only places in NodeConfig.Control can answer.
func (n *Node) Dial(ctx context.Context, address string) (connection net.Conn, err error) {
	namespace, err := n.enter(ctx)
	if err != nil {
		return nil, fmt.Errorf("reach %s from node %s: %w", address, n.config.Node, err)
	}
	defer namespace.Close()
	err = netns.Inside(namespace, func() error {
		connection, err = (&net.Dialer{}).DialContext(ctx, "tcp", address)
		return err
	})
	return connection, err
}

// enter opens the node's namespace for the caller once it has its address.
func (n *Node) enter(ctx context.Context) (*os.File, error) {
	if err := enter(ctx, n.gate); err != nil {
		return nil, err
	}
	defer leave(n.gate)
	opened, err := n.open()
	if err != nil {
		return nil, err
	}
	if _, _, err := opened.underlay.ready(ctx); err != nil {
		return nil, err
	}
	return netns.Open(n.Namespace())
}
