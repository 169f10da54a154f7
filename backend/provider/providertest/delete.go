package providertest

import (
	"net/http"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

var deleteChecks = []check{
	{"kills the key and no other", deleteKills},
	{"says that there is no such key", deleteTwice},
	{"is sent again after a failure", deleteRepeated},
	{"gives up after some failures, and says so", deleteGivesUp},
	{"is sent again after a rate limit", deleteAfterRateLimit},
	{"is done only if the answer says so", deleteSpoiled},
}

func deleteKills(b *bench) {
	key, other := b.mint("vault-test-one"), b.mint("vault-test-two")
	if err := b.delete(key); err != nil {
		b.Fatal(err)
	}
	if b.Alive(key.Secret.Reveal()) || !b.Alive(other.Secret.Reveal()) {
		b.Errorf("alive %t and the other %t, want the other alone", b.Alive(key.Secret.Reveal()), b.Alive(other.Secret.Reveal()))
	}
	for _, found := range b.find() {
		if found.ID == key.ID {
			b.Error("the key is still listed")
		}
	}
}

func deleteTwice(b *bench) {
	key := b.mint("vault-test-one")
	if err := b.delete(key); err != nil {
		b.Fatal(err)
	}
	if again := b.delete(key); !b.pools() {
		b.wantKind(again, provider.NotFound)
	} else if again != nil { // it is there, and nobody can use it
		b.Error(again)
	}
	b.wantKind(b.delete(provider.Key{ID: "never-made"}), provider.NotFound)
	b.wantKind(b.delete(provider.Key{ID: "../x?y=z#%2e"}), provider.NotFound)
}

func deleteRepeated(b *bench) {
	for how, f := range lost() {
		for _, f.AfterEffect = range []bool{false, true} {
			key := b.mint("vault-test-" + how)
			f.Times = 2
			if f.AfterEffect {
				f.Times = 1
			}
			if !b.Break(Delete, f) {
				continue
			}
			before := b.Count(Delete)
			err := b.delete(key)
			if err != nil && !(f.AfterEffect && provider.IsKind(err, provider.NotFound)) {
				b.Errorf("%s, after the effect %t: %v", how, f.AfterEffect, err)
			}
			if b.Alive(key.Secret.Reveal()) {
				b.Errorf("%s, after the effect %t: the key lives", how, f.AfterEffect)
			}
			if sent := b.Count(Delete) - before; sent != f.Times+1 {
				b.Errorf("%s, after the effect %t: sent %d times, want %d", how, f.AfterEffect, sent, f.Times+1)
			}
		}
	}
}

func deleteGivesUp(b *bench) {
	key := b.mint("vault-test-one")
	b.breaks(Delete, Fault{Status: http.StatusInternalServerError})
	b.wantKind(b.delete(key), provider.Unproven, provider.Unavailable)
	if !b.Alive(key.Secret.Reveal()) {
		b.Error("the key does not live")
	}
	if sent := b.Count(Delete); sent < 2 || sent > 5 {
		b.Errorf("sent %d times, want 2 to 5", sent)
	}
}

func deleteAfterRateLimit(b *bench) {
	key := b.mint("vault-test-one")
	b.breaks(Delete, Fault{Status: http.StatusTooManyRequests, RetryAfter: 3 * time.Second, Times: 9})
	start := time.Now()
	if err := b.delete(key); err != nil {
		b.Error(err)
	}
	b.wantElapsed(start, 27*time.Second, 28*time.Second)
	b.wantKeys(0)
}

// The simulator deletes the key, and then spoils the answer.
func deleteSpoiled(b *bench) {
	for _, how := range b.Spoils() {
		key := b.mint("vault-test-spoiled")
		if !b.Break(Delete, Fault{Spoil: how, Times: 1}) {
			continue
		}
		if err := b.delete(key); err != nil {
			b.wantKind(err, provider.Unproven, provider.Unavailable, provider.NotFound)
		}
		b.wantKeys(0)
	}
	key := b.mint("vault-test-undone")
	for _, body := range []string{"{}", "null", "[]", `"ok"`, `{"deleted":false}`, `{"deleted":"true"}`, ""} {
		if b.Break(Delete, Fault{Status: http.StatusOK, Body: body, HTML: body == "", Times: 1}) {
			b.wantKind(b.delete(key), provider.Unproven, provider.Unavailable)
		}
	}
	b.wantKeys(1)
}
