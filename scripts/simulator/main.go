// Command simulator serves a simulated OpenAI organization on loopback, for
// demonstrations and for trying things by hand. It prints one line of JSON that
// tells how to reach it, and serves until it is interrupted.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "simulator:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	listen, adminKey, project string
	rate                      float64
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("simulator", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.listen, "listen", "127.0.0.1:0", "loopback `address` to listen on")
	flags.StringVar(&o.adminKey, "admin-key", "", "`secret` of the admin key (default random)")
	flags.StringVar(&o.project, "project", fakeopenai.DefaultProject, "`id` of the project")
	flags.Float64Var(&o.rate, "rate", 0, "admin `calls` per second, more are answered 429; 0 for no limit")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.project == "":
		return o, errors.New("-project: must not be empty")
	case o.rate < 0 || math.IsNaN(o.rate) || math.IsInf(o.rate, 0):
		return o, errors.New("-rate: must be a number of calls, or 0")
	}
	return o, nil
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	listener, err := listenLoopback(o.listen)
	if err != nil {
		return err
	}
	defer listener.Close()

	opts := []fakeopenai.Option{fakeopenai.WithProject(o.project)}
	if o.adminKey != "" {
		opts = append(opts, fakeopenai.WithAdminKey(o.adminKey))
	}
	fake := fakeopenai.New(opts...)
	fake.SetRate(o.rate, int(math.Ceil(o.rate)))

	err = json.NewEncoder(stdout).Encode(map[string]string{
		"base_url":   "http://" + listener.Addr().String() + "/v1",
		"admin_key":  fake.AdminKey(),
		"project_id": o.project,
	})
	if err != nil {
		return err
	}
	return serve(ctx, listener, fake)
}

// listenLoopback listens, but on loopback only: whoever reaches the simulator
// may do everything.
func listenLoopback(address string) (net.Listener, error) {
	tcp, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("-listen: %w", err)
	}
	if !tcp.IP.IsLoopback() {
		return nil, fmt.Errorf("-listen: %s is not a loopback address; give 127.0.0.1:0", address)
	}
	return net.ListenTCP("tcp", tcp)
}

// serve serves until ctx ends, and then as long as requests under way need.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx }, // ends what hangs
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	return server.Shutdown(grace)
}
