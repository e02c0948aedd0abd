package netplugin

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/ciaocloud/ciao/cluster"
)

// maxRequest bounds a request of the engine; the largest real one is a few hundred bytes.
const maxRequest = 1 << 20

// contentType is what the plugin protocol asks for.
const contentType = "application/vnd.docker.plugins.v1+json"

type request struct {
	NetworkID  string
	EndpointID string
	Interface  *struct{ Address string }
	Options    map[string]any
}

type reply struct {
	Err                   string            `json:",omitempty"`
	Implements            []string          `json:",omitempty"`
	Scope                 string            `json:",omitempty"`
	ConnectivityScope     string            `json:",omitempty"`
	Interface             *interfaceReply   `json:",omitempty"`
	InterfaceName         *interfaceName    `json:",omitempty"`
	Gateway               string            `json:",omitempty"`
	GatewayIPv6           string            `json:",omitempty"`
	DisableGatewayService bool              `json:",omitempty"`
	Value                 map[string]string `json:",omitempty"`
}

type interfaceReply struct {
	Address     string `json:",omitempty"`
	AddressIPv6 string `json:",omitempty"`
	MacAddress  string `json:",omitempty"`
}

type interfaceName struct {
	SrcName   string
	DstPrefix string
}

// handler maps the protocol's calls. Those that need no answer of ours get an empty one.
func (p *Plugin) handler() http.Handler {
	nothing := func(request) (reply, error) { return reply{}, nil }
	calls := map[string]func(request) (reply, error){
		"/Plugin.Activate": func(request) (reply, error) {
			return reply{Implements: []string{"NetworkDriver"}}, nil
		},
		"/NetworkDriver.GetCapabilities": func(request) (reply, error) {
			return reply{Scope: "local", ConnectivityScope: "local"}, nil
		},
		"/NetworkDriver.CreateNetwork":               nothing,
		"/NetworkDriver.DeleteNetwork":               nothing,
		"/NetworkDriver.CreateEndpoint":              p.createEndpoint,
		"/NetworkDriver.EndpointOperInfo":            nothing,
		"/NetworkDriver.DeleteEndpoint":              p.deleteEndpoint,
		"/NetworkDriver.Join":                        p.join,
		"/NetworkDriver.Leave":                       nothing,
		"/NetworkDriver.DiscoverNew":                 nothing,
		"/NetworkDriver.DiscoverDelete":              nothing,
		"/NetworkDriver.ProgramExternalConnectivity": nothing,
		"/NetworkDriver.RevokeExternalConnectivity":  nothing,
	}
	mux := http.NewServeMux()
	for path, call := range calls {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, call) })
	}
	return mux
}

// serve decodes a request, which the engine leaves empty for some calls, and writes the answer; an error is the body's Err with
// status 500, which the engine reports to whoever started the container.
func (p *Plugin) serve(w http.ResponseWriter, r *http.Request, call func(request) (reply, error)) {
	var in request
	err := json.NewDecoder(io.LimitReader(r.Body, maxRequest)).Decode(&in)
	var out reply
	if err == nil || err == io.EOF {
		out, err = call(in)
	}
	w.Header().Set("Content-Type", contentType)
	if err != nil {
		p.log.Warn("network plugin: refused a call of the engine", "call", r.URL.Path, "endpoint", in.EndpointID, "error", err)
		w.WriteHeader(http.StatusInternalServerError)
		out = reply{Err: err.Error()}
	}
	if err := json.NewEncoder(w).Encode(out); err != nil {
		p.log.Warn("network plugin: the engine did not take an answer", "call", r.URL.Path, "error", err)
	}
}

func (p *Plugin) createEndpoint(in request) (reply, error) {
	endpoint, err := parseEndpoint(in.Options)
	if err != nil {
		return reply{}, err
	}
	p.mu.Lock()
	p.endpoints[in.EndpointID] = endpoint
	p.mu.Unlock()
	out := &interfaceReply{MacAddress: endpoint.MAC}
	if in.Interface == nil || in.Interface.Address == "" { // else an address manager gave one, which must not be given again
		out.Address = endpoint.Address.String()
	}
	if endpoint.Address6.IsValid() {
		out.AddressIPv6 = endpoint.Address6.String()
	}
	return reply{Interface: out}, nil
}

// join follows createEndpoint within one start of the container. A plugin that was restarted between the two fails the start, and
// whoever starts again gets a new endpoint.
func (p *Plugin) join(in request) (reply, error) {
	p.mu.Lock()
	endpoint, known := p.endpoints[in.EndpointID]
	p.mu.Unlock()
	if !known {
		return reply{}, fmt.Errorf("the endpoint is not known here: the launcher was restarted meanwhile; start the container again: %w", cluster.ErrUnavailable)
	}
	out := reply{
		InterfaceName:         &interfaceName{SrcName: endpoint.Port, DstPrefix: "eth"},
		Gateway:               endpoint.Gateway.String(),
		DisableGatewayService: true, // never a second way out by the engine's own bridge
	}
	if endpoint.Gateway6.IsValid() {
		out.GatewayIPv6 = endpoint.Gateway6.String()
	}
	return out, nil
}

func (p *Plugin) deleteEndpoint(in request) (reply, error) {
	p.mu.Lock()
	delete(p.endpoints, in.EndpointID)
	p.mu.Unlock()
	return reply{}, nil
}
