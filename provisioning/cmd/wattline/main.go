// Command wattline is what people and scripts use to look after a site: its
// places, plugs, gateways and tokens, over the REST API of its cloud. `wattline
// help` lists what it can do.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// version is set when the program is built.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // default action back: a second signal kills
	os.Exit(run(ctx, os.Args[1:], world{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, env: os.Getenv}))
}
