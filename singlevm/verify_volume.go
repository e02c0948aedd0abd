package singlevm

import (
	"context"

	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
)

const (
	volumeMiB    = 1
	volumeTarget = "/volume"
)

// volumeOutlives has a container of blue write to a volume and go, and another one read it.
func (p *proof) volumeOutlives(ctx context.Context) error {
	if _, err := p.blue.CreateVolume(ctx, api.CreateVolume{Name: proofName, SizeMiB: volumeMiB}); err != nil {
		return err
	}
	writer, err := p.withVolume(ctx, "writer")
	if err != nil {
		return err
	}
	if err := p.probe.judge(ctx, writer, works("echo %s > %s/word", proofName, volumeTarget)); err != nil {
		return err
	}
	if _, err := p.blue.DeleteInstance(ctx, writer.ID); err != nil {
		return err
	}
	if _, err := p.blue.Wait(ctx, []api.Instance{writer}, client.Deleted, nil); err != nil {
		return err
	}
	reader, err := p.withVolume(ctx, "reader")
	if err != nil {
		return err
	}
	return p.probe.judge(ctx, reader, works("grep -qx %s %s/word", proofName, volumeTarget))
}

// withVolume starts a container that has the volume.
func (p *proof) withVolume(ctx context.Context, name string) (api.Instance, error) {
	made, err := p.blue.CreateInstances(ctx, api.CreateInstances{
		Workload: probeImage, Name: proofName + "-" + name, Volumes: []api.InstanceVolume{{Volume: proofName, Target: volumeTarget}},
	})
	if err != nil {
		return api.Instance{}, err
	}
	p.blues = append(p.blues, made[0])
	made, err = p.blue.Wait(ctx, made, client.Active, nil)
	if err != nil {
		return api.Instance{}, err
	}
	return made[0], nil
}
