package singlevm

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
)

// processWorkload is the workload of processes that comes with the program.
const processWorkload = "process"

// processIsEqual has a process of blue live in the network of blue's containers, and nowhere else.
func (p *proof) processIsEqual(ctx context.Context) error {
	made, err := p.blue.CreateInstances(ctx, api.CreateInstances{Workload: processWorkload, Count: 1, Name: proofName + "-process"})
	if err == nil {
		made, err = p.blue.Wait(ctx, made, client.Active, nil)
	}
	if err != nil {
		return err
	}
	p.process, p.blues = made[0], append(p.blues, made[0])
	return p.inParallel(ctx,
		func(ctx context.Context) error {
			return p.probe.judge(ctx, p.blues[0], works("ping -c 1 -W 5 %s", p.process.Addresses[0]), works("ping -c 1 -W 5 %s", p.process.Name))
		},
		func(ctx context.Context) error {
			return p.judgeProcess(ctx, works("ping -c 1 -W 5 %s", p.blues[0].Addresses[0]), works("ping -c 1 -W 5 %s", p.blues[1].Name),
				fails("ping -c 1 -W 1 %s", p.only().Addresses[0]), fails("ping -c 1 -W 1 %s", hostAddress),
				works("test $(id -u) != 0"), fails("test -e %s", p.setup.layout.root))
		})
}

// judgeProcess runs checks in the process's namespaces, by way of the cluster.
func (p *proof) judgeProcess(ctx context.Context, checks ...probing) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var printed bytes.Buffer
	code, err := p.blue.Exec(ctx, p.process.ID, client.Execution{Command: []string{"sh", "-c", script(checks)}, Output: &printed, Errors: &printed})
	if err != nil || code != 0 {
		return fmt.Errorf("%w: the shell in %s ended with status %d (%w): %s", cluster.ErrUnavailable, p.process.Name, code, err, strings.TrimSpace(printed.String()))
	}
	return verdict(p.process.Name, checks, printed.String())
}
