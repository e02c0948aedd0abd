package bench

import (
	"context"
	"io"
	"testing"
	"time"

	engine "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/cluster/driver/container"
)

// outputMB is how much the command of the throughput prints, in millions of bytes.
const outputMB = 200

var (
	nothing = []string{"true"}
	much    = []string{"head", "-c", "200000000", "/dev/zero"}
)

// BenchmarkExec compares a command that does nothing, and one that prints much, executed in an instance through the API and in the same
// container by the bare engine.
func BenchmarkExec(b *testing.B) {
	m := newMachine(b)
	m.singlevm("setup")
	ctx := b.Context()
	operator := m.operator()
	if _, err := operator.CreateWorkload(ctx, recipe); err != nil {
		b.Fatal(err)
	}
	tenant := m.tenant(ctx, operator, recipe.Name)
	keeper, err := tenant.Instance(ctx, "keeper")
	if err != nil {
		b.Fatal(err)
	}
	bare := newBare(b)
	var took medians
	for b.Loop() {
		took.add("exec-ms", executed(ctx, b, tenant, nothing)*1000)
		took.add("bare-ms", bare.execute(ctx, container.Name(keeper.Node, keeper.ID), nothing)*1000)
		took.add("output-MB/s", outputMB/executed(ctx, b, tenant, much))
		took.add("bare-output-MB/s", outputMB/bare.execute(ctx, container.Name(keeper.Node, keeper.ID), much))
	}
	took.add("above-bare-ms", took.of("exec-ms")-took.of("bare-ms"))
	took.report(b)
}

// executed returns the seconds that a command takes through the API.
func executed(ctx context.Context, b *testing.B, tenant *client.Client, command []string) float64 {
	b.Helper()
	begun := time.Now()
	code, err := tenant.Exec(ctx, "keeper", client.Execution{Command: command, Output: io.Discard, Errors: io.Discard})
	if err != nil || code != 0 {
		b.Fatalf("%v ended with code %d, %v", command, code, err)
	}
	return time.Since(begun).Seconds()
}

// execute returns the seconds that the engine takes for the same.
func (e bare) execute(ctx context.Context, name string, command []string) float64 {
	begun := time.Now()
	made, err := e.engine.ContainerExecCreate(ctx, name, engine.ExecOptions{Cmd: command, AttachStdout: true, AttachStderr: true})
	if err != nil {
		e.Fatal(err)
	}
	attached, err := e.engine.ContainerExecAttach(ctx, made.ID, engine.ExecAttachOptions{})
	if err != nil {
		e.Fatal(err)
	}
	defer attached.Close()
	_, err = stdcopy.StdCopy(io.Discard, io.Discard, attached.Reader)
	ended, err2 := e.engine.ContainerExecInspect(ctx, made.ID)
	if err != nil || err2 != nil || ended.ExitCode != 0 {
		e.Fatalf("%v by the engine ended with code %d, %v, %v", command, ended.ExitCode, err, err2)
	}
	return time.Since(begun).Seconds()
}
