// Command ciao is the cluster: every daemon, and the command for its users.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/ciaocloud/ciao/cluster/cli"
	"github.com/ciaocloud/ciao/terminal"
)

// version is set when the program is linked.
var version = "unversioned"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, version, os.Args[1:], terminal.Standard())
	stop()
	os.Exit(code)
}
