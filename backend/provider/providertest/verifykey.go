package providertest

import (
	"context"
	"net/http"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

var verifyKeyChecks = []check{
	{"passes for a key that lives, whatever it may do", verifies(keyWorks)},
	{"fails for a key that is dead, or that nobody made", verifies(keyDead)},
	{"fails until the key is known everywhere", verifies(keySpreading)},
	{"needs the key alone", verifies(keyAlone)},
	{"is sent again after a failure", verifies(keyRepeated)},
	{"does not wait for a rate limit that outlasts its time", verifies(keyHopelessRateLimit)},
	{"is not sent for a caller who has gone", verifies(keyCanceled)},
	{"trusts no answer that makes no sense", verifies(keySpoiled)},
	{"hides a key that the provider echoes", verifies(keyEchoed)},
}

// A verifier is a bench whose client can verify keys.
type verifier struct {
	*bench
	KeyWorld
}

func verifies(run func(verifier)) func(*bench) {
	return func(b *bench) {
		if _, ok := b.client.(provider.KeyVerifier); !ok {
			b.Skip("no provider.KeyVerifier")
		}
		world, ok := b.World.(KeyWorld)
		if !ok {
			b.Fatalf("%T is no KeyWorld, which a provider.KeyVerifier needs", b.World)
		}
		run(verifier{b, world})
	}
}

// verify verifies a key. Only a provider.KeyVerifier can.
func (b *bench) verify(key provider.Secret) error {
	return b.note(b.client.(provider.KeyVerifier).VerifyKey(b.Context(), key))
}

func (v verifier) wantWorks(key provider.Secret) {
	v.Helper()
	if err := v.verify(key); err != nil {
		v.Errorf("got %v of a key that lives", err)
	}
}

func keyWorks(v verifier) {
	key := v.mint("vault-test-one")
	before := v.Count(VerifyKey)
	v.wantWorks(key.Secret)
	v.wantWorks(v.Plant(foreign).Secret)
	v.wantCount(VerifyKey, before+2)
	v.wantKeys(1)
}

func keyDead(v verifier) {
	deleted, other := v.mint("vault-test-one"), v.mint("vault-test-two")
	if err := v.delete(deleted); err != nil {
		v.Fatal(err)
	}
	v.wantKind(v.verify(deleted.Secret), provider.Unauthorized)
	v.wantWorks(other.Secret)
	for _, unknown := range []provider.Secret{other.Secret + "-not", other.Secret[:len(other.Secret)-1], v.Settings().AdminKey, ""} {
		v.wantKind(v.verify(unknown), provider.Unauthorized)
	}
	if time.Sleep(2 * time.Hour); !v.pools() {
		v.wantKind(v.verify(other.Secret), provider.Unauthorized)
	}
}

func keySpreading(v verifier) {
	if v.pools() {
		keySpreadingOfPool(v)
		return
	}
	v.DelayKeys(20 * time.Second)
	key := v.mint("vault-test-young")
	v.wantKind(v.verify(key.Secret), provider.Unauthorized)
	time.Sleep(20 * time.Second)
	v.wantWorks(key.Secret)
}

// keySpreadingOfPool: a pooled key is handed out once it works, or not at all.
func keySpreadingOfPool(v verifier) {
	v.DelayKeys(5 * time.Second)
	start := time.Now()
	v.wantWorks(v.mint("vault-test-young").Secret)
	v.wantElapsed(start, 5*time.Second, 9*time.Second)
	v.wantKeys(1)
	v.DelayKeys(time.Hour)
	start = time.Now()
	_, err := v.tryMint(v.Context(), "vault-test-never")
	v.wantKind(err, provider.Invalid) // of this key: another one may do
	v.wantElapsed(start, 5*time.Second, 30*time.Second)
	v.wantKeys(1)
}

// An admin key that works nowhere shows that it is not used.
func keyAlone(v verifier) {
	key := v.mint("vault-test-one")
	client := v.connect(v.Settings().AdminKey + "x").(provider.KeyVerifier)
	if err := v.note(client.VerifyKey(v.Context(), key.Secret)); err != nil {
		v.Error(err)
	}
	v.wantKind(v.note(client.VerifyKey(v.Context(), key.Secret+"-not")), provider.Unauthorized)
}

func keyRepeated(v verifier) {
	for _, key := range []provider.Key{v.mint("vault-test-one"), v.Plant(foreign)} {
		v.wantRepeated(VerifyKey, func() error { return v.verify(key.Secret) })
	}
}

func keyHopelessRateLimit(v verifier) {
	key := v.mint("vault-test-one")
	v.breaks(VerifyKey, Fault{Status: http.StatusTooManyRequests, RetryAfter: 10 * time.Minute})
	ctx, cancel := context.WithTimeout(v.Context(), time.Minute)
	defer cancel()
	start := time.Now()
	err := v.note(v.client.(provider.KeyVerifier).VerifyKey(ctx, key.Secret))
	v.wantKind(err, provider.RateLimited)
	if got := provider.RetryAfter(err); got != 10*time.Minute {
		v.Errorf("got Retry-After %s, want 10m", got)
	}
	v.wantElapsed(start, 0, 0)
}

func keyCanceled(v verifier) {
	key := v.mint("vault-test-one")
	before := v.Count(VerifyKey)
	ctx, cancel := context.WithCancel(v.Context())
	cancel()
	v.wantKind(v.note(v.client.(provider.KeyVerifier).VerifyKey(ctx, key.Secret)), provider.Unavailable)
	v.wantCount(VerifyKey, before)
}

func keySpoiled(v verifier) {
	key := v.Plant(foreign)
	for _, how := range v.Spoils() {
		v.Mend()
		if !v.Break(VerifyKey, Fault{Spoil: how}) {
			continue
		}
		if err := v.verify(key.Secret); err != nil {
			v.wantKind(err, provider.Unavailable)
		}
	}
	for _, body := range []string{"{}", "null", "[]", `"ok"`, `{"data":null}`, `{"data":"all"}`, `{"error":null}`, "<html>sign in</html>"} {
		for _, html := range []bool{false, true} {
			v.Mend()
			if v.Break(VerifyKey, Fault{Status: http.StatusOK, Body: body, HTML: html}) {
				v.wantKind(v.verify(key.Secret), provider.Unavailable)
			}
		}
	}
	v.Mend()
	if v.Break(VerifyKey, Fault{Status: http.StatusNoContent}) {
		v.wantKind(v.verify(key.Secret), provider.Unavailable)
	}
}

func keyEchoed(v verifier) {
	key := v.mint("vault-test-one")
	v.wantUnechoed(VerifyKey, key.Secret, func() error { return v.verify(key.Secret) })
}
