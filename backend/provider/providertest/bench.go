package providertest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

// timeout is the request_timeout of the connections that are tested.
const timeout = 30 * time.Second

// A bench is one connection to a new account.
type bench struct {
	*testing.T
	World
	harness   Harness
	provider  provider.Provider
	transport *provider.Transport
	client    provider.Client
	principal provider.Principal // of the role; zero where there are none
	witness   string             // see rotator.adminScope

	specs   int               // how many there were
	errs    []error           // all that clients returned
	clients []provider.Client // all that there were
}

func newBench(t *testing.T, h Harness) *bench {
	w := h.New(t)
	b := &bench{T: t, World: w, harness: h, provider: h.Provider}
	b.transport = b.newTransport(w.RoundTripper())
	b.client = b.connect(w.Settings().AdminKey)
	if keeper, ok := b.client.(provider.PrincipalKeeper); ok {
		var err error
		if b.principal, err = keeper.EnsurePrincipal(t.Context(), "vault-test-bot", w.Role()); err != nil {
			t.Fatalf("the principal of a new account: %v", err)
		}
	}
	return b
}

func (b *bench) newTransport(base http.RoundTripper) *provider.Transport {
	b.Helper()
	transport, err := provider.NewTransport(provider.TransportConfig{Timeout: timeout, MaxConcurrency: 4, Base: base})
	if err != nil {
		b.Fatal(err)
	}
	return transport
}

// connect returns a client with an admin key, which need not work.
func (b *bench) connect(admin provider.Secret) provider.Client {
	b.Helper()
	settings := b.Settings()
	settings.AdminKey = admin
	client, err := b.provider.Connect(settings, b.transport)
	if err != nil {
		b.Fatal(err)
	}
	b.clients = append(b.clients, client)
	return client
}

func (b *bench) scope() string { return b.provider.Scope(b.Role()) }

func (b *bench) ref(key provider.Key) provider.Ref { return provider.Ref{ID: key.ID, Scope: b.scope()} }

// spec asks for a key that lives for an hour.
func (b *bench) spec(name string) provider.Spec {
	b.specs++
	spec := provider.Spec{
		ID: fmt.Sprintf("id%d", b.specs), Name: name, ExpiresAt: time.Now().Add(time.Hour),
		Principal: b.principal, Role: b.Role(), Holder: Holder(),
	}
	if w, ok := b.pool(); ok {
		spec.Pooled = new(w.Pool())
	}
	return spec
}

// pool reports false for a client that is no PoolKeeper.
func (b *bench) pool() (PoolWorld, bool) {
	b.Helper()
	if _, ok := b.client.(provider.PoolKeeper); !ok {
		return nil, false
	}
	w, ok := b.World.(PoolWorld)
	if !ok {
		b.Fatalf("%T is no PoolWorld, which a provider.PoolKeeper needs", b.World)
	}
	return w, true
}

// pools reports whether keys come from a pool.
func (b *bench) pools() bool {
	_, ok := b.pool()
	return ok
}

// irrevocable reports whether keys are tokens, which have no names and are neither
// deleted nor found.
func (b *bench) irrevocable() bool { return b.provider.Limits().Irrevocable }

// latest is how much later than asked a provider may let a key expire. The expiry of
// a token follows from that of something else.
func (b *bench) latest() time.Duration {
	if b.irrevocable() {
		return 15 * time.Second
	}
	return 2 * time.Second
}

// The following call the client and keep what it returned.

func (b *bench) tryMint(ctx context.Context, name string) (provider.Key, error) {
	key, err := b.client.Mint(ctx, b.spec(name))
	return key, b.note(err)
}

// mint makes a key that must be made.
func (b *bench) mint(name string) provider.Key {
	b.Helper()
	key, err := b.tryMint(b.Context(), name)
	if err != nil {
		b.Fatalf("mint %s: %v", name, err)
	}
	return key
}

func (b *bench) delete(key provider.Key) error {
	return b.note(b.client.Delete(b.Context(), b.ref(key)))
}

