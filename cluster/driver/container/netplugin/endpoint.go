package netplugin

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/ciaocloud/ciao/cluster"
)

// Endpoint is all that the engine must know to give a container its port.
type Endpoint struct {
	Port    string       // name of the link in the engine's namespace
	Address netip.Prefix // the container's IPv4 address with the length of its subnet's prefix
	MAC     string
	Gateway netip.Addr
	// Address6 and Gateway6 are beside them, or both invalid. The engine's network need not know of IPv6 for that, which it could not
	// with a null address manager.
	Address6 netip.Prefix
	Gateway6 netip.Addr
}

// Names of the driver options that carry an Endpoint.
const (
	optionPort     = "ciao.port"
	optionAddress  = "ciao.address"
	optionMAC      = "ciao.mac"
	optionGateway  = "ciao.gateway"
	optionAddress6 = "ciao.address6"
	optionGateway6 = "ciao.gateway6"
)

// Options are the endpoint as driver options (EndpointSettings.DriverOpts), which the engine keeps with the container and hands
// back to the plugin at every start.
func (e Endpoint) Options() map[string]string {
	options := map[string]string{
		optionPort:    e.Port,
		optionAddress: e.Address.String(),
		optionMAC:     e.MAC,
		optionGateway: e.Gateway.String(),
	}
	if e.Address6.IsValid() {
		options[optionAddress6], options[optionGateway6] = e.Address6.String(), e.Gateway6.String()
	}
	return options
}

// parseEndpoint reads what Options wrote, as the engine's JSON has it; unknown options are the engine's own.
func parseEndpoint(options map[string]any) (Endpoint, error) {
	text := func(name string) string { value, _ := options[name].(string); return value }
	var (
		e   = Endpoint{Port: text(optionPort), MAC: text(optionMAC)}
		err error
	)
	if e.Port == "" || len(e.Port) > 15 {
		return e, fmt.Errorf("the driver option %s must name the link that the container takes: %w", optionPort, cluster.ErrInvalid)
	}
	if _, err = net.ParseMAC(e.MAC); err != nil {
		return e, fmt.Errorf("the driver option %s is not a MAC address: %w", optionMAC, cluster.ErrInvalid)
	}
	if e.Address, err = netip.ParsePrefix(text(optionAddress)); err != nil {
		return e, fmt.Errorf("the driver option %s is not an address with a prefix length: %w", optionAddress, cluster.ErrInvalid)
	}
	if e.Gateway, err = netip.ParseAddr(text(optionGateway)); err != nil {
		return e, fmt.Errorf("the driver option %s is not an address: %w", optionGateway, cluster.ErrInvalid)
	}
	if text(optionAddress6) == "" {
		return e, nil
	}
	if e.Address6, err = netip.ParsePrefix(text(optionAddress6)); err != nil || !e.Address6.Addr().Is6() {
		return e, fmt.Errorf("the driver option %s is not an IPv6 address with a prefix length: %w", optionAddress6, cluster.ErrInvalid)
	}
	if e.Gateway6, err = netip.ParseAddr(text(optionGateway6)); err != nil || !e.Gateway6.Is6() {
		return e, fmt.Errorf("the driver option %s is not an IPv6 address: %w", optionGateway6, cluster.ErrInvalid)
	}
	return e, nil
}
