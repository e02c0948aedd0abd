// Command ccloudvm makes development virtual machines from cloud images, as an ordinary user:
//
//	ccloudvm setup
//	ccloudvm create debian-12
//	ccloudvm connect debian-12
package main

import (
	"os"

	"github.com/ciaocloud/ciao/ccloudvm/cli"
)

func main() {
	os.Exit(cli.Run(os.Args, cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
