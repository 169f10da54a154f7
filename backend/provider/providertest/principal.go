package providertest

import (
	"fmt"
	"net/http"
	"sync"

	"vault-plugin-secrets-llm/backend/provider"
)

var principalChecks = []check{
	{"is made once, without a key", keeps(principalOnce)},
	{"is found among many", keeps(principalAmongMany)},
	{"is one in the end, if many make it at once", keeps(principalRace)},
	{"is created once, and found if its creation had no answer", keeps(principalLost)},
	{"is unknown if the answer makes no sense", keeps(principalSpoiled)},
	{"is finished if it was left half-made", keeps(principalHalfMade)},
	{"is never made because a list made no sense", keeps(principalListSpoiled)},
	{"takes its keys along when it is deleted", keeps(principalDeleted)},
	{"is gone only if the answer says so", keeps(principalDeleteSpoiled)},
}

// A keeper is a bench whose client keeps principals. Its first one exists.
type keeper struct {
	*bench
	provider.PrincipalKeeper
}

func keeps(run func(keeper)) func(*bench) {
	return func(b *bench) {
		k, ok := b.client.(provider.PrincipalKeeper)
		if !ok {
			b.Skip("no provider.PrincipalKeeper")
		}
		run(keeper{b, k})
	}
}

func (k keeper) try(name string) (provider.Principal, error) {
	p, err := k.EnsurePrincipal(k.Context(), name, k.Role())
	return p, k.note(err)
}

func (k keeper) ensure(name string) provider.Principal {
	k.Helper()
	p, err := k.try(name)
	if err != nil {
		k.Fatalf("ensure principal %s: %v", name, err)
	}
	if p.ID == "" || p.Name != name || p.Scope != k.scope() {
		k.Errorf("got principal %+v, want an id, name %s, scope %s", p, name, k.scope())
	}
	return p
}

func (k keeper) remove(p provider.Principal) error {
	return k.note(k.DeletePrincipal(k.Context(), p))
}

// wantWorks checks that keys of a principal work.
func (k keeper) wantWorks(p provider.Principal) {
	k.Helper()
	of := *k.bench
	of.principal = p
	key := of.mint("vault-test-of-" + p.Name)
	if !k.Alive(key.Secret.Reveal()) {
		k.Errorf("a key of principal %s does not live", p.Name)
	}
}

func principalOnce(k keeper) {
	k.wantCount(CreatePrincipal, 1)
	if again := k.ensure(k.principal.Name); again != k.principal {
		k.Errorf("got %+v, want %+v", again, k.principal)
	}
	k.wantCount(CreatePrincipal, 1)
	if n := len(k.Keys()); n != 0 {
		k.Errorf("got %d keys, want none", n)
	}
	k.wantWorks(k.principal)
	if other := k.ensure("vault-test"); other.ID == k.principal.ID {
		k.Error("two names have one principal")
	}
}

func principalAmongMany(k keeper) {
	first := k.ensure("vault-test-000")
	for i := range 120 {
		k.ensure(fmt.Sprintf("vault-test-%03d", i))
	}
	if again := k.ensure("vault-test-000"); again != first {
		k.Errorf("got %+v, want %+v", again, first)
	}
	k.wantCount(CreatePrincipal, 121)
}

func principalRace(k keeper) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var made []provider.Principal
	for range 5 {
		wg.Go(func() {
			p, err := k.EnsurePrincipal(k.Context(), "vault-test-race", k.Role())
			if err != nil {
				k.Errorf("ensure principal: %v", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			made = append(made, p)
		})
	}
	wg.Wait()
	for _, p := range made {
		k.wantWorks(p) // even if it is one too many
	}
	first := k.ensure("vault-test-race")
	for range 3 {
		if again := k.ensure("vault-test-race"); again != first {
			k.Errorf("got %+v, want %+v", again, first)
		}
	}
}

func principalLost(k keeper) {
	for how, f := range lost() {
		f.Times, f.AfterEffect = 1, true
		if !k.Break(CreatePrincipal, f) {
			continue
		}
		before := k.Count(CreatePrincipal)
		_, err := k.try("vault-test-" + how)
		k.wantKind(err, provider.Ambiguous)
		k.wantWorks(k.ensure("vault-test-" + how))
		if sent := k.Count(CreatePrincipal) - before; sent != 1 {
			k.Errorf("%s: sent %d times, want once", how, sent)
		}
	}
}

func principalSpoiled(k keeper) {
	for i, how := range k.Spoils() {
		if !k.Break(CreatePrincipal, Fault{Spoil: how, Times: 1}) {
			continue
		}
		name := fmt.Sprintf("vault-test-%d", i)
		if p, err := k.try(name); err != nil {
			k.wantKind(err, provider.Ambiguous)
		} else if again := k.ensure(name); again != p {
			k.Errorf("%s: got principal %+v, then %+v", how, p, again)
		}
		k.wantWorks(k.ensure(name))
	}
}

func principalHalfMade(k keeper) {
	k.breaks(EnablePrincipal, Fault{Status: http.StatusForbidden, Times: 1})
	_, err := k.try("vault-test-half")
	k.wantKind(err, provider.Forbidden)
	before := k.Count(CreatePrincipal)
	k.wantWorks(k.ensure("vault-test-half"))
	k.wantCount(CreatePrincipal, before)

	for how, f := range lost() {
		f.Times = 2
		if k.Break(EnablePrincipal, f) {
			k.wantWorks(k.ensure("vault-test-enabled-" + how))
		}
	}
}

func principalListSpoiled(k keeper) {
	before := k.Count(CreatePrincipal)
	for _, how := range k.Spoils() {
		k.Mend()
		if !k.Break(FindPrincipal, Fault{Spoil: how}) {
			continue
		}
		p, err := k.try(k.principal.Name)
		if err != nil {
			k.wantKind(err, provider.Unavailable)
		} else if p != k.principal {
			k.Errorf("%s: got principal %+v, want %+v", how, p, k.principal)
		}
	}
	k.wantCount(CreatePrincipal, before)
}

func principalDeleted(k keeper) {
	one, two := k.mint("vault-test-one"), k.mint("vault-test-two")
	if err := k.remove(k.principal); err != nil {
		k.Fatal(err)
	}
	if k.Alive(one.Secret.Reveal()) || k.Alive(two.Secret.Reveal()) {
		k.Error("a key outlives its principal")
	}
	k.wantKind(k.remove(k.principal), provider.NotFound)
	_, err := k.tryMint(k.Context(), "vault-test-orphan")
	k.wantKind(err, provider.NotFound)
	if p := k.ensure(k.principal.Name); p.ID == k.principal.ID {
		k.Error("a deleted principal came back")
	}
}

func principalDeleteSpoiled(k keeper) {
	for _, body := range []string{"{}", "null", `{"deleted":false}`, "[]"} {
		if k.Break(DeletePrincipal, Fault{Status: http.StatusOK, Body: body, Times: 1}) {
			k.wantKind(k.remove(k.principal), provider.Unavailable)
		}
	}
	if !k.Break(DeletePrincipal, Fault{Status: http.StatusInternalServerError, AfterEffect: true, Times: 1}) {
		return
	}
	if err := k.remove(k.principal); err != nil {
		k.wantKind(err, provider.NotFound)
	}
}
