package backend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"index/suffixarray"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// A mount is the engine over a simulated provider, driven as Vault drives it.
type testMount struct {
	t          *testing.T
	b          logical.Backend
	fake       *fakeopenai.Server
	sims       map[string]*sim // of all providers, by host
	storage    *faultyStorage
	sys        *testSystem
	log        *syncBuffer
	engine     *backend // behind b, in both modes
	hostEvents *testEvents
	clock      *testClock
	grpc       bool
	answers    answers // all that were given
}

// A testClock is the system's clock, moved ahead. In a bubble it is never moved:
// there, sleeping is free.
type testClock struct{ ahead atomic.Int64 }

func (c *testClock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// both runs a test in process, in a bubble, and through the plugin's gRPC layer.
func both(t *testing.T, test func(m *testMount), opts ...fakeopenai.Option) {
	t.Helper()
	t.Run("in process", func(t *testing.T) { bubble(t, test, opts...) })
	t.Run("grpc", func(t *testing.T) {
		m := prepareMount(t, opts...)
		m.grpc = true
		m.b = dispense(t, m)
		m.start()
		test(m)
		m.checkNoSecrets()
	})
}

// bubble runs a test in process only, for what waits on timers of the transport.
func bubble(t *testing.T, test func(m *testMount), opts ...fakeopenai.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := prepareMount(t, opts...)
		m.restart()
		test(m)
		m.checkNoSecrets()
	})
}

func prepareMount(t *testing.T, opts ...fakeopenai.Option) *testMount {
	m := &testMount{
		t:          t,
		storage:    &faultyStorage{Storage: &logical.InmemStorage{}},
		sys:        newTestSystem(),
		log:        &syncBuffer{},
		clock:      &testClock{},
		hostEvents: &testEvents{},
	}
	m.fake = fakeopenai.New(append([]fakeopenai.Option{fakeopenai.WithClock(m.clock.now)}, opts...)...)
	m.sims = map[string]*sim{openAIShape.host: openAISim(m.fake)}
	return m
}

func (m *testMount) logger() hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: m.log, DisableTime: true})
}

func (m *testMount) factory(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	registry, err := testRegistry()
	if err != nil {
		return nil, err
	}
	m.engine = newBackend(registry)
	m.engine.now = m.clock.now
	m.engine.baseTransport = m.transport()
	return checkedEngine{m.engine, m}, m.engine.Setup(ctx, conf)
}

func (m *testMount) backendConfig() *logical.BackendConfig {
	return &logical.BackendConfig{Logger: m.logger(), System: m.sys, StorageView: m.storage, EventsSender: m.hostEvents, BackendUUID: "uuid", Config: map[string]string{}}
}

// restart drops the engine and starts one anew over the same storage.
func (m *testMount) restart() {
	m.t.Helper()
	if m.b != nil {
		m.b.Cleanup(m.t.Context())
	}
	b, err := m.factory(m.t.Context(), m.backendConfig())
	if err != nil {
		m.t.Fatal(err)
	}
	m.b = b
	m.start()
}

func (m *testMount) start() {
	m.t.Helper()
	if err := m.b.Initialize(m.t.Context(), &logical.InitializationRequest{Storage: m.storage}); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { m.b.Cleanup(context.Background()) })
}

// dispense starts the engine behind the plugin's gRPC layer.
func dispense(t *testing.T, m *testMount) logical.Backend {
	client, _ := goplugin.TestPluginGRPCConn(t, false, map[string]goplugin.Plugin{
		"backend": &plugin.GRPCBackendPlugin{Factory: m.factory, Logger: m.logger()},
	})
	t.Cleanup(func() { client.Close() }) // which stops the server
	raw, err := client.Dispense("backend")
	if err != nil {
		t.Fatal(err)
	}
	b := raw.(logical.Backend)
	if err := b.Setup(t.Context(), m.backendConfig()); err != nil {
		t.Fatal(err)
	}
	return b
}

// advance lets time pass.
func (m *testMount) advance(d time.Duration) {
	if m.grpc {
		m.clock.ahead.Add(int64(d))
		return
	}
	time.Sleep(d)
}

// request is one request as Vault would send it. A path with a query is split.
func (m *testMount) request(op logical.Operation, path string, data map[string]any) *logical.Request {
	return &logical.Request{
		Operation: op, Path: path, Data: data, Storage: m.storage,
		ID: "request-1", EntityID: "entity-1", DisplayName: "approle-bot", MountPoint: "llm/", MountType: "llm",
	}
}

var operations = map[string]logical.Operation{
	"read": logical.ReadOperation, "write": logical.UpdateOperation, "create": logical.CreateOperation,
	"list": logical.ListOperation, "delete": logical.DeleteOperation,
}

func (m *testMount) try(op, path string, pairs ...any) (*logical.Response, error) {
	m.t.Helper()
	data := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		data[pairs[i].(string)] = pairs[i+1]
	}
	return m.b.HandleRequest(m.t.Context(), m.request(operations[op], path, data))
}

