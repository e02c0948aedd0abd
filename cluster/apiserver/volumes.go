package apiserver

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/controller"
)

type createVolume struct {
	ForTenant
	Body api.CreateVolume
}

type listVolumes struct {
	ForTenant
	Page
}

type oneVolume struct {
	ForTenant
	Named
}

type attachVolume struct {
	ForTenant
	Named
	Body api.AttachVolume
}

func (s *Server) registerVolumes(a huma.API) {
	const tag = "volumes"
	handle(s, a, operation("create-volume", http.MethodPost, "/volumes", "Create a volume: empty, or a copy of an image or a volume", tag), s.createVolume)
	handle(s, a, operation("list-volumes", http.MethodGet, "/volumes", "List the tenant's volumes", tag), s.listVolumes)
	handle(s, a, operation("get-volume", http.MethodGet, "/volumes/{ref}", "Show a volume", tag), s.getVolume)
	handle(s, a, operation("attach-volume", http.MethodPost, "/volumes/{ref}/attach", "Give a volume to a VM, or to another instance that does not run; a running VM gets it while the volume is attaching", tag), s.attachVolume)
	handle(s, a, operation("detach-volume", http.MethodPost, "/volumes/{ref}/detach", "Take a volume from its instance: a VM, or one that does not run; a running VM gives it back while the volume is detaching", tag), s.detachVolume)
	handle(s, a, operation("delete-volume", http.MethodDelete, "/volumes/{ref}", "Delete a volume that no instance has", tag), s.deleteVolume)
}

func (s *Server) createVolume(ctx context.Context, in *createVolume) (api.Volume, error) {
	scope, err := s.owner(ctx, in.Tenant)
	if err != nil {
		return api.Volume{}, err
	}
	created, err := s.config.UseCases.CreateVolume(ctx, scope, controller.VolumeRequest(in.Body))
	return volumeOf(created), err
}

func (s *Server) listVolumes(ctx context.Context, in *listVolumes) (api.List[api.Volume], error) {
	scope, err := s.scope(ctx, in.Tenant)
	if err != nil {
		return api.List[api.Volume]{}, err
	}
	found, next, err := s.config.UseCases.Volumes(ctx, scope, controller.Page(in.Page))
	return api.List[api.Volume]{Items: each(found, volumeOf), Next: next}, err
}

func (s *Server) getVolume(ctx context.Context, in *oneVolume) (api.Volume, error) {
	return s.onVolume(ctx, in, s.config.UseCases.Volume)
}

func (s *Server) detachVolume(ctx context.Context, in *oneVolume) (api.Volume, error) {
	return s.onVolume(ctx, in, s.config.UseCases.DetachVolume)
}

func (s *Server) deleteVolume(ctx context.Context, in *oneVolume) (api.Volume, error) {
	return s.onVolume(ctx, in, s.config.UseCases.DeleteVolume)
}

func (s *Server) onVolume(ctx context.Context, in *oneVolume, do func(ctx context.Context, scope, ref string) (cluster.Volume, error)) (api.Volume, error) {
	scope, err := s.scope(ctx, in.Tenant)
	if err != nil {
		return api.Volume{}, err
	}
	volume, err := do(ctx, scope, in.Ref)
	return volumeOf(volume), err
}

func (s *Server) attachVolume(ctx context.Context, in *attachVolume) (api.Volume, error) {
	scope, err := s.scope(ctx, in.Tenant)
	if err != nil {
		return api.Volume{}, err
	}
	place := cluster.VolumePlace{Target: in.Body.Target, ReadOnly: in.Body.ReadOnly}
	attached, err := s.config.UseCases.AttachVolume(ctx, scope, in.Ref, in.Body.Instance, place)
	return volumeOf(attached), err
}

func volumeOf(v cluster.Volume) api.Volume {
	image := ""
	if v.Image != nil {
		image = v.Image.Name
	}
	return api.Volume{
		ID: v.ID, Name: v.Name, Tenant: v.Tenant, State: v.State, Content: v.Content, Storage: storageOf(v), SizeMiB: v.SizeMiB, Image: image, Source: v.Source, Node: v.Node,
		Instance: v.Instance, Target: v.Place.Target, ReadOnly: v.Place.ReadOnly, Ephemeral: v.Ephemeral, Reason: v.Reason, Created: v.Created,
	}
}

func storageOf(v cluster.Volume) cluster.Storage {
	if v.Storage == "" && v.Content != "" {
		return cluster.StorageLocal
	}
	return v.Storage
}

func attachmentOf(v api.InstanceVolume) controller.VolumeAttachment {
	return controller.VolumeAttachment{Volume: v.Volume, Place: cluster.VolumePlace{Target: v.Target, ReadOnly: v.ReadOnly}}
}
