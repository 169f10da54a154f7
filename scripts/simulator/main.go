// Command simulator serves the simulated account of a provider on loopback, for
// demonstrations and for trying things by hand: an OpenAI organization, unless
// -provider says otherwise. It prints one line of JSON that tells how to reach it,
// and serves until it is interrupted. What a person does in Anthropic's Console is
// served below console_path: see console.go.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	fakeanthropic "vault-plugin-secrets-llm/backend/provider/fake/anthropic"
	fakelitellm "vault-plugin-secrets-llm/backend/provider/fake/litellm"
	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
	fakeopenrouter "vault-plugin-secrets-llm/backend/provider/fake/openrouter"
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
	listen, provider, adminKey, project string
	rate                                float64
}

// A provider is one that can be simulated.
type provider struct {
	// flags are those that it takes besides those of all.
	flags []string
	// simulate returns an account, the path of its API, and what the line tells of it.
	simulate func(options) (account http.Handler, path string, line map[string]string)
}

// providers are those of -provider.
var providers = map[string]provider{
	"anthropic":  {nil, simulateAnthropic},
	"litellm":    {nil, simulateLiteLLM},
	"openai":     {[]string{"admin-key", "project", "rate"}, simulateOpenAI},
	"openrouter": {nil, simulateOpenRouter},
}

func simulateOpenAI(o options) (http.Handler, string, map[string]string) {
	opts := []fakeopenai.Option{fakeopenai.WithProject(o.project)}
	if o.adminKey != "" {
		opts = append(opts, fakeopenai.WithAdminKey(o.adminKey))
	}
	fake := fakeopenai.New(opts...)
	fake.SetRate(o.rate, int(math.Ceil(o.rate)))
	return fake, "/v1", map[string]string{"admin_key": fake.AdminKey(), "project_id": o.project}
}

func simulateOpenRouter(options) (http.Handler, string, map[string]string) {
	fake := fakeopenrouter.New()
	line := map[string]string{"admin_key": fake.AdminKey(), "workspace_id": fakeopenrouter.DefaultWorkspace}
	return fake, "/api/v1", line
}

// demoTeam is the team of the simulated LiteLLM proxy.
const demoTeam = "team-demo"

func simulateLiteLLM(options) (http.Handler, string, map[string]string) {
	fake := fakelitellm.New()
	fake.AddTeam(demoTeam)
	line := map[string]string{"admin_key": fake.AdminKey(), "master_key": fake.MasterKey(), "team_id": demoTeam}
	return fake, "", line
}

// simulateAnthropic serves both providers of Anthropic: the Admin API key and the pool
// key are for anthropic-pool, the service account for anthropic. The workspace is for
// both.
func simulateAnthropic(options) (http.Handler, string, map[string]string) {
	fake := fakeanthropic.New()
	account := fake.CreateServiceAccount("vault-demo")
	fake.AddMember(fake.Workspace(), account)
	pooled := fake.PlantKey(fake.Workspace(), "pool-demo")
	return withConsole(fake), "", map[string]string{
		"admin_key": fake.AdminKey(), "organization_id": fake.OrganizationID(), "workspace_id": fake.Workspace(),
		"service_account_id": account, "pool_key_id": pooled.ID, "pool_key": pooled.Secret,
		"console_path": consolePath,
	}
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("simulator", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.listen, "listen", "127.0.0.1:0", "loopback `address` to listen on")
	flags.StringVar(&o.provider, "provider", "openai", "`name` of the provider: anthropic, litellm, openai or openrouter")
	flags.StringVar(&o.adminKey, "admin-key", "", "openai: `secret` of the admin key (default random)")
	flags.StringVar(&o.project, "project", fakeopenai.DefaultProject, "openai: `id` of the project")
	flags.Float64Var(&o.rate, "rate", 0, "openai: admin `calls` per second, more are answered 429; 0 for no limit")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if err := checkProvider(flags, o.provider); err != nil {
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

// checkProvider refuses a provider that there is not, and flags that another one has.
func checkProvider(flags *flag.FlagSet, name string) error {
	chosen, ok := providers[name]
	if !ok {
		return fmt.Errorf("-provider: %q is not one of %v", name, slices.Sorted(maps.Keys(providers)))
	}
	var err error
	flags.Visit(func(f *flag.Flag) {
		if f.Name != "listen" && f.Name != "provider" && !slices.Contains(chosen.flags, f.Name) {
			err = fmt.Errorf("-%s: is not for %s", f.Name, name)
		}
	})
	return err
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

	account, path, line := providers[o.provider].simulate(o)
	line["base_url"] = "http://" + listener.Addr().String() + path
	err = json.NewEncoder(stdout).Encode(line)
	if err != nil {
		return err
	}
	return serve(ctx, listener, account)
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
