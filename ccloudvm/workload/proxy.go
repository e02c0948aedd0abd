package workload

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/ciaocloud/ciao/ccloudvm"
)

// hostFromGuest is the address at which a guest on QEMU's user network finds the host's loopback, guestAddress the guest's own.
const (
	hostFromGuest = "10.0.2.2"
	guestAddress  = "10.0.2.15"
)

// Proxy is the caller's proxy configuration as a guest must write it.
type Proxy struct {
	HTTP  string
	HTTPS string
	No    string
}

// ProxyFromEnvironment reads http_proxy, https_proxy, all_proxy and no_proxy, upper case before lower case, with getenv. A proxy on the
// host's loopback is rewritten to the address the guest finds it at; the never names are added to the exceptions.
// An error names the variable and never its value, which may hold a password.
func ProxyFromEnvironment(getenv func(string) string, never ...string) (Proxy, error) {
	var p Proxy
	var err error
	if p.HTTP, err = proxyURL(getenv, "HTTP_PROXY"); err != nil {
		return Proxy{}, err
	}
	if p.HTTPS, err = proxyURL(getenv, "HTTPS_PROXY"); err != nil {
		return Proxy{}, err
	}
	if p.HTTP == "" && p.HTTPS == "" {
		return Proxy{}, nil
	}
	_, no := variable(getenv, "NO_PROXY")
	exceptions := strings.FieldsFunc(no, func(r rune) bool { return r == ',' || r == ' ' })
	for _, name := range append([]string{"localhost", "127.0.0.1", hostFromGuest, guestAddress}, never...) {
		if name != "" && !slices.Contains(exceptions, name) {
			exceptions = append(exceptions, name)
		}
	}
	p.No = strings.Join(exceptions, ",")
	if i := strings.IndexFunc(p.No, unsafeInShell); i >= 0 {
		return Proxy{}, fmt.Errorf("the variable NO_PROXY holds the character %q, which no host name has: %w", p.No[i], ccloudvm.ErrInvalid)
	}
	return p, nil
}

func proxyURL(getenv func(string) string, name string) (string, error) {
	source, value := variable(getenv, name)
	if value == "" {
		source, value = variable(getenv, "ALL_PROXY")
	}
	if value == "" {
		return "", nil
	}
	if !strings.Contains(value, "://") {
		value = "http://" + value
	}
	u, err := url.Parse(value)
	if err != nil || u.Hostname() == "" {
		return "", fmt.Errorf("the variable %s is not the URL of a proxy (http://host:port): %w", source, ccloudvm.ErrInvalid)
	}
	if u.Scheme == "https" { // apt, curl and docker speak plain HTTP to a proxy, whatever is fetched through it
		u.Scheme = "http"
	}
	u.Path = strings.TrimRight(u.Path, "/")
	if onLoopback(u.Hostname()) {
		u.Host = hostFromGuest + portSuffix(u.Port())
	}
	out := u.String()
	if strings.ContainsFunc(out, unsafeInShell) {
		return "", fmt.Errorf("the variable %s holds characters that a URL writes as %%XX (in the password?): %w", source, ccloudvm.ErrInvalid)
	}
	return out, nil
}

// variable looks a variable up in both spellings and says which one it was.
func variable(getenv func(string) string, name string) (string, string) {
	for _, spelling := range []string{name, strings.ToLower(name)} {
		if v := strings.TrimSpace(getenv(spelling)); v != "" {
			return spelling, v
		}
	}
	return name, ""
}

func onLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

func portSuffix(port string) string {
	if port == "" {
		return ""
	}
	return ":" + port
}

// unsafeInShell are the characters that would end or change a word in the shells, unit files and YAML that a proxy is written into.
func unsafeInShell(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune("\"'`$\\;&|<>(){}*!#", r)
}