// do makes a request that must succeed.
func (m *testMount) do(op, path string, pairs ...any) *logical.Response {
	m.t.Helper()
	resp, err := m.try(op, path, pairs...)
	if err != nil {
		m.t.Fatalf("%s %s: %v", op, path, err)
	}
	if resp.IsError() {
		m.t.Fatalf("%s %s: %v", op, path, resp.Error())
	}
	return resp
}

// outcome is the status and text that Vault would answer.
func outcome(resp *logical.Response, err error) (int, string) {
	if coded, ok := errors.AsType[logical.HTTPCodedError](err); ok {
		return coded.Code(), coded.Error()
	}
	switch {
	case errors.Is(err, logical.ErrUnsupportedOperation), errors.Is(err, logical.ErrUnsupportedPath):
		return http.StatusMethodNotAllowed, err.Error()
	case err != nil:
		return http.StatusInternalServerError, err.Error()
	case resp.IsError():
		return http.StatusBadRequest, resp.Error().Error()
	case resp == nil:
		return http.StatusNoContent, ""
	}
	return http.StatusOK, ""
}

// refused makes a request that must fail with a status and a text that holds
// all of the given parts.
func (m *testMount) refused(status int, text []string, op, path string, pairs ...any) {
	m.t.Helper()
	got, message := outcome(m.try(op, path, pairs...))
	if got != status {
		m.t.Fatalf("%s %s %v: got status %d (%s), want %d", op, path, pairs, got, message, status)
	}
	for _, part := range text {
		if !strings.Contains(message, part) {
			m.t.Errorf("%s %s %v: message %q lacks %q", op, path, pairs, message, part)
		}
	}
}

// configure writes the connection "openai" and the role "bot".
func (m *testMount) configure() {
	m.t.Helper()
	m.do("create", "config/openai", "provider", "openai", "admin_key", m.fake.AdminKey())
	m.do("create", "roles/bot", "config_name", "openai", "project_id", "proj_demo")
}

// A testLease is a lease as Vault stores it.
type testLease struct {
	m        *testMount
	secret   *logical.Secret
	data     map[string]any
	path     string
	issued   time.Time
	end      time.Time
	warnings []string
}

func (l *testLease) key() string { return fmt.Sprint(l.data["api_key"]) }

// id is that of the lease's record.
func (l *testLease) id() string { return fmt.Sprint(l.secret.InternalData["id"]) }

// lease reads a key and keeps the lease.
func (m *testMount) lease(path string, pairs ...any) *testLease {
	m.t.Helper()
	return m.keep(path, m.do("read", path, pairs...))
}

func (m *testMount) keep(path string, resp *logical.Response) *testLease {
	now := m.clock.now()
	return &testLease{
		m: m, secret: resp.Secret, data: resp.Data, path: path,
		issued: now, end: now.Add(resp.Secret.TTL), warnings: resp.Warnings,
	}
}

func (l *testLease) request(op logical.Operation) *logical.Request {
	secret := *l.secret
	secret.IssueTime = l.issued
	// Vault hands back the data of the lease, the key included, and no identity.
	return &logical.Request{Operation: op, Path: l.path, Storage: l.m.storage, Secret: &secret, Data: l.data}
}

// tryRenew renews as Vault does, with a client's increment.
func (l *testLease) tryRenew(increment time.Duration) (*logical.Response, error) {
	req := l.request(logical.RenewOperation)
	req.Secret.Increment = increment
	resp, err := l.m.b.HandleRequest(l.m.t.Context(), req)
	if err == nil {
		l.apply(resp.Secret, increment)
		l.warnings = resp.Warnings
	}
	return resp, err
}

// apply computes the new end as Vault does: the increment, else the TTL, but
// never past the lower of MaxTTL and the mount's maximum.
func (l *testLease) apply(secret *logical.Secret, increment time.Duration) {
	ttl := secret.TTL
	if increment > 0 {
		ttl = increment
	}
	if ttl == 0 {
		ttl = l.m.sys.DefaultLeaseTTL()
	}
	longest := l.m.sys.MaxLeaseTTL()
	if secret.MaxTTL > 0 && secret.MaxTTL < longest {
		longest = secret.MaxTTL
	}
	now := l.m.clock.now()
	l.end = now.Add(ttl)
	if last := l.issued.Truncate(time.Second).Add(longest); l.end.After(last) {
		l.end = last
	}
	l.secret = secret
}

func (l *testLease) tryRevoke() error {
	_, err := l.m.b.HandleRequest(l.m.t.Context(), l.request(logical.RevokeOperation))
	return err
}

func (l *testLease) revoke() {
	l.m.t.Helper()
	if err := l.tryRevoke(); err != nil {
		l.m.t.Fatalf("revoke: %v", err)
	}
}

