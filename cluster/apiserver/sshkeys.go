package apiserver

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/controller"
)

type createSSHKey struct {
	ForTenant
	Body api.CreateSSHKey
}

type listSSHKeys struct {
	ForTenant
	Page
}

type oneSSHKey struct {
	ForTenant
	Named
}

func (s *Server) registerSSHKeys(a huma.API) {
	const tag = "ssh-keys"
	handle(s, a, operation("create-ssh-key", http.MethodPost, "/ssh-keys", "Keep a public key, for virtual machines that are created with it", tag), s.createSSHKey)
	handle(s, a, operation("list-ssh-keys", http.MethodGet, "/ssh-keys", "List the tenant's SSH keys", tag), s.listSSHKeys)
	handle(s, a, operation("get-ssh-key", http.MethodGet, "/ssh-keys/{ref}", "Show an SSH key", tag), s.getSSHKey)
	handleEmpty(s, a, operation("delete-ssh-key", http.MethodDelete, "/ssh-keys/{ref}", "Forget an SSH key; instances that were created with it keep it", tag), s.deleteSSHKey)
}

func (s *Server) createSSHKey(ctx context.Context, in *createSSHKey) (api.SSHKey, error) {
	scope, err := s.owner(ctx, in.Tenant)
	if err != nil {
		return api.SSHKey{}, err
	}
	created, err := s.config.UseCases.CreateSSHKey(ctx, scope, in.Body.Name, in.Body.Key)
	return sshKeyOf(created), err
}

func (s *Server) listSSHKeys(ctx context.Context, in *listSSHKeys) (api.List[api.SSHKey], error) {
	scope, err := s.scope(ctx, in.Tenant)
	if err != nil {
		return api.List[api.SSHKey]{}, err
	}
	found, next, err := s.config.UseCases.SSHKeys(ctx, scope, controller.Page(in.Page))
	return api.List[api.SSHKey]{Items: each(found, sshKeyOf), Next: next}, err
}

func (s *Server) getSSHKey(ctx context.Context, in *oneSSHKey) (api.SSHKey, error) {
	scope, err := s.scope(ctx, in.Tenant)
	if err != nil {
		return api.SSHKey{}, err
	}
	key, err := s.config.UseCases.SSHKey(ctx, scope, in.Ref)
	return sshKeyOf(key), err
}

func sshKeyOf(k cluster.SSHKey) api.SSHKey {
	return api.SSHKey{ID: k.ID, Name: k.Name, Tenant: k.Tenant, Key: k.Key, Fingerprint: k.Fingerprint, Created: k.Created}
}

func (s *Server) deleteSSHKey(ctx context.Context, in *oneSSHKey) error {
	scope, err := s.scope(ctx, in.Tenant)
	if err != nil {
		return err
	}
	return s.config.UseCases.DeleteSSHKey(ctx, scope, in.Ref)
}
