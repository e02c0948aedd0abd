// Command ccloudvm makes development virtual machines from cloud images, as an ordinary user:
//
//	ccloudvm setup
//	ccloudvm create debian-12
//	ccloudvm connect debian-12
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/ciaocloud/ciao/ccloudvm/cli"
	"github.com/ciaocloud/ciao/terminal"
)

// version is set when the program is linked.
var version = "unversioned"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := cli.Run(ctx, version, os.Args[1:], terminal.Standard())
	stop()
	os.Exit(code)
}