// sweep runs PeriodicFunc once.
func (m *testMount) sweep() {
	m.t.Helper()
	req := logical.RollbackRequest("")
	req.Storage = m.storage
	if _, err := m.b.HandleRequest(m.t.Context(), req); err != nil {
		m.t.Fatalf("sweep: %v", err)
	}
}

// sweepFor lets time pass with a sweep each minute, as Vault does.
func (m *testMount) sweepFor(d time.Duration) {
	m.t.Helper()
	for ; d > 0; d -= time.Minute {
		m.advance(min(d, time.Minute))
		m.sweep()
	}
}

func (m *testMount) wantAlive(key string, want bool) {
	m.t.Helper()
	if got := m.fake.Alive(key); got != want {
		m.t.Fatalf("key is alive: got %v, want %v\n%s", got, want, m.log)
	}
}

func (m *testMount) wantLive(want int) {
	m.t.Helper()
	if got := m.fake.LiveKeys(); len(got) != want {
		m.t.Fatalf("live keys: got %d %v, want %d\n%s", len(got), got, want, m.log)
	}
}

// records returns what the ledger holds of roles.
func (m *testMount) records() []record { return m.recordsOf(lease) }

// adminRecords returns what the ledger holds of admin keys.
func (m *testMount) adminRecords() []record { return m.recordsOf(admin) }

func (m *testMount) recordsOf(k kind) []record {
	m.t.Helper()
	var recs []record
	for _, key := range m.stored(ledgerPrefix) {
		rec, err := load[record](m.t.Context(), m.storage.Storage, key)
		if err != nil {
			m.t.Fatal(err)
		}
		if rec.Kind == k {
			recs = append(recs, *rec)
		}
	}
	return recs
}

func (m *testMount) wantRecords(want int) {
	m.t.Helper()
	if got := m.records(); len(got) != want {
		m.t.Fatalf("records: got %d %+v, want %d\n%s", len(got), got, want, m.log)
	}
}

// stored returns every stored key.
func (m *testMount) stored(prefix string) []string {
	m.t.Helper()
	var keys []string
	err := walk(m.t.Context(), m.storage.Storage, prefix, func(key string) error { keys = append(keys, key); return nil })
	if err != nil {
		m.t.Fatal(err)
	}
	return keys
}

// checkNoSecrets asserts I5 over the whole log and all URLs.
func (m *testMount) checkNoSecrets() {
	m.t.Helper()
	var log strings.Builder
	log.WriteString(m.log.String())
	for _, s := range m.sims {
		for _, req := range s.requests() {
			log.WriteString(req.url + "\n")
		}
	}
	m.checkText("log or URL", log.String())
}

func (m *testMount) checkText(where, text string) {
	m.t.Helper()
	var secrets []string
	for _, s := range m.sims {
		secrets = append(secrets, s.Secrets()...)
	}
	secrets = append(secrets, m.signingKeys()...)
	contains := strings.Contains
	if len(secrets) > 500 {
		index := suffixarray.New([]byte(text))
		contains = func(_, secret string) bool { return len(index.Lookup([]byte(secret), 1)) > 0 }
	}
	for _, secret := range secrets {
		if contains(text, secret) {
			m.t.Fatalf("a secret is in a %s:\n%s", where, text)
		}
	}
}

// signingKeys are the private parts of keys that the engine made, which no simulator
// ever sees.
func (m *testMount) signingKeys() []string {
	var keys []string
	for _, prefix := range []string{configPrefix, gonePrefix} {
		for _, key := range m.stored(prefix) {
			entry, err := m.storage.Storage.Get(context.Background(), key)
			if err != nil {
				m.t.Fatal(err)
			}
			for _, found := range privateMember.FindAllStringSubmatch(string(entry.Value), -1) {
				keys = append(keys, found[1])
			}
		}
	}
	return keys
}

// privateMember is that of a key as JSON within JSON.
var privateMember = regexp.MustCompile(`\\"d\\":\\"([A-Za-z0-9_-]{40,})\\"`)

func secretWith(data map[string]any) *logical.Secret { return &logical.Secret{InternalData: data} }

// backup copies the storage, as a backup of Vault does.
func (m *testMount) backup() map[string][]byte {
	m.t.Helper()
	copied := map[string][]byte{}
	for _, key := range m.stored("") {
		entry, err := m.storage.Get(m.t.Context(), key)
		if err != nil {
			m.t.Fatal(err)
		}
		copied[key] = entry.Value
	}
	return copied
}

// restore puts the storage back to a backup.
func (m *testMount) restore(backup map[string][]byte) {
	m.t.Helper()
	m.storage.Storage = &logical.InmemStorage{}
	for key, value := range backup {
		if err := m.storage.Put(m.t.Context(), &logical.StorageEntry{Key: key, Value: value}); err != nil {
			m.t.Fatal(err)
		}
	}
}
