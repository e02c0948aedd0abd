// Command bat judges a live cluster by the basic acceptance tests.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/ciaocloud/ciao/bat/runner"
	"github.com/ciaocloud/ciao/bat/suite"
	"github.com/ciaocloud/ciao/terminal"
)

// version is set when the program is linked.
var version = "unversioned"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := runner.Main(ctx, version, suite.All(), os.Args[1:], terminal.Standard())
	stop()
	os.Exit(code)
}
