package bat

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/cluster/config"
)

// SinglevmDirectory is where singlevm keeps the cluster that it made on this machine.
const SinglevmDirectory = "/var/lib/ciao/singlevm"

// User is somebody who may act for one tenant.
type User struct {
	Certificate string // file with certificate and key
	Tenant      string // id; empty is the certificate's only one
}

// Access says which cluster is judged, and as whom.
type Access struct {
	Controller string // host, host:port or URL
	CA         string // file
	Operator   string // file with an operator's certificate and key
	Users      []User // may be none: then nothing is said about authorisation
	PKI        string // directory with the daemons' certificates, where this machine has it; else empty
	TimeScale  float64
	CNCIIdle   time.Duration // how long a CNCI without instances is kept; zero where that is not known
}

// FindAccess reads ciao's environment variables; when none is set, the files of the cluster that singlevm made here, in directory.
// The error is of class cluster.ErrInvalid.
func FindAccess(getenv func(string) string, directory string) (Access, error) {
	access := Access{Controller: getenv(client.EnvController), CA: getenv(client.EnvCA), Operator: getenv(client.EnvAdminCert), TimeScale: 1}
	certificate := getenv(client.EnvClientCert)
	if access.Controller+access.CA+access.Operator+certificate == "" {
		return singlevmAccess(directory)
	}
	if certificate != "" {
		access.Users = []User{{Certificate: certificate, Tenant: getenv(client.EnvTenant)}}
	}
	access.readMachine(directory)
	return access, access.check()
}

func (a Access) check() error {
	switch {
	case a.Controller == "":
		return fmt.Errorf("%w: no controller: set %s (`singlevm env` prints it)", cluster.ErrInvalid, client.EnvController)
	case a.Operator == "":
		return fmt.Errorf("%w: no operator's certificate: set %s, for the tests work in tenants of their own making", cluster.ErrInvalid, client.EnvAdminCert)
	}
	return nil
}

// singlevmAccess reads the environment files of singlevm's users: all of them share the operator's certificate.
func singlevmAccess(directory string) (Access, error) {
	files, err := filepath.Glob(filepath.Join(directory, "users", "*.env"))
	if err != nil || len(files) == 0 {
		return Access{}, fmt.Errorf("%w: there is no cluster to judge: set %s and %s, or run `singlevm setup`", cluster.ErrInvalid, client.EnvController, client.EnvAdminCert)
	}
	access := Access{TimeScale: 1}
	for _, file := range files { // in the order of their names: blue is the first
		variables, err := readEnvironment(file)
		if err != nil {
			return Access{}, err
		}
		access.Controller, access.CA, access.Operator = variables[client.EnvController], variables[client.EnvCA], variables[client.EnvAdminCert]
		access.Users = append(access.Users, User{variables[client.EnvClientCert], variables[client.EnvTenant]})
	}
	access.readMachine(directory)
	return access, access.check()
}

// readEnvironment reads the lines `export NAME=value` of a file.
func readEnvironment(file string) (map[string]string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", cluster.ErrInvalid, err)
	}
	variables := map[string]string{}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		if name, value, found := strings.Cut(strings.TrimPrefix(lines.Text(), "export "), "="); found {
			variables[name] = value
		}
	}
	return variables, nil
}

// readMachine adds what only the cluster's own machine knows, if this is it and the caller may read it.
func (a *Access) readMachine(directory string) {
	file, err := config.Load(filepath.Join(directory, "cluster.yaml"))
	if err != nil {
		return
	}
	a.PKI, a.TimeScale, a.CNCIIdle = file.PKI.Directory, file.TimeScale, time.Duration(file.Controller.CNCIIdle)
}
