package instance

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"strings"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/guest"
	"github.com/ciaocloud/ciao/ccloudvm/seed"
	"github.com/ciaocloud/ciao/ccloudvm/workload"
)

// What the guest reports of its first boot besides the workload's own tasks: the phases, as messages that begin with a mark.
const (
	phaseMark         = "@"
	cloudInitPhase    = "cloud-init"
	provisioningPhase = "provisioning"
)

// render is the instance's user data: the workload's cloud-config between what every instance has, whatever its workload says, and
// the report that all is done.
func render(w *workload.Workload, ws workload.Workspace, host guest.Key, helper string) ([]byte, error) {
	// The port can be written only while somebody listens on the host; a boot must not hang on it.
	report := func(text string) string {
		return fmt.Sprintf("timeout 5 sh -c 'echo %s > %s' || true", text, workload.ChannelPath)
	}
	files := []any{}
	if helper != "" {
		files = append(files, map[string]any{"path": workload.GetCommand, "permissions": "0755", "content": helper})
	}
	before, err := json.Marshal(map[string]any{
		"hostname":   ws.Hostname,
		"bootcmd":    []any{report("message " + phaseMark + cloudInitPhase)},
		"ssh_pwauth": false,
		"ssh_keys":   map[string]string{"ed25519_private": host.PrivatePEM, "ed25519_public": host.PublicLine},
		"users": []any{map[string]any{
			"name": ws.User, "uid": ws.UID, "gecos": "ccloudvm", "shell": "/bin/bash", "lock_passwd": true,
			"sudo": "ALL=(ALL) NOPASSWD:ALL", "ssh_authorized_keys": []string{ws.PublicKey},
		}},
		"write_files": files,
		"runcmd":      []any{report("message " + phaseMark + provisioningPhase)},
	})
	if err != nil {
		return nil, err
	}
	after, err := json.Marshal(map[string]any{"runcmd": []any{"echo finished > " + workload.ChannelPath}})
	if err != nil {
		return nil, err
	}
	return w.CloudConfig(ws, string(before), string(after))
}

// helper is the program in the guest that fetches files through the host. cloud-init needs Python, so it is there.
func helper(address net.Addr, token string) string {
	_, port, _ := net.SplitHostPort(address.String())
	return strings.NewReplacer("PORT", port, "TOKEN", token).Replace(`#!/usr/bin/python3
# ccloudvm-get URL PATH: fetch a file through the download cache of the host. Works while the instance is being created.
import os, shutil, sys
from urllib import parse, request
url, path = (parse.unquote(word) for word in sys.argv[1:3])
opener = request.build_opener(request.ProxyHandler({}))
with opener.open("http://10.0.2.2:PORT/TOKEN?url=" + parse.quote(url, safe=""), timeout=600) as answer, open(path + ".part", "wb") as file:
    shutil.copyfileobj(answer, file)
os.replace(path + ".part", path)
`)
}

func writeSeed(l Layout, r *Record, userData []byte) error {
	if err := writeFile(l.file(r.Name, userDataFile), userData); err != nil {
		return hostError("the cloud-config cannot be written", err)
	}
	err := seed.Write(l.file(r.Name, seedFile), seed.Seed{InstanceID: r.UUID, Hostname: r.Name, UserData: userData})
	if err != nil {
		return hostError("the seed cannot be written", err)
	}
	return nil
}

// newUUID is a random UUID (RFC 9562, version 4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// request is the wish for the base image of a spec.
func wantsPackages(spec ccloudvm.Spec, have []string) []string {
	var missing []string
	for _, p := range spec.Packages {
		found := false
		for _, h := range have {
			found = found || h == p
		}
		if !found {
			missing = append(missing, p)
		}
	}
	return missing
}
