// Command vault-plugin-secrets-llm is a Vault secrets engine that mints
// short-lived API keys of LLM providers as leases. Vault starts it; by hand it
// only answers -version.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/plugin"

	"vault-plugin-secrets-llm/backend"
	"vault-plugin-secrets-llm/backend/provider"
	"vault-plugin-secrets-llm/backend/provider/anthropic"
	"vault-plugin-secrets-llm/backend/provider/litellm"
	"vault-plugin-secrets-llm/backend/provider/openai"
	"vault-plugin-secrets-llm/backend/provider/openrouter"
)

const name = "vault-plugin-secrets-llm"

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		// Vault reads levels only from JSON.
		hclog.New(&hclog.LoggerOptions{JSONFormat: true}).Error("plugin shutting down", "error", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	meta := &api.PluginAPIClientMeta{}
	flags := meta.FlagSet()
	flags.Init(name, flag.ContinueOnError)
	showVersion := flags.Bool("version", false, "print the version and the providers, then exit")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	}

	registry, err := provider.NewRegistry(openai.New(), openrouter.New(), litellm.New(), anthropic.New(), anthropic.NewPool())
	if err != nil {
		return err
	}
	if *showVersion {
		printVersion(out, registry)
		return nil
	}
	return plugin.ServeMultiplex(&plugin.ServeOpts{
		BackendFactoryFunc: backend.Factory(registry),
		// A Vault older than AutoMTLS talks to the plugin over this.
		TLSProviderFunc: api.VaultPluginTLSProvider(meta.GetTLSConfig()),
	})
}

// printVersion prints two lines:
//
//	vault-plugin-secrets-llm v1.2.3 (commit 0123456789ab, go1.26.0, linux/amd64)
//	providers: anthropic, anthropic-pool, litellm, openai, openrouter
func printVersion(out io.Writer, registry *provider.Registry) {
	fmt.Fprintf(out, "%s %s (commit %s, %s, %s/%s)\n", name, cmp.Or(backend.Version(), "unversioned"),
		commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	fmt.Fprintf(out, "providers: %s\n", strings.Join(registry.Names(), ", "))
}

// commit is the one this binary was built from, or "unknown" outside of git.
func commit() string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return "unknown"
	}
	revision, modified := "unknown", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "+changes"
		}
	}
	return revision + modified
}
