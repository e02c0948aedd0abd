package api

import "time"

// SSHKey is a public key that a tenant keeps.
type SSHKey struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Tenant      string    `json:"tenant"`
	Key         string    `json:"key" doc:"line of authorized_keys"`
	Fingerprint string    `json:"fingerprint" doc:"SHA256:…, as ssh-keygen shows it"`
	Created     time.Time `json:"created"`
}

// CreateSSHKey is a public key to be kept.
type CreateSSHKey struct {
	Name string `json:"name" minLength:"1" maxLength:"63"`
	Key  string `json:"key" maxLength:"65536" doc:"content of a file with one public key, such as ~/.ssh/id_ed25519.pub"`
}
