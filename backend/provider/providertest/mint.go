package providertest

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

var mintChecks = []check{
	{"makes a key that works, named and bounded as asked", mintWorks},
	{"is sent once, and what it made can be found", mintSentOnce},
	{"is sent again after a rate limit", mintAfterRateLimit},
	{"does not wait for a rate limit that outlasts its time", mintHopelessRateLimit},
	{"is sent again after a refused connection", mintAfterRefusal},
	{"made nothing if no connection was had", mintWithoutConnection},
	{"is unknown if the answer makes no sense", mintSpoiled},
	{"is not sent for a caller who has gone", mintCanceledBefore},
	{"is unknown if the caller goes meanwhile", mintCanceledMeanwhile},
	{"is made or unknown if the caller goes at that moment", mintCanceledAtEffect},
	{"is finished for a caller who has gone, if detached", mintDetached},
	{"ends at its deadline", mintDeadline},
}

func mintWorks(b *bench) {
	time.Sleep(700 * time.Millisecond) // providers count in whole seconds
	asked := time.Now().Add(time.Hour)
	key := b.mint("vault-test-one")
	if key.ID == "" || !b.Alive(key.Secret.Reveal()) {
		b.Fatalf("got key %q, alive %t, want one that lives", key.ID, b.Alive(key.Secret.Reveal()))
	}
	for name := range key.Data {
		if name != "base_url" && b.provider.Answers().Key[name] == "" {
			b.Errorf("the key comes with %s, which Answers does not describe", name)
		}
	}
	for _, k := range b.Keys() {
		if k.ID != key.ID || k.Name != "vault-test-one" && !b.irrevocable() {
			b.Errorf("got key %s named %q at the provider, want %s named vault-test-one", k.ID, k.Name, key.ID)
		}
		if late := k.ExpiresAt.Sub(asked); !b.pools() && (late < 0 || late > b.latest()) {
			b.Errorf("the provider expires the key at %s, want %s", k.ExpiresAt, asked)
		}
		if !k.ExpiresAt.Equal(key.ExpiresAt) {
			b.Errorf("got expiry %s, the provider has %s", key.ExpiresAt, k.ExpiresAt)
		}
		if k.PrincipalID != b.principal.ID {
			b.Errorf("the key belongs to %q, want %q", k.PrincipalID, b.principal.ID)
		}
	}
	b.wantKeys(1)
	time.Sleep(time.Hour + b.latest())
	if !b.pools() && b.Alive(key.Secret.Reveal()) {
		b.Error("the key lives on after its expiry")
	}
}

// lost are the ways in which a request gets no answer that counts.
func lost() map[string]Fault {
	return map[string]Fault{
		"drop": {Drop: true},
		"hang": {Hang: true},
		"408":  {Status: http.StatusRequestTimeout},
		"500":  {Status: http.StatusInternalServerError},
		"502":  {Status: http.StatusBadGateway, Body: "<html>bad gateway</html>", HTML: true},
		"503":  {Status: http.StatusServiceUnavailable, RetryAfter: time.Second},
		"504":  {Status: http.StatusGatewayTimeout, Body: `{"error":"upstream timed out"}`},
	}
}

func mintSentOnce(b *bench) {
	for how, f := range lost() {
		for _, f.AfterEffect = range []bool{false, true} {
			f.Times = 1
			if !b.Break(Mint, f) {
				continue
			}
			before, known := b.Count(Mint), len(b.Keys())
			name := "vault-test-" + how
			key, err := b.tryMint(b.Context(), name)
			if err != nil || !b.harness.KeptSecrets || !f.AfterEffect {
				b.wantKind(err, provider.Ambiguous)
			} else if !b.Alive(key.Secret.Reveal()) {
				b.Errorf("%s: got key %q, which does not live, and no error", how, key.ID)
			}
			if sent := b.Count(Mint) - before; sent != 1 {
				b.Errorf("%s: sent %d times, want once", how, sent)
			}
			if made := len(b.Keys()) - known; made == 1 != f.AfterEffect {
				b.Errorf("%s, after the effect %t: made %d keys", how, f.AfterEffect, made)
			}
			if f.AfterEffect {
				b.wantCleanUp(name)
			}
		}
	}
}

// wantCleanUp checks that a key whose secret is lost can be found by its name,
// and deleted. A token cannot: it ends by itself.
func (b *bench) wantCleanUp(name string) {
	b.Helper()
	if b.irrevocable() {
		return
	}
	deleted := 0
	for _, key := range b.find() {
		if key.Name == name {
			if err := b.delete(provider.Key{ID: key.ID}); err != nil {
				b.Errorf("delete %s: %v", name, err)
			}
			deleted++
		}
	}
	if deleted != 1 {
		b.Errorf("found %d keys named %s, want 1", deleted, name)
	}
}