// tryFind lists the keys of the role's scope. It checks that an error comes once
// and last.
func (b *bench) tryFind() (keys []provider.Found, err error) {
	b.Helper()
	for key, e := range b.client.Find(b.Context(), b.scope()) {
		if err != nil {
			b.Errorf("find goes on after its error %v", err)
		}
		if err = e; err == nil {
			keys = append(keys, key)
		}
	}
	return keys, b.note(err)
}

// find lists keys that must be listed.
func (b *bench) find() []provider.Found {
	b.Helper()
	keys, err := b.tryFind()
	if err != nil {
		b.Fatalf("find: %v", err)
	}
	return keys
}

func (b *bench) note(err error) error {
	b.errs = append(b.errs, err)
	return err
}

// breaks skips the test if the simulator cannot break a move so.
func (b *bench) breaks(m Move, f Fault) {
	b.Helper()
	if !b.Break(m, f) {
		b.Skipf("no such fault for %s: %+v", m, f)
	}
}

// wantKind checks a failure, and its form.
func (b *bench) wantKind(err error, kinds ...provider.Kind) {
	b.Helper()
	got := provider.KindOf(err)
	for _, kind := range kinds {
		if got == kind && err != nil {
			b.wantForm(err)
			return
		}
	}
	b.Errorf("got error %v (kind %q), want kind %q", err, got, kinds)
}

// wantForm checks that an error says who failed, at what and why.
func (b *bench) wantForm(err error) {
	b.Helper()
	e, ok := errors.AsType[*provider.Error](err)
	if !ok {
		b.Errorf("got error of type %T, want *provider.Error", err)
		return
	}
	if e.Provider != b.provider.Name() || e.Op == "" || e.Reason == "" {
		b.Errorf("got error with provider %q, op %q, reason %q, want all three", e.Provider, e.Op, e.Reason)
	}
}

// wantField checks that an operator is told which field to write differently.
func (b *bench) wantField(err error, field string) {
	b.Helper()
	if got, ok := errors.AsType[*provider.FieldError](err); !ok || got.Field != field || got.Problem == "" {
		b.Errorf("got error %v, want a FieldError of %s", err, field)
	}
}

// wantKeys checks how many keys exist that were not planted.
func (b *bench) wantKeys(want int) {
	b.Helper()
	n := 0
	for _, key := range b.Keys() {
		if !strings.HasPrefix(key.Name, foreign) {
			n++
		}
	}
	if n != want {
		b.Errorf("got %d keys of ours at the provider, want %d", n, want)
	}
}

// foreign begins the names of planted keys.
const foreign = "foreign"

// wantCount checks how many requests of a move arrived.
func (b *bench) wantCount(m Move, want int) {
	b.Helper()
	if got := b.Count(m); got != want {
		b.Errorf("got %d requests to %s, want %d", got, m, want)
	}
}

// wantElapsed checks how long something took, in the bubble's time.
func (b *bench) wantElapsed(since time.Time, least, most time.Duration) {
	b.Helper()
	if got := time.Since(since); got < least || got > most {
		b.Errorf("took %s, want %s to %s", got, least, most)
	}
}

// wantNoLeak checks that no secret is in a URL, nor in what a log may hold of
// errors and clients.
func (b *bench) wantNoLeak() {
	b.Helper()
	var texts []string
	for _, err := range b.errs {
		if err != nil {
			texts = append(texts, fmt.Sprintf("%v\n%+v\n%#v\n%q", err, err, err, err))
		}
	}
	texts = append(texts, b.URLs()...)
	for _, client := range b.clients {
		texts = append(texts, fmt.Sprintf("%v\n%+v\n%#v", client, client, client))
	}
	for _, text := range texts {
		for _, secret := range b.Secrets() {
			if strings.Contains(text, secret) {
				b.Errorf("a secret is in %q", text)
			}
		}
		if base := b.Settings().BaseURL; base != "" && strings.Contains(text, base+"/") {
			b.Errorf("a URL is in %q", text)
		}
	}
}
