// Command singlevm sets a whole real cluster up on one machine, proves it, and removes it without a trace.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/ciaocloud/ciao/singlevm"
	"github.com/ciaocloud/ciao/terminal"
)

// version is set when the program is linked.
var version = "unversioned"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := singlevm.Main(ctx, version, os.Args[1:], terminal.Standard())
	stop()
	os.Exit(code)
}