func mintAfterRateLimit(b *bench) {
	b.breaks(Mint, Fault{Status: http.StatusTooManyRequests, RetryAfter: 7 * time.Second, Times: 2})
	start := time.Now()
	key := b.mint("vault-test-limited")
	b.wantElapsed(start, 14*time.Second, 15*time.Second)
	b.wantCount(Mint, 3)
	b.wantKeys(1)
	if !b.Alive(key.Secret.Reveal()) {
		b.Error("the key does not live")
	}
}

func mintHopelessRateLimit(b *bench) {
	b.breaks(Mint, Fault{Status: http.StatusTooManyRequests, RetryAfter: 10 * time.Minute})
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	start := time.Now()
	for range 3 {
		_, err := b.tryMint(ctx, "vault-test-limited")
		b.wantKind(err, provider.RateLimited)
		if got := provider.RetryAfter(err); got != 10*time.Minute {
			b.Errorf("got Retry-After %s, want 10m", got)
		}
	}
	b.wantElapsed(start, 0, 0)
	b.wantCount(Mint, 1)
}

func mintAfterRefusal(b *bench) {
	b.breaks(Mint, Fault{Refuse: true, Times: 2})
	b.mint("vault-test-refused")
	b.wantCount(Mint, 1)
	b.wantKeys(1)
}

func mintWithoutConnection(b *bench) {
	b.breaks(Mint, Fault{Refuse: true})
	_, err := b.tryMint(b.Context(), "vault-test-refused")
	b.wantKind(err, provider.Unavailable)
	b.wantKeys(0)
}

func mintSpoiled(b *bench) {
	for i, how := range b.Spoils() {
		if !b.Break(Mint, Fault{Spoil: how, Times: 1}) {
			continue
		}
		before := b.Count(Mint)
		name := fmt.Sprintf("vault-test-spoiled-%d", i)
		key, err := b.tryMint(b.Context(), name)
		switch {
		case err != nil:
			b.wantKind(err, provider.Ambiguous)
			b.wantCleanUp(name)
		case key.ID == "" || !b.Alive(key.Secret.Reveal()):
			b.Errorf("%s: got key %q, which does not live, and no error", how, key.ID)
		}
		if sent := b.Count(Mint) - before; sent != 1 {
			b.Errorf("%s: sent %d times, want once", how, sent)
		}
	}
}

func mintCanceledBefore(b *bench) {
	ctx, cancel := context.WithCancel(b.Context())
	cancel()
	_, err := b.tryMint(ctx, "vault-test-gone")
	b.wantKind(err, provider.Unavailable)
	b.wantCount(Mint, 0)
}

func mintCanceledMeanwhile(b *bench) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	b.breaks(Mint, Fault{Hang: true, AfterEffect: true})
	start := time.Now()
	time.AfterFunc(5*time.Second, cancel)
	_, err := b.tryMint(ctx, "vault-test-gone")
	b.wantKind(err, provider.Ambiguous)
	b.wantElapsed(start, 5*time.Second, 5*time.Second)
	b.wantCleanUp("vault-test-gone")
}

func mintCanceledAtEffect(b *bench) {
	ctx, cancel := context.WithCancel(b.Context())
	b.breaks(Mint, Fault{AfterEffect: true, Then: cancel})
	key, err := b.tryMint(ctx, "vault-test-gone")
	if err == nil && b.Alive(key.Secret.Reveal()) {
		return
	}
	b.wantKind(err, provider.Ambiguous)
	b.wantCleanUp("vault-test-gone")
}

func mintDetached(b *bench) {
	caller, gone := context.WithCancel(b.Context())
	ctx, cancel := provider.Detach(caller, time.Minute)
	defer cancel()
	b.breaks(Mint, Fault{Latency: 5 * time.Second})
	time.AfterFunc(time.Second, gone)
	key, err := b.tryMint(ctx, "vault-test-detached")
	if err != nil || !b.Alive(key.Secret.Reveal()) {
		b.Errorf("got error %v, want a key that lives", err)
	}
	_, err = b.tryMint(ctx, "vault-test-gone")
	b.wantKind(err, provider.Unavailable)
	b.wantCount(Mint, 1)
}

func mintDeadline(b *bench) {
	ctx, cancel := context.WithTimeout(b.Context(), 3*time.Second)
	defer cancel()
	b.breaks(Mint, Fault{Hang: true})
	start := time.Now()
	_, err := b.tryMint(ctx, "vault-test-late")
	b.wantKind(err, provider.Ambiguous)
	b.wantElapsed(start, 3*time.Second, 3*time.Second)
}
