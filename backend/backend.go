package backend

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// operationPrefix begins the ids of all operations in OpenAPI.
const operationPrefix = "llm"

const help = `
The LLM secrets engine mints short-lived API keys of LLM providers as leases. A
key is deleted at its provider when its lease ends or is revoked.

Write a connection to config/, a role to roles/, then read creds/. For applications
that cannot follow a lease, write a static role to static-roles/, then read
static-creds/.
`

// A backend is one mount. It shares nothing with other mounts of the process.
type backend struct {
	*framework.Backend

	registry    *provider.Registry
	connections connections
	slots       slots
	sweeps      sweepState
	census      census
	metrics     *metrics
	events      eventQueue

	mountMu    sync.Mutex
	mountEntry *mountEntry // guarded by mountMu; nil until read

	now           func() time.Time
	baseTransport http.RoundTripper // sends to every provider; nil outside of tests
}

// Factory returns what makes a mount of the engine with the given providers. As
// Vault calls it only to ask for the version too, it touches neither storage
// nor network.
func Factory(registry *provider.Registry) logical.Factory {
	return func(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
		b := newBackend(registry)
		if err := b.Setup(ctx, conf); err != nil {
			return nil, fmt.Errorf("set up: %w", err)
		}
		return b, nil
	}
}

func newBackend(registry *provider.Registry) *backend {
	b := &backend{registry: registry, now: time.Now, metrics: newMetrics()}
	b.Backend = &framework.Backend{
		Help:           strings.TrimSpace(help),
		BackendType:    logical.TypeLogical,
		RunningVersion: version,
		PathsSpecial:   &logical.Paths{SealWrapStorage: []string{configPrefix, gonePrefix, staticPrefix, poolPrefix}},
		Paths: framework.PathAppend(
			b.configPaths(), b.rotateRootPaths(), b.rolePaths(), b.credsPaths(),
			b.staticRolePaths(), b.staticCredsPaths(), b.rotateRolePaths(),
			b.poolPaths(), b.keyPaths(), b.revokePaths(), b.suspendPaths(), b.auditPaths(), b.metricsPaths(), b.infoPaths(),
		),
		Secrets:          []*framework.Secret{b.keySecret()},
		InitializeFunc:   b.initialize,
		PeriodicFunc:     b.periodic,
		RotateCredential: b.rotateCredential,
		Invalidate:       b.invalidate,
		Clean:            func(context.Context) { b.events.silence(); b.closeConnections() },
	}
	return b
}

// initialize runs after mount, unseal and reload. Vault waits for it at unseal,
// so it calls no provider and scans nothing.
func (b *backend) initialize(ctx context.Context, req *logical.InitializationRequest) error {
	if !b.WriteSafeReplicationState() {
		return nil
	}
	_, err := b.mount(ctx, req.Storage)
	return err
}

// invalidate forgets what another node has changed.
func (b *backend) invalidate(_ context.Context, key string) {
	if name, ok := strings.CutPrefix(key, configPrefix); ok {
		b.dropConnection(name)
	}
	if strings.HasPrefix(key, ledgerPrefix) {
		b.census.forget()
	}
	if key == mountKey {
		b.mountMu.Lock()
		b.mountEntry = nil
		b.mountMu.Unlock()
	}
}

// HandleRequest checks the fields of a request more strictly than the framework
// does, gives errors the form that survives the plugin protocol, and turns a
// panic into an error: one process serves several mounts.
func (b *backend) HandleRequest(ctx context.Context, req *logical.Request) (resp *logical.Response, err error) {
	defer func() {
		if p := recover(); p != nil {
			logPanic(b.Logger(), p, string(req.Operation), req.Path)
			resp, err = nil, fmt.Errorf("bug: %s of this path panicked; the log has the stack", req.Operation)
		}
	}()
	switch req.Operation {
	case logical.RenewOperation, logical.RevokeOperation, logical.RollbackOperation, logical.RotationOperation, logical.HelpOperation:
		return b.Backend.HandleRequest(ctx, req)
	}
	if unstorable(req.Path) {
		return answer(nil, badField("name", "holds two dots in a row, which Vault cannot store; use single ones"))
	}
	trimSecrets(req.Data)
	if path := b.Route(req.Path); path != nil {
		if err := checkInput(path, req.Data); err != nil {
			return answer(nil, err)
		}
	}
	return answer(b.Backend.HandleRequest(ctx, req))
}

// HandleExistenceCheck looks at the path alone: the framework would check the
// fields here too, before HandleRequest does, and say less of what is wrong.
func (b *backend) HandleExistenceCheck(ctx context.Context, req *logical.Request) (checkFound, exists bool, err error) {
	if unstorable(req.Path) {
		return true, false, nil
	}
	pathOnly := *req
	pathOnly.Data = nil
	return b.Backend.HandleExistenceCheck(ctx, &pathOnly)
}

// unstorable reports whether Vault's storage refuses a key that holds path, as
// that of the SDK for tests does not.
func unstorable(path string) bool { return strings.Contains(path, "..") }

// logPanic leaves out the value of a panic, which may hold anything. The stack
// holds no values.
func logPanic(log hclog.Logger, p any, doing, what string) {
	log.Error("bug: panic", "doing", doing, "what", what, "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
}

func (b *backend) ledger(s logical.Storage) ledger {
	return ledger{storage: s, now: b.now, census: &b.census}
}
